"""The store: names, manifests and blobs of one folder, safe for any number of processes.

Reading (`registry.store.reader`) takes no lock and writes nothing, so a store on a read-only mount works.
Writing goes in one order: blobs, manifests, the name; deleting goes the other way round.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from registry.digest import Digest
from registry.errors import BadContent, DigestMismatch, NoSpace, NotFound, SlmctlError, StoreUnusable
from registry.manifest import Descriptor
from registry.store import gc
from registry.store.durable import flush_folder, store_errors
from registry.store.generations import write_names
from registry.store.index import Entry, NameTable, Referrer
from registry.store.ingest import Progress, hash_open_file
from registry.store.leases import Lease, find_leases
from registry.store.locks import Locks
from registry.store.partial import remove_partials
from registry.store.reader import AGAIN, StoreReader, silent
from registry.store.replacing import Replace as Replace  # who links names it by its store
from registry.store.replacing import check_replaceable as check_replaceable
from registry.store.salvage import salvaged
from registry.store.session import Session as Session  # who opens one names it by its store


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """The outcome of `unlink`: the entries that are gone, the bytes that were freed with them, and those that
    stay as long as a command needs them."""

    entries: tuple[Entry, ...]
    freed_bytes: int
    leased_bytes: int = 0


class Store(StoreReader):
    """One store, to be read and written. It too is cheap and may be shared between threads."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._locks = Locks(self.layout.locks)

    def verify_open_blob(
        self, descriptor: Descriptor, stream: BinaryIO, progress: Progress | None = None
    ) -> None:
        """Hash an opened blob; raises DigestMismatch. The very file that was opened is what is checked."""
        digest, _ = hash_open_file(stream.fileno(), progress or silent)
        if digest != descriptor.digest:
            if (note := self.note_about(descriptor.digest)) is not None:
                raise note.changed(descriptor.digest)
            raise DigestMismatch(
                f"The blob {descriptor.digest} is damaged: its bytes have the digest {digest}.",
                hint=AGAIN,
            )

    def prepare(self) -> None:
        """Make the store if it is not there; raises StoreUnusable, NoSpace."""
        with store_errors(self.root):
            if self.layout.is_prepared:  # a newer one is refused
                return
            self.layout.prepare_folders()
            with self._locks.exclusive():
                self.layout.prepare_files()
                if not self.layout.index.exists() and not self.layout.previous_index.exists():
                    write_names(
                        self.layout, self.names()
                    )  # none; a table that was lost is said, and not replaced

    def settle(self) -> None:
        """Make durable what is here: a killed command whose work is found done may not have come to it.

        Raises StoreUnusable.
        """
        with store_errors(self.root):
            for folder in (self.layout.blobs, self.layout.linked, self.layout.borrowed, self.root):
                if folder.is_dir():
                    flush_folder(folder)

    @contextmanager
    def session(self, purpose: str, *, resumable: bool = False) -> Iterator[Session]:
        """Hold a lease for long work. When it fails, what only it had put in is collected.

        Not so when it is `resumable` and had begun to fetch: then blobs and partials stay, as those of a
        killed process do, until one with the same `purpose` succeeds, or `gc --all`.
        """
        self.prepare()
        with store_errors(self.root), self._locks.shared():
            lease = Lease(self.layout.leases, purpose=purpose)
        session = Session(self, lease, self._locks)
        try:
            yield session
        except BaseException:
            if resumable and session.expects and lease.digests:
                lease.leave()
                self._forget_leases(purpose, lease, within=lease.digests)
            else:
                lease.end()
                with suppress(StoreUnusable, NoSpace):
                    self.free(lease.digests)
            session.undo_moves()
            raise
        finally:
            lease.end()
        if resumable:
            self._forget_leases(purpose, lease)

    def _forget_leases(self, purpose: str, ours: Lease, within: AbstractSet[Digest] | None = None) -> None:
        """End the leases that dead owners left for the same purpose, and free what nobody else needs.

        With `within`, only those that list nothing else: ours speaks for them.
        """
        with suppress(StoreUnusable, NoSpace, OSError):
            if not any(lease.purpose == purpose for lease in find_leases(self.layout.leases)):
                return
            ahead = self._read_ahead()
            with store_errors(self.root), self._locks.exclusive():
                dead = [
                    lease
                    for lease in find_leases(self.layout.leases)
                    if not lease.held and lease.purpose == purpose and lease.path != ours.path
                ]
                if within is not None:
                    dead = [lease for lease in dead if lease.digests <= within]
                for lease in dead:
                    lease.path.unlink(missing_ok=True)
                listed = {digest for lease in dead for digest in lease.digests} - ours.digests
                gc.free(self.layout, listed, self.names(), ahead)
                if within is None:
                    remove_partials(self.layout, listed)

    def try_lease(self, purpose: str, digests: Iterable[Digest]) -> Lease | None:
        """A lease that lasts until a power cut at most, for who has the blobs open already.

        None where the store cannot be written or has no locks, and while somebody changes names: it does not
        wait.
        """
        lease = None
        try:
            with self._locks.shared_or_not() as held:
                if held:
                    lease = Lease(self.layout.leases, purpose=purpose, durable=False)
                    lease.add(*digests)
        except (OSError, StoreUnusable):
            if lease is not None:
                lease.end()
            return None
        return lease

    def link(
        self,
        name: str,
        descriptor: Descriptor,
        *,
        source: str | None,
        linked: str,
        replace_rule: Replace,
    ) -> Entry:
        """Point `name` at a manifest that is in the store; gives the entry as it now stands.

        A name that differs only in case is the same name and keeps its spelling. Raises NameTaken when the
        name exists, points elsewhere, and `replace_rule` does not allow it to move. What it pointed at and
        nothing else needs is freed.
        """
        entry = Entry(name=name, descriptor=descriptor, source=source, linked=linked)
        return self.link_all([entry], lambda old, new: check_replaceable(old, new, replace_rule))[0]

    def link_all(
        self,
        entries: Sequence[Entry],
        check: Callable[[Entry, Entry], None],
        *,
        keep_equal: bool = False,
        still_named: bool = False,
        referrers: Iterable[Referrer] = (),
    ) -> list[Entry]:
        """As `link`, for several names at once: all of them or none. `check(old, new)` raises for a name that
        may not move. With `keep_equal`, a name that points at the same manifest already stays as it is.
        Whoever holds no lease on the manifests' blobs says `still_named`: then NotFound is raised unless
        other names keep them. `referrers` are entered with them.
        """
        replaced = []
        linked = []
        changed: dict[str, Entry] = {}
        spellings: dict[str, str] = {}  # of the names that are new here
        ahead = self._read_ahead(moved=entries)
        with store_errors(self.root), self._locks.exclusive():
            names = self._names_to_change()
            for each in entries:
                entry = each
                old = names.find(entry.name)
                spelled = old.name if old is not None else spellings.get(entry.name.casefold(), "")
                old = changed.get(spelled, old)
                if old is not None:
                    if keep_equal and old.descriptor.digest == entry.descriptor.digest:
                        linked.append(old)
                        continue
                    check(old, entry)
                    entry = replace(entry, name=old.name)
                    if old.descriptor.digest != entry.descriptor.digest:
                        replaced.append(old)
                digest = entry.descriptor.digest
                if (still_named and not names.has(digest)) or not self.layout.blob(digest).exists():
                    raise NotFound(f"The manifest {entry.descriptor.digest} is not in the store any more.")
                changed[entry.name] = entry
                spellings[entry.name.casefold()] = entry.name
                linked.append(entry)
            before, orphaned = names, set[Digest]()
            names = names.with_entries(list(changed.values())).with_referrers(referrers)
            if replaced:
                names, orphaned = gc.without_orphans(self.layout, names, ahead)
            if changed or names != before:
                self._write_names(names)
            else:
                self.settle_names()
            if replaced:
                self._free_entries(names, replaced, ahead, orphaned)
        return linked

    def refer(self, referrer: Referrer, *, instead_of: Iterable[Digest] = ()) -> None:
        """Enter what refers to a manifest that a name reaches, in the place of others, which are freed.

        Its blobs are in the store. Raises NotFound where no name reaches the manifest any more.
        """
        ahead = self._read_ahead()
        with store_errors(self.root), self._locks.exclusive():
            names = self._names_to_change()
            gone = frozenset(instead_of) - {referrer.descriptor.digest}
            old = [each for each in names.referrers if each.descriptor.digest in gone]
            if not self._is_named(referrer.subject, names, ahead):
                raise NotFound(f"The manifest {referrer.subject} is not in the store any more.")
            freed = {digest for each in old for digest in gc.referring(self.layout, each)}
            names = names.without_referrers(gone).with_referrers([referrer])
            self._write_names(names)
            gc.free(self.layout, freed, names, ahead)

    def settle_names(self) -> None:
        """Make the names that are here durable: whoever linked them may have died before flushing the table.
        For who finds what it wanted to link, and says so. Raises StoreUnusable."""
        with store_errors(self.root):
            flush_folder(self.root)

    def unlink(self, names_to_remove: Iterable[str]) -> Removed:
        """Remove names, and the blobs that only they needed. Unknown names are passed over."""
        wanted = list(names_to_remove)
        known = self.names()
        if not any(known.find(name) for name in wanted):
            return Removed(entries=(), freed_bytes=0)
        self.prepare()
        ahead = self._read_ahead()
        with store_errors(self.root), self._locks.exclusive():
            names = self._names_to_change()
            found = {entry.name: entry for name in wanted if (entry := names.find(name))}
            names, orphaned = gc.without_orphans(self.layout, names.without(found), ahead)
            self._write_names(names)
            freed, leased = self._free_entries(names, found.values(), ahead, orphaned)
        return Removed(entries=tuple(found.values()), freed_bytes=freed, leased_bytes=leased)

    def free(self, candidates: Iterable[Digest]) -> int:
        """Delete those of `candidates` that no name and no lease needs; gives the bytes freed."""
        ahead = self._read_ahead()
        with store_errors(self.root), self._locks.exclusive():
            return gc.free(self.layout, candidates, self.names(), ahead)[0]

    def _read_ahead(self, moved: Sequence[Entry] | None = None) -> gc.Documents:
        """The manifests that names reach, read before anything is locked: others do not wait for that.

        What is behind a digest never changes; names that come meanwhile are followed under the lock. With
        `moved`, nothing is read unless one of these entries takes the place of another model.
        """
        known: gc.Documents = {}
        with suppress(SlmctlError, OSError):  # said under the lock, if it is still so then
            names = self.names()
            if moved is not None:
                old = [(names.find(entry.name), entry.descriptor.digest) for entry in moved]
                if not any(entry is not None and entry.descriptor.digest != new for entry, new in old):
                    return known
            gc.reached_from(self.layout, {root.digest for root in names.roots()}, known)
        return known

    def _is_named(self, digest: Digest, names: NameTable, known: gc.Documents) -> bool:
        """Whether names reach a manifest; where that is not known, whether it is here."""
        try:
            return digest in gc.needed(self.layout, names, known)
        except (BadContent, OSError):
            return self.layout.blob(digest).exists()

    def _free_entries(
        self, names: NameTable, entries: Iterable[Entry], known: gc.Documents, orphaned: set[Digest]
    ) -> tuple[int, int]:
        candidates = set(orphaned)
        for entry in entries:
            with suppress(BadContent, OSError):
                candidates |= gc.reached_from(self.layout, [entry.descriptor.digest], known)
        return gc.free(self.layout, candidates, names, known)

    def _names_to_change(self) -> NameTable:
        """The table of names, with what can still be read of a damaged one, which is about to be replaced."""
        names = self.names()
        if names.generation == "previous":
            names = names.with_entries(salvaged(self.layout.index))
        return names

    def _write_names(self, names: NameTable) -> None:
        """Replace index.json; the store's lock is held exclusively."""
        write_names(self.layout, names)
