"""What becomes of bytes that have come: they are hashed in order, made durable, and put in their place."""

from __future__ import annotations

import os
import time
from functools import partial as call_later

from registry.store.partial import Partial
from registry.store.store import Session
from registry.transfer.board import Board
from registry.transfer.crew import Crew
from registry.transfer.events import Finished
from registry.transfer.job import Job, State

_HASH_AT_BYTES = 1 << 20
_READ_BYTES = 256 << 10

_FLUSH_BYTES = 32 << 20
_FLUSH_SECONDS = 1.0
"""A power cut takes at most what came in so long, or so much of it."""

_MAX_HASHERS = 4
_MAX_WRITERS = 4


class Finisher:
    """Hashes, flushes and closes the blobs of one download, in threads of its own: `crews`."""

    def __init__(self, board: Board, session: Session, jobs: int, crew: type[Crew]) -> None:
        self._board = board
        self._session = session
        self._hashers = crew("hash", min(os.cpu_count() or 1, _MAX_HASHERS, jobs), board.die)
        self._disk = crew("disk", min(_MAX_WRITERS, jobs + 1), board.die)

    @property
    def crews(self) -> tuple[Crew, ...]:
        return (self._hashers, self._disk)

    def hash_if_due(self, job: Job) -> None:
        """Have a thread hash what is whole at the front, if it is enough. The lock is held."""
        if job.hashing or job.state is not State.LOADING:
            return
        if job.backlog >= _HASH_AT_BYTES or job.is_whole:
            job.hashing = True
            job.hashed_from_memory = job.front in job.ready
            self._hashers.do(call_later(self._hash, job))

    def flush_some(self) -> None:
        """Have what was noted made durable, now and then."""
        with self._board.lock:
            for job in self._board.jobs:
                self.flush_if_due(job)

    def flush_if_due(self, job: Job) -> None:
        """Have a thread flush what was noted of a blob, if it is enough. The lock is held.

        That also keeps the disk busy, so that there is little left to flush when the last byte is here.
        """
        if job.state is not State.LOADING or job.flushing or job.partial is None:
            return
        unflushed = job.partial.unflushed_bytes
        due = job.flushed_at + _FLUSH_SECONDS
        if unflushed >= _FLUSH_BYTES or (unflushed and time.monotonic() >= due):
            job.flushing = True
            self._disk.do(call_later(self._flush, job, job.partial))

    def _hash(self, job: Job) -> None:
        """Hash what is whole from the front on, until there is nothing more to hash now."""
        board = self._board
        buffer = memoryview(bytearray(_READ_BYTES))
        while not board.stopped.is_set():
            with board.lock:
                stretches = job.next_stretches()
                if not stretches:
                    job.hashing = job.hashed_from_memory = False
                    if job.is_whole:
                        job.state = State.CLOSING
                        self._disk.do(call_later(self._close, job))
                    return
                generation, partial, hasher = job.generation, job.partial, job.hasher
            assert partial is not None
            for stretch in stretches:
                if stretch.piece is not None:
                    hasher.update(stretch.piece)
                    continue
                at, end = stretch.offset, stretch.offset + stretch.size
                while at < end:
                    count = partial.read(buffer[: min(_READ_BYTES, end - at)], at)
                    if not count:
                        raise OSError(f"{partial.path} is shorter than it was")
                    hasher.update(buffer[:count])
                    at += count
            with board.lock:
                if generation == job.generation:
                    job.front = stretches[-1].offset + stretches[-1].size
                    board.hashed.notify_all()

    def _flush(self, job: Job, partial: Partial) -> None:
        partial.checkpoint()
        with self._board.lock:
            job.flushing = False
            job.flushed_at = time.monotonic()

    def _close(self, job: Job) -> None:
        """All bytes are here: make them the blob, if that is what they are."""
        assert job.partial is not None
        got = job.hasher.hexdigest()
        if got != job.blob.digest.hex:
            self._board.mismatch(job, got)
            return
        self._session.finish(job.partial)
        job.partial.release()
        self._board.done(job, Finished(blob=job.blob))
