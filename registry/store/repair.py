"""Fetching what is damaged or missing, and only that, from where it can be had.

Whoever brings bytes is not believed: they go through ingest, which stores them only if their digest is the
one that is needed. What was damaged lies in the quarantine by then. A manifest that comes back may need blobs
that nobody had missed before, so it is looked again until nothing more can be had.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import BinaryIO, Protocol

from registry.digest import Digest
from registry.errors import BadContent, SlmctlError
from registry.manifest import Descriptor
from registry.store.findings import Finding, Report, Scope, order, users_of
from registry.store.keeper import Keeper
from registry.store.needs import Needs
from registry.store.store import Session
from registry.store.verify import needed

_CHUNK_BYTES = 1 << 20

OnBlob = Callable[[Descriptor], Callable[[int], None]]
"""Told which blob is fetched; gives what is told of more bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Bytes that may be the right ones, to be closed by who asked; `shown` says where they come from."""

    stream: BinaryIO
    shown: str


class RepairSource(Protocol):
    """Where lost bytes may be had: the file they came from, another store, a remote."""

    def find(self, wanted: Descriptor) -> Found | None:
        """What this source has for a blob, or None. It need not be right: it is hashed.

        May raise SlmctlError and OSError, which count as None.
        """


def repair(
    store: Keeper, scope: Scope, report: Report, sources: Sequence[RepairSource], on_blob: OnBlob
) -> Report:
    """Fetch what `report` says is lost, and mend the table of names; gives the report as it is now.

    Raises NoSpace, StoreUnusable.
    """
    findings = list(report.findings)
    table = next((each for each in findings if each.is_bad and each.path == store.layout.index), None)
    if table is not None and (said := store.mend_names()) is not None:
        findings[findings.index(table)] = replace(table, repaired=said)
    fetched: dict[Digest, str] = {}
    hopeless: set[Digest] = set()
    with store.session("verify --repair") as session:
        while True:
            needs = needed(store, scope)
            lost = [digest for digest in _lost(store, needs) if digest not in hopeless]
            if not lost:
                break
            for digest in sorted(lost):
                shown = _fetch(session, needs, digest, sources, on_blob)
                if shown is None:
                    hopeless.add(digest)
                else:
                    fetched[digest] = shown
    seen = {finding.digest for finding in findings if finding.is_bad}
    findings = [
        replace(each, repaired=fetched[each.digest]) if each.is_bad and each.digest in fetched else each
        for each in findings
        if each.kind != "missing" or each.digest in needs.blobs  # else its name had been removed
    ]
    for digest in (fetched.keys() | hopeless) - seen:  # needed by a manifest that was itself lost
        need = needs.blobs[digest]
        lost_too = Finding(
            kind="missing", message="it is not in the store", digest=digest, users=users_of(need)
        )
        findings.append(replace(lost_too, size=max(need.sizes), repaired=fetched.get(digest)))
    return replace(report, findings=tuple(sorted(findings, key=order)))


def _lost(store: Keeper, needs: Needs) -> Iterator[Digest]:
    for need in needs.blobs.values():
        if not need.optional and need.named and not store.has(need.digest):
            yield need.digest


def _fetch(
    session: Session, needs: Needs, digest: Digest, sources: Sequence[RepairSource], on_blob: OnBlob
) -> str | None:
    """Fetch one blob from the first source that has it; what that is called, or None."""
    for size in sorted(needs.blobs[digest].sizes):
        wanted = Descriptor(media_type="", digest=digest, size=size)
        for source in sources:
            found = None
            with suppress(SlmctlError, OSError):
                found = source.find(wanted)
            if found is None:
                continue
            with found.stream:
                try:
                    session.receive(wanted, _chunks(found.stream), on_blob(wanted))
                except BadContent:
                    continue
                except _SourceFailed:
                    continue
                return found.shown
    return None


class _SourceFailed(Exception):
    """Reading a source failed; what cannot be written is the store's own trouble."""


def _chunks(stream: BinaryIO) -> Iterator[bytes]:
    while True:
        try:
            data = stream.read(_CHUNK_BYTES)
        except (OSError, SlmctlError) as error:
            raise _SourceFailed from error
        if not data:
            return
        yield data
