"""Work on a store under a lease: taking files and streams in, so that nothing collects them meanwhile."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from registry.digest import Digest
from registry.errors import BadContent, NotFound, SlmctlError
from registry.manifest import Descriptor
from registry.store.adoption import Taken, adopt_file
from registry.store.durable import flush_folder, store_errors
from registry.store.ingest import Check, Draft, Ingest, Progress, SourceFile
from registry.store.leases import Lease
from registry.store.locks import Locks
from registry.store.origins import note_origin
from registry.store.partial import Partial, bytes_done, open_partial
from registry.store.reader import StoreReader, silent


class Session:
    """Work on the store under a lease: what it puts in stays until its name is linked or the lease ends.

    All methods raise StoreUnusable and NoSpace for the store, beside what they name.
    """

    def __init__(self, store: StoreReader, lease: Lease, locks: Locks) -> None:
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
            digest = self._ingest.take_file(source, self._lease, check=check, progress=progress or silent)
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
                descriptor.digest, descriptor.size, chunks, self._lease, progress=progress or silent
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
            return self._ingest.take_stream(chunks, size, self._lease, progress=progress or silent)

    @contextmanager
    def draft(self, size: int) -> Iterator[Draft]:
        """A file in the store that somebody writes by its path; see `Ingest.draft`. Every OSError on the way
        counts as one of the store: what is read from elsewhere says its own. Raises NoSpace, StoreUnusable.
        """
        with store_errors(self._store.root), self._ingest.draft(size, self._lease) as draft:
            yield draft

    def upload(self, digest: Digest, chunks: Iterable[bytes], *, most_bytes: int) -> int:
        """Store a blob that comes as a stream whose length nobody knows; see `Ingest.take_upload`."""
        with store_errors(self._store.root):
            return self._ingest.take_upload(digest, chunks, self._lease, most_bytes=most_bytes)

    def move(self, source: SourceFile, *, check: Check, progress: Progress | None = None) -> Digest:
        """Store a user's file; `finish_moves` removes the original, `undo_moves` leaves it as it was.

        The source must be open until then.
        """
        with store_errors(self._store.root):
            digest = self._ingest.share_file(source, self._lease, check=check, progress=progress or silent)
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
