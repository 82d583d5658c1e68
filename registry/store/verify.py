"""Looking at everything in a store: does each name have all of its bytes, and are they the right ones.

    names -> what they need -> every blob hashed -> names and leases again -> findings

Hashing takes long and holds no lock, so a store changes meanwhile. What is reported is therefore held against
names and leases that are read afterwards: a blob that was removed with its name is not missing, and one that
a command is about to name is not unneeded. What is damaged in the user's own store goes into the quarantine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

from registry.digest import Digest
from registry.errors import BadContent, DigestMismatch, MalformedFile, NoSpace, StoreUnusable
from registry.manifest import Descriptor
from registry.store import inventory, notes
from registry.store.findings import Finding, Report, Scope, absent_findings, order, users_of
from registry.store.hashing import Checked, FileId, check_blobs
from registry.store.index import Entry, NameTable
from registry.store.keeper import Keeper
from registry.store.layout import VersionDamaged
from registry.store.leases import FoundLease, find_leases
from registry.store.needs import Need, Needs, Root, Walker
from registry.store.quarantine import in_quarantine
from registry.store.reader import StoreReader

OnProgress = Callable[[int, int], None]
"""Told how many bytes are hashed, and of how many."""


def silent(_done: int, _total: int) -> None:
    pass


def verify(
    reader: StoreReader, scope: Scope, *, keeper: Keeper | None = None, on_progress: OnProgress = silent
) -> Report:
    """Re-hash what `scope` says. `keeper` is the store itself where it may be written to: then what is
    damaged is put aside. Where it turns out that it cannot be written, nothing is moved and nothing fails.

    Raises NotFound for names that are not there, DigestMismatch when no entry has the digest that was asked
    for, StoreUnusable when the folder cannot be read at all.
    """
    return _Verification(reader, scope, keeper, on_progress).report()


def needed(reader: StoreReader, scope: Scope) -> Needs:
    """What `scope` needs at this moment. Nothing is hashed but manifests."""
    return _Verification(reader, scope, None, silent).needs()


@dataclass(slots=True)
class _Snapshot:
    """Names and leases at one moment, and what the names need; all of it only if `is_complete`."""

    needs: Needs
    names: int
    is_complete: bool
    leases: list[FoundLease] = field(default_factory=list)
    temporaries: list[inventory.Temporary] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


class _Verification:
    def __init__(
        self, reader: StoreReader, scope: Scope, keeper: Keeper | None, on_progress: OnProgress
    ) -> None:
        self._reader = reader
        self._scope = scope
        self._keeper = keeper
        self._on_progress = on_progress
        self._done = 0
        self._total = 0
        self._is_ours = reader.layout.version.exists()
        self._walker = Walker(reader, in_quarantine(reader.layout))

    def needs(self) -> Needs:
        return self._look().needs

    def report(self) -> Report:
        before = self._look()
        checked = self._check(self._wanted(before.needs))
        leftovers = self._leftovers()
        after = self._look()
        after.leases, after.temporaries = leftovers
        new = [need.descriptor for need in after.needs.blobs.values() if need.digest not in checked]
        checked |= self._check(each for each in new if self._reader.has(each.digest))
        checked |= self._again(checked, after.needs)
        findings = [*after.findings, *self._blob_findings(checked, after.needs)]
        if any(finding.kind == "missing" for finding in findings):
            needs = self._look().needs.blobs  # its name may have gone before it
            findings = [each for each in findings if each.kind != "missing" or each.digest in needs]
        if self._scope.is_whole:
            findings += self._surroundings(checked, after)
        good = [each for each in checked.values() if each.state == "good"]
        return Report(
            root=self._reader.root,
            names=after.names,
            blobs=len(checked),
            size=sum(each.size or 0 for each in good),
            findings=tuple(sorted(findings, key=order)),
        )

    def _look(self) -> _Snapshot:
        """Read the table of names and follow it."""
        try:
            with suppress(OSError):
                self._reader.layout.check_version()
        except VersionDamaged as error:
            finding = Finding(kind="damaged", message=error.message, path=self._reader.layout.version)
            return _Snapshot(needs=Needs(), names=0, is_complete=False, findings=[finding])
        try:
            table = self._reader.names()
        except (StoreUnusable, BadContent) as error:
            finding = self._table_finding(error.message)
            return _Snapshot(needs=Needs(), names=0, is_complete=False, findings=[finding])
        findings = []
        if table.generation == "previous":
            findings.append(self._table_finding("the table of names is damaged; the one before it answers"))
        roots, broken = self._roots(table)
        findings += [self._table_finding(text) for text in broken]
        needs = self._walker.with_referrers(roots, table.referrers)
        is_complete = not findings and not needs.unread
        return _Snapshot(needs=needs, names=len(roots), is_complete=is_complete, findings=findings)

    def _table_finding(self, message: str) -> Finding:
        return Finding(kind="damaged", message=message, path=self._reader.layout.index)

    def _roots(self, table: NameTable) -> tuple[list[Root], list[str]]:
        """The entries to follow, and what is wrong with rows that cannot be read."""
        rows, broken = _rows(table)
        if self._scope.names is not None:
            entries = [entry for name in self._scope.names if (entry := table.find(name)) is not None]
            rows = [(entry, entry.descriptor) for entry in entries]
            broken = []
        wanted = self._scope.digest
        if wanted is not None and wanted != self._reader.index_digest():
            rows = self._with_digest(rows, wanted)
            broken = []
        return [self._root(entry, descriptor) for entry, descriptor in rows], broken

    def _with_digest(
        self, rows: list[tuple[Entry | None, Descriptor]], wanted: Digest
    ) -> list[tuple[Entry | None, Descriptor]]:
        same = [row for row in rows if row[1].digest == wanted]
        if not same:
            others = ", ".join(sorted({str(descriptor.digest) for _, descriptor in rows})[:3]) or "nothing"
            what = self._scope.names[0] if self._scope.names else str(self._reader.root)
            raise DigestMismatch(f"{what} has not the digest {wanted}, but {others}.")
        return same

    def _root(self, entry: Entry | None, descriptor: Descriptor) -> Root:
        if entry is None:  # in a layout that others wrote, an entry needs no name
            return Root(name="" if self._is_ours else str(descriptor.digest), descriptor=descriptor)
        pulled = entry.source is not None and entry.source not in self._scope.made_here
        return Root(name=entry.name, descriptor=descriptor, may_be_sparse=pulled)

    def _wanted(self, needs: Needs) -> list[Descriptor]:
        """What to hash: what is needed, with the sizes that the files have, and what else lies there."""
        stored = self._reader.stored()
        sizes = {
            need.digest: max(need.sizes)
            for need in needs.blobs.values()
            if not need.optional or need.digest in stored
        }
        if self._scope.is_whole:
            sizes |= stored
        else:
            sizes |= {digest: stored[digest] for digest in sizes.keys() & stored.keys()}
        return [Descriptor(media_type="", digest=digest, size=size) for digest, size in sizes.items()]

    def _check(self, wanted: Iterable[Descriptor]) -> dict[Digest, Checked]:
        found = {descriptor.digest: descriptor for descriptor in wanted}
        self._total += sum(descriptor.size for descriptor in found.values())
        results = check_blobs(self._reader, found.values(), threads=self._scope.threads, on_bytes=self._count)
        return {checked.digest: checked for checked in results}

    def _count(self, count: int) -> None:
        self._done = min(self._done + count, self._total)  # what is read twice counts once
        self._on_progress(self._done, self._total)

    def _again(self, checked: Mapping[Digest, Checked], needs: Needs) -> dict[Digest, Checked]:
        """Look again at what was missing, or is another file by now: somebody may have put it there since."""
        doubtful = []
        stored: dict[Digest, int] | None = None
        for each in checked.values():
            if each.state == "good":
                continue
            status = None
            with suppress(OSError):
                status = self._reader.blob_status(each.digest)
            if each.file is None or status is None or FileId.of(status) != each.file:
                need = needs.blobs.get(each.digest)
                stored = self._reader.stored() if stored is None else stored
                size = stored.get(each.digest, max(need.sizes) if need is not None else 0)
                doubtful.append(Descriptor(media_type="", digest=each.digest, size=size))
        return self._check(doubtful)

    def _blob_findings(self, checked: Mapping[Digest, Checked], needs: Needs) -> list[Finding]:
        put_aside = in_quarantine(self._reader.layout)
        findings = []
        for each in checked.values():
            need = needs.blobs.get(each.digest)
            if each.state == "missing" and (need is None or need.optional):
                continue  # removed with its name
            finding = self._blob_finding(each, need)
            if finding is None:
                continue
            if each.state == "missing" and need is not None:
                finding = replace(finding, size=max(need.sizes))
            if each.state == "missing" and each.digest in put_aside:
                place = put_aside[each.digest][-1]
                finding = replace(finding, message="it was damaged and lies in quarantine", quarantined=place)
            findings.append(finding)
        findings += absent_findings(checked, needs)
        for digest, reason in needs.malformed.items():
            if digest in checked and checked[digest].state == "good":
                findings.append(
                    Finding(
                        kind="malformed",
                        message=reason,
                        digest=digest,
                        path=self._reader.layout.blob(digest),
                        users=users_of(needs.blobs.get(digest)),
                    )
                )
        return findings

    def _blob_finding(self, checked: Checked, need: Need | None) -> Finding | None:
        """What is to be said of one blob; a damaged one is put aside."""
        kind = {"fickle": "damaged", "good": "malformed"}.get(checked.state, checked.state)
        note = self._note_about(checked)
        finding = Finding(
            kind=kind,
            message=checked.reason,
            digest=checked.digest,
            path=self._reader.layout.blob(checked.digest),
            size=checked.size,
            users=users_of(need),
            adopted_from=note.owner if note is not None else None,
        )
        if checked.state == "good":
            stated = sorted((need.sizes if need else set()) - {checked.size or 0})
            if not stated:
                return None
            return replace(
                finding, message=f"it is whole with {checked.size} bytes, and a manifest says {stated[0]}"
            )
        if checked.state == "missing" and need is not None and not need.named:
            return replace(finding, kind="foreign", message="another tool's entry names it; it is not here")
        if checked.state == "damaged" and note is not None:
            finding = replace(finding, message=f"{checked.reason}; adopted from {note.owner} ({note.shown})")
        in_the_way = checked.state == "unreadable" and self._scope.repair and checked.file is not None
        if (checked.state == "damaged" or in_the_way) and self._keeper is not None:
            try:
                return replace(finding, quarantined=self._keeper.put_aside(checked))
            except (StoreUnusable, NoSpace):
                if self._scope.repair or not self._is_there(checked):
                    raise  # moved, and that it stays there is not known
        return finding

    def _note_about(self, checked: Checked) -> notes.Note | None:
        """Whose file it is that is not as it should be."""
        if checked.state != "good":
            with suppress(OSError):
                return self._reader.note_about(checked.digest)
        return None

    def _is_there(self, checked: Checked) -> bool:
        """Whether a blob's path still has the file that was looked at."""
        with suppress(OSError):
            status = self._reader.blob_status(checked.digest)
            return status is not None and FileId.of(status) == checked.file
        return True

    def _leftovers(self) -> tuple[list[FoundLease], list[inventory.Temporary]]:
        """Leases and temporaries of one moment; of about one moment where the store cannot be locked."""
        layout = self._reader.layout
        if self._keeper is not None and layout.locks.is_dir():
            with suppress(StoreUnusable, NoSpace):
                return self._keeper.leftovers()
        with suppress(OSError):
            leases = list(find_leases(layout.leases))
            return leases, inventory.temporaries(layout, leases)
        return [], []

    def _surroundings(self, checked: Mapping[Digest, Checked], now: _Snapshot) -> list[Finding]:
        layout = self._reader.layout
        findings = [
            Finding(
                kind="foreign",
                message="nobody of ours put it there",
                path=path,
                size=inventory.size_below(path),
            )
            for path in inventory.foreign(layout)
        ]
        findings += [
            Finding(
                kind="temporary",
                message="part of a blob that was not fetched to its end"
                if each.can_go_on
                else "its owner is gone",
                path=each.path,
                size=each.size,
            )
            for each in now.temporaries
        ]
        findings += [
            Finding(kind="temporary", message="a lease whose owner is gone", path=lease.path)
            for lease in now.leases
            if not lease.held
        ]
        complaint = self._reader.layout_complaint()
        if complaint is not None:
            findings.append(Finding(kind="damaged", message=complaint, path=layout.oci_layout))
        if not now.is_complete:
            return findings
        leased = {digest for lease in now.leases if lease.held for digest in lease.digests}
        crashed = {digest for lease in now.leases if not lease.held for digest in lease.digests}
        for each in checked.values():
            if each.state != "good" or each.digest in now.needs.blobs or each.digest in leased:
                continue
            if self._reader.blob_status(each.digest) is None:
                continue  # removed meanwhile
            left = each.digest in crashed
            findings.append(
                Finding(
                    kind="unneeded",
                    message="a command that was killed left it" if left else "no model needs it",
                    digest=each.digest,
                    path=layout.blob(each.digest),
                    size=each.size,
                )
            )
        return findings


def _rows(table: NameTable) -> tuple[list[tuple[Entry | None, Descriptor]], list[str]]:
    """All entries with what they point at, and sentences about rows that hide it."""
    try:
        roots = table.roots()
    except MalformedFile:
        entries = [(entry, entry.descriptor) for entry in table.entries.values()]
        return list(entries), ["a row of the table of names cannot be read; the others are"]
    named = {entry.descriptor.digest for entry in table.entries.values()}
    nameless = [(None, descriptor) for descriptor in roots if descriptor.digest not in named]
    return [*((entry, entry.descriptor) for entry in table.entries.values()), *nameless], []
