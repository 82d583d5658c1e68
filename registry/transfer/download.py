"""Getting blobs: many parts at once, hashed as they come, and gone on with after whatever cut it short.

    parts in order -> N connections -> written at their place -> noted in the journal
                      the front that is whole -> SHA-256 -> the digest is right -> flushed, renamed

A blob is never visible before its digest was computed over all of its bytes, whoever brought them. Other
processes that want the same blob wait for it, holding nothing, and go on with it when its owner dies.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty

from registry.digest import Digest
from registry.errors import NotFound, SizeMismatch
from registry.remotes.base import Blob, BlobSource
from registry.store.durable import store_errors
from registry.store.store import Session
from registry.transfer.board import Board
from registry.transfer.crew import Crew
from registry.transfer.events import Moved, OnEvent, Present, TransferEvent, silent
from registry.transfer.fetching import Fetcher, descriptor_of
from registry.transfer.finishing import Finisher
from registry.transfer.job import Attempt, Job, Place, State
from registry.transfer.pace import Pace

_TICK_SECONDS = 0.1

_GRACE_SECONDS = 0.3
"""How long threads that are told to stop are waited for; one that waits for the network is not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A blob that is to be in the store. `sources` are asked in order: the later ones are mirrors."""

    blob: Blob
    sources: tuple[BlobSource, ...]


def _go_on() -> None:
    pass


def download(
    session: Session,
    wanted: Sequence[Wanted],
    pace: Pace | None = None,
    on_event: OnEvent = silent,
    on_tick: Callable[[], None] = _go_on,
) -> None:
    """Get blobs into the store; on return all of them are whole, verified and durable.

    What is there already is not fetched; what came is kept for the next attempt when it fails or is
    interrupted, if the session is resumable. `on_tick` is called several times a second, also while nothing
    comes; what it raises ends all of it. Raises what the last source of a blob had said, DigestMismatch when
    its bytes are others, NoSpace and StoreUnusable for the store.
    """
    _Download(session, pace or Pace(), on_event, on_tick).run(wanted)


class _Download:
    def __init__(self, session: Session, pace: Pace, on_event: OnEvent, on_tick: Callable[[], None]) -> None:
        self._session = session
        self._pace = pace
        self._tell = on_event
        self._tick = on_tick

    def run(self, wanted: Sequence[Wanted]) -> None:
        different = _different(wanted)
        self._session.expect(different)
        missing = []
        for each in different.values():
            if self._session.has(descriptor_of(each.blob)):
                self._tell(Present(blob=each.blob))
            else:
                missing.append(each)
        has_present = len(missing) < len(different)
        if missing:
            has_present |= self._fetch(self._jobs(missing))
        if has_present:
            self._session.settle()

    def _jobs(self, wanted: Sequence[Wanted]) -> list[Job]:
        places: dict[int, Place] = {}
        jobs = []
        for each in wanted:
            if not each.sources:
                raise NotFound(f"Nobody is known who has the blob {each.blob.digest}.")
            attempts = [
                Attempt(places.setdefault(id(source), self._place(source))) for source in each.sources
            ]
            jobs.append(Job(each.blob, attempts))
        return jobs

    def _place(self, source: BlobSource) -> Place:
        chunk = self._pace.chunk_bytes
        return Place(source, least_bytes=chunk, most_bytes=self._pace.connections * chunk)

    def _fetch(self, jobs: Sequence[Job]) -> bool:
        """Have the threads fetch all of it; whether other processes have fetched some."""
        board = Board(jobs, self._pace.patience)
        parts = sum(max(1, -(-job.blob.size // self._pace.chunk_bytes)) for job in jobs)
        connections = max(1, min(self._pace.connections, parts))
        finisher = Finisher(board, self._session, len(jobs), Crew)
        fetcher = Fetcher(board, self._session, self._pace, finisher)
        workers = Crew("fetch", connections, board.die)
        for _ in range(connections):
            workers.do(fetcher.work)
        try:
            self._watch(board, finisher)
        finally:
            _stop(board, (workers, *finisher.crews), jobs)
        return board.has_present

    def _watch(self, board: Board, finisher: Finisher) -> None:
        """Tell of what happens until all is done; raises what stops it."""
        while True:
            event: TransferEvent | None = None
            with suppress(Empty):
                event = board.events.get(timeout=_TICK_SECONDS)
            self._tell_moved(board)
            self._tick()
            if board.error is not None:
                with store_errors(self._session.root):
                    raise board.error
            if event is not None:
                self._tell(event)
            if board.is_done and board.events.empty():
                return
            finisher.flush_some()

    def _tell_moved(self, board: Board) -> None:
        with board.lock:
            moved = [(job.blob, job.unreported) for job in board.jobs if job.unreported]
            for job in board.jobs:
                job.unreported = 0
        for blob, count in moved:
            self._tell(Moved(blob=blob, count=count))


def _different(wanted: Sequence[Wanted]) -> dict[Digest, Wanted]:
    """Each blob once. Raises SizeMismatch for one that is to have two sizes."""
    found: dict[Digest, Wanted] = {}
    for each in wanted:
        known = found.setdefault(each.blob.digest, each).blob
        if known.size != each.blob.size:
            raise SizeMismatch(
                f"The blob {known.digest} is to have {known.size} bytes, and also {each.blob.size}."
            )
    return found


def _stop(board: Board, crews: Sequence[Crew], jobs: Sequence[Job]) -> None:
    """End the threads, and keep what came of blobs that are not whole."""
    with board.lock:
        board.halt()
    deadline = time.monotonic() + _GRACE_SECONDS
    for crew in crews:
        crew.end(deadline)
    with board.lock:
        for job in jobs:
            if job.state is not State.LOADING or job.partial is None:
                continue  # one that is closing is left to who closes it
            with suppress(OSError):
                known = job.partial.done
                for start, stop in job.written:
                    if not known.covers(start, stop):
                        job.partial.note(start, stop)
                job.partial.release()
