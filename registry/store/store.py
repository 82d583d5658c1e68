"""The store: names, manifests and blobs of one folder, safe for any number of processes.

Reading (`registry.store.reader`) takes no lock and writes nothing, so a store on a read-only mount works.
Writing goes in one order: blobs, manifests, the name; deleting goes the other way round.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from registry.digest import Digest
from registry.errors import (
    BadContent,
    DigestMismatch,
    NameTaken,
    NoSpace,
    NotFound,
    SlmctlError,
    StoreUnusable,
)
from registry.manifest import Descriptor
from registry.store import gc
from registry.store.adoption import Taken, adopt_file
from registry.store.durable import (
    flush_folder,
    removed_on_failure,
    replace_file,
    store_errors,
    write_file,
)
from registry.store.index import Entry, NameTable
from registry.store.ingest import Check, Ingest, Progress, SourceFile, hash_open_file
from registry.store.leases import Lease, find_leases
from registry.store.locks import Locks
from registry.store.origins import note_origin
from registry.store.partial import Partial, bytes_done, open_partial, remove_partials
from registry.store.reader import AGAIN, StoreReader
from registry.store.salvage import salvaged


class Replace(enum.Enum):
    """What `link` may do to a name that exists and points elsewhere."""

    NOTHING = "nothing"
    SAME_SOURCE = "same source"
    ANYTHING = "anything"


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """The outcome of `unlink`: the entries that are gone, the bytes that were freed with them, and those that
    stay as long as a command needs them."""

    entries: tuple[Entry, ...]
    freed_bytes: int
    leased_bytes: int = 0


class Session:
    """Work on the store under a lease: what it puts in stays until its name is linked or the lease ends.

    All methods raise StoreUnusable and NoSpace for the store, beside what they name.
    """

    def __init__(self, store: Store, lease: Lease, locks: Locks) -> None:
        self._store = store
        self._ingest = Ingest(store.layout.blobs, store.layout.ingest, locks)
        self._lease = lease
        self._locks = locks
        self._moved: list[tuple[SourceFile, Digest]] = []
        self.expects = False
        """Whether something is being fetched, which is worth going on with after a failure."""

    def keep(self, digests: Iterable[Digest]) -> None:
        """Keep blobs that are in the store from being collected while this session lasts.

        Raises NotFound when one of them is gone already.
        """
        digests = list(digests)
        with store_errors(self._store.root):
            self._lease.add(*digests)
            with self._locks.shared():  # a collection that had not seen the lease is over now
                missing = [digest for digest in digests if not self._store.has(digest)]
        if missing:
            if self._store.note_about(missing[0]) is not None:
                raise self._store.missing(missing[0])
            raise NotFound(f"The blob {missing[0]} is missing from the store.", hint="The model was removed.")

    def put(self, data: bytes) -> Digest:
        """Store a small blob."""
        with store_errors(self._store.root):
            return self._ingest.take_bytes(data, self._lease)

    def take(self, source: SourceFile, *, check: Check, progress: Progress | None = None) -> Digest:
        """Store the bytes of a user's file, which stays untouched; see `Ingest.take_file`."""
        with store_errors(self._store.root):
            digest = self._ingest.take_file(source, self._lease, check=check, progress=progress or _silent)
        self._note_origin(digest, source.path, source.status)
        return digest

    def receive(
        self,
        descriptor: Descriptor,
        chunks: Iterable[bytes],
        progress: Progress | None = None,
        *,
        origin: tuple[Path, os.stat_result] | None = None,
    ) -> None:
        """Store a blob that comes as a stream; see `Ingest.take_chunks`. `origin` is the bundle's file."""
        with store_errors(self._store.root):
            self._ingest.take_chunks(
                descriptor.digest, descriptor.size, chunks, self._lease, progress=progress or _silent
            )
        if origin is not None:
            self._note_origin(descriptor.digest, *origin)

    def _note_origin(self, digest: Digest, path: Path, status: os.stat_result) -> None:
        layout = self._store.layout
        note_origin(layout, digest, path, status, layout.ingest / self._lease.temporary())

    def expect(self, digests: Iterable[Digest]) -> None:
        """Say what is going to come: from now on it is no garbage, in place or not yet."""
        self.expects = True
        with store_errors(self._store.root):
            self._lease.add(*digests)
            with self._locks.shared():  # a collection that had not seen the lease is over now
                pass

    def has(self, descriptor: Descriptor) -> bool:
        """Whether a blob that is expected is here, with its size; then it is whole, and not hashed again."""
        try:
            self._store.open_blob(descriptor).close()
        except (NotFound, BadContent):
            return False
        return True

    def settle(self) -> None:
        """Make the names of all blobs durable: who put them there may have died before doing so."""
        with store_errors(self._store.root):
            flush_folder(self._store.layout.blobs)

    def partial(self, digest: Digest, size: int) -> Partial | None:
        """What there is of a blob that is expected and not here yet; None while another is at it.

        Then ask again, after looking whether the blob is here. Release it in the end.
        """
        with store_errors(self._store.root), self._locks.shared():
            return open_partial(self._store.layout, digest, size)

    def bytes_done(self, digest: Digest, size: int) -> int:
        """How much of a blob another has got so far."""
        return bytes_done(self._store.layout, digest, size)

    def finish(self, partial: Partial) -> None:
        """Make a partial the blob: all of it was written, and its digest is that of its bytes."""
        with store_errors(self._store.root):
            self._ingest.take_partial(partial)
            partial.finished()

    @property
    def root(self) -> Path:
        """Where the store is."""
        return self._store.root

    def take_stream(self, chunks: Iterable[bytes], size: int, progress: Progress | None = None) -> Digest:
        """Store a blob that comes as a stream and has no name yet; see `Ingest.take_stream`."""
        with store_errors(self._store.root):
            return self._ingest.take_stream(chunks, size, self._lease, progress=progress or _silent)

    def move(self, source: SourceFile, *, check: Check, progress: Progress | None = None) -> Digest:
        """Store a user's file; `finish_moves` removes the original, `undo_moves` leaves it as it was.

        The source must be open until then.
        """
        with store_errors(self._store.root):
            digest = self._ingest.share_file(source, self._lease, check=check, progress=progress or _silent)
        self._moved.append((source, digest))
        return digest

    def adopt(self, source: SourceFile, digest: Digest, *, owner: str, may_link: bool, hashed: bool) -> Taken:
        """Take in a file of another tool without copying it; see `registry.store.adoption`."""
        with store_errors(self._store.root):
            return adopt_file(
                self._store.layout,
                self._locks,
                self._lease,
                source,
                digest,
                owner=owner,
                may_link=may_link,
                hashed=hashed,
            )

    def finish_moves(self) -> list[Path]:
        """The model is named: remove the originals. Gives those that could not be removed; they are as they
        were, if there is room for a copy."""
        left = []
        for source, digest in self._moved:
            try:
                self._ingest.remove_source(source)
            except OSError:
                if not source.is_at(source.path):
                    continue  # it is removed, and only that this lasts is not known
                left.append(source.path)
                with suppress(SlmctlError, OSError):
                    self._ingest.part_from_source(source, digest, self._lease)
        self._moved = []
        return left

    def undo_moves(self) -> None:
        """The model was not named, and its blobs are collected: the originals are as they were."""
        for source, digest in self._moved:
            with suppress(OSError):
                self._ingest.restore_source(source, digest)


def _silent(_: int) -> None:
    pass


class Store(StoreReader):
    """One store, to be read and written. It too is cheap and may be shared between threads."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._locks = Locks(self.layout.locks)

    def verify_open_blob(
        self, descriptor: Descriptor, stream: BinaryIO, progress: Progress | None = None
    ) -> None:
        """Hash an opened blob; raises DigestMismatch. The very file that was opened is what is checked."""
        digest, _ = hash_open_file(stream.fileno(), progress or _silent)
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
                    self._write_names(self.names())  # none; a table that was lost is said, and not replaced

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
        still_named: bool = False,
        tracks: tuple[str, ...] = (),
        claimed: bool = False,
    ) -> Entry:
        """Point `name` at a manifest that is in the store; gives the entry as it now stands.

        A name that differs only in case is the same name and keeps its spelling. Raises NameTaken when the
        name exists, points elsewhere, and `replace_rule` does not allow it to move. What it pointed at and
        nothing else needs is freed. Whoever holds no lease on the manifest's blobs says `still_named`: then
        NotFound is raised unless another name keeps them.
        """
        entry = Entry(
            name=name,
            descriptor=descriptor,
            source=source,
            linked=linked,
            tracks=tracks,
            claimed=claimed,
        )
        return self.link_all(
            [entry],
            lambda old, new: check_replaceable(old, new, replace_rule),
            still_named=still_named,
        )[0]

    def link_all(
        self,
        entries: Sequence[Entry],
        check: Callable[[Entry, Entry], None],
        *,
        keep_equal: bool = False,
        still_named: bool = False,
    ) -> list[Entry]:
        """As `link`, for several names at once: all of them or none. `check(old, new)` raises for a name that
        may not move. With `keep_equal`, a name that points at the same manifest already stays as it is.
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
            if changed:
                names = names.with_entries(list(changed.values()))
                self._write_names(names)
            else:
                self.settle_names()
            if replaced:
                self._free_entries(names, replaced, ahead)
        return linked

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
            names = names.without(found)
            self._write_names(names)
            freed, leased = self._free_entries(names, found.values(), ahead)
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

    def _free_entries(
        self, names: NameTable, entries: Iterable[Entry], known: gc.Documents
    ) -> tuple[int, int]:
        candidates: set[Digest] = set()
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
        """Replace index.json, keeping the generation before it. The store's lock is held exclusively.

        When the names were read from the previous generation, index.json is damaged: it is put aside, so that
        it neither gets lost nor takes the place of the good generation.
        """
        layout = self.layout
        if names.generation == "current":
            kept = layout.ingest / "index.json.1.new"
            kept.unlink(missing_ok=True)
            with removed_on_failure(kept):
                try:
                    os.link(layout.index, kept)
                except OSError:  # a file system without hard links
                    write_file(kept, layout.index.read_bytes())
                kept.rename(layout.previous_index)
            kept.unlink(missing_ok=True)  # renaming one name of a file over another of the same does nothing
        elif layout.index.exists():
            layout.index.rename(layout.free_damaged_path())
        replace_file(layout.ingest / "index.json.new", layout.index, names.to_bytes())


def check_replaceable(old: Entry, new: Entry, rule: Replace) -> None:
    """Raise NameTaken unless `rule` lets `new` take the place of `old`."""
    same_content = old.descriptor.digest == new.descriptor.digest and old.source == new.source
    if rule is Replace.ANYTHING or same_content:
        return
    if rule is Replace.NOTHING:
        raise NameTaken(
            f"There is a model {old.name} already.", hint="Add --force to replace it, or choose another name."
        )
    if old.source != new.source:
        raise NameTaken(
            f"The name {old.name} belongs to a model from {old.source or 'another tool'}.",
            hint="Add --force to replace it, or choose another name.",
        )
