"""Checking what is stored: the user's own store, a model in it, or a bundle where it lies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from registry.digest import Digest
from registry.errors import SlmctlError, UsageError
from registry.manifest import Descriptor
from registry.names import ModelRef, Source, parse
from registry.remotes.base import Remote
from registry.store.bundle import open_bundle
from registry.store.findings import Report, Scope, order
from registry.store.index import Entry
from registry.store.joined import JoinedReader
from registry.store.keeper import Keeper
from registry.store.reader import FurtherStore, StoreReader
from registry.store.repair import repair
from registry.store.verify import verify
from slmctl.app.bundles import named_in, split_path
from slmctl.app.contradictions import contradictions
from slmctl.app.cpus import usable_cpus
from slmctl.app.events import ByteCounter, Note, OnEvent, Progress, ignore
from slmctl.app.listing import names_of
from slmctl.app.made_here import MADE_HERE


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRequest:
    """`target` is a model's name, the path of a bundle or a store, or `PATH:NAME`; None is the user's
    whole store.

    `repair` fetches what is damaged or missing from where it can be had.
    """

    target: str | None = None
    digest: Digest | None = None
    repair: bool = False


def check(
    store: Keeper,
    request: CheckRequest,
    on_event: OnEvent = ignore,
    *,
    further: Sequence[StoreReader] = (),
    remote_of: Callable[[ModelRef], Remote] | None = None,
) -> Report:
    """Re-hash what is asked for; damaged blobs of the user's own store are put aside.

    With `remote_of`, a repair asks the places too that models were pulled from. Raises NotFound, UsageError,
    DigestMismatch, StoreUnusable.
    """
    reader, names = _find(store, further, request, on_event)
    scope = Scope(
        names=names,
        digest=request.digest,
        made_here=MADE_HERE,
        threads=usable_cpus(),
        repair=request.repair,
    )
    item = request.target or "the store"

    def progress(done: int, total: int) -> None:
        on_event(Progress(stage="verify", item=item, done=done, total=total))

    if request.repair and reader is not store:
        raise UsageError(
            f"Only your own store is repaired, and {reader.root} is none of yours.",
            hint="Get a bundle again from where it came from.",
        )
    report = verify(reader, scope, keeper=store if reader is store else None, on_progress=progress)
    bad = {finding.digest for finding in report.findings if finding.is_bad and finding.digest}
    table = _names(reader)
    entries = [entry for name, entry in table.items() if names is None or name in names]
    found = tuple(contradictions(reader, entries, bad))
    report = replace(report, findings=tuple(sorted((*report.findings, *found), key=order)))
    if not request.repair:
        return report
    if report.is_well:
        store.settle()
        return report

    def fetching(wanted: Descriptor) -> Callable[[int], None]:
        return ByteCounter(on_event, stage="copy", item=wanted.digest.short, total=wanted.size)

    from slmctl.app.repairing import sources_of  # it makes models; few verifications repair

    sources = sources_of(store, further, on_event)
    if remote_of is not None:
        from slmctl.app.remote_repair import FromRemotes

        sources.append(FromRemotes(store, remote_of, on_event))
    return repair(store, scope, report, sources, fetching)


def _names(reader: StoreReader) -> Mapping[str, Entry]:
    """All entries, none where the table is lost."""
    with suppress(SlmctlError, OSError):
        return reader.names().entries
    return {}


def _find(
    store: Keeper, further: Sequence[StoreReader], request: CheckRequest, on_event: OnEvent
) -> tuple[StoreReader, tuple[str, ...] | None]:
    """Where to look, and for which names; None is all."""
    if request.target is None:
        for reader in further:
            on_event(Note(text=f"The further store {reader.root} is not looked at; 'verify PATH' does."))
        return store, None
    ref = parse(request.target)
    path = Path(request.target.removeprefix("file://"))
    if ref.source is Source.FILE:
        path, name = split_path(ref.path)
        reader = _open(store, path, on_event)
        return reader, None if name is None else (named_in(reader, path, name).name,)
    joined = JoinedReader(store, further) if further else store
    names = names_of(joined, on_event)
    if names.find(ref.full_name) is None and path.exists():
        on_event(Note(text=f"There is no model {ref.short_name}; this is the file or folder of that name."))
        return _open(store, path, on_event), None
    entry = joined.resolve(ref, names)
    home = joined.home_of(entry)
    return next((reader for reader in further if reader.root == home), store), (entry.name,)


def _open(store: Keeper, path: Path, on_event: OnEvent) -> StoreReader:
    """What lies at a path, to be read; the user's own store is itself."""
    if path.is_dir() and store.root.is_dir() and path.samefile(store.root):
        return store
    if path.is_dir() and (path / "slmctl.json").exists():
        return FurtherStore(path.absolute())
    bundle = open_bundle(path)
    if bundle.skipped:
        on_event(Note(text=f"What is no part of a bundle is not looked at: {bundle.skipped}."))
    return bundle
