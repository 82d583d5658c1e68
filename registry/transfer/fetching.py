"""The threads that fetch: each opens a blob, or asks for one part and writes it to its place as it comes."""

from __future__ import annotations

import time

from registry.errors import BadContent, SlmctlError
from registry.manifest import Descriptor
from registry.remotes.base import Blob, Body, Changed, TryAgain
from registry.store.store import Session
from registry.transfer.board import Board
from registry.transfer.events import Present, Resumed, Waiting
from registry.transfer.finishing import Finisher
from registry.transfer.job import Job, State, Task
from registry.transfer.pace import Pace, Throttle

_LOOK_AGAIN_SECONDS = 0.2
"""How often it is looked whether another process has ended."""

_MEMORY_BYTES = 12 << 20
"""What may wait in memory to be hashed; what has no room there is read back."""

_AHEAD_BYTES = 8 << 20
"""So far the connections may be ahead of the hashing while what it needs is still in memory: beyond that it
would have to be read back, by the very thread that takes longest."""


class Fetcher:
    """What the fetching threads of one download do."""

    def __init__(self, board: Board, session: Session, pace: Pace, finisher: Finisher) -> None:
        self._board = board
        self._session = session
        self._note_bytes = pace.chunk_bytes // 4
        self._throttle = Throttle(pace.limit_rate)
        self._finisher = finisher

    def work(self) -> None:
        """Do what there is to do, until nothing is left."""
        while (turn := self._board.next_turn()) is not None:
            if isinstance(turn, Job):
                self._open(turn)
            else:
                self._fetch(turn)

    def _open(self, job: Job) -> None:
        """Become the one who fetches a blob, or find out that another does, or has done so."""
        board, blob = self._board, job.blob
        partial = self._session.partial(blob.digest, blob.size)
        if partial is None:
            board.events.put(Waiting(blob=blob, done=self._session.bytes_done(blob.digest, blob.size)))
            with board.changed:
                job.state = State.ELSEWHERE
                job.not_before = time.monotonic() + _LOOK_AGAIN_SECONDS
            return
        if self._session.has(descriptor_of(blob)):
            partial.finished()
            partial.release()
            board.done(job, Present(blob=blob))
            return
        with board.changed:
            if board.stopped.is_set():
                partial.release()
                return
            job.begin(partial)
            job.flushed_at = time.monotonic()
            if job.resumed:
                board.events.put(Resumed(blob=blob, count=job.resumed))
            self._finisher.hash_if_due(job)
            board.changed.notify_all()

    def _fetch(self, task: Task) -> None:
        position = noted = task.start
        try:
            with task.attempt.source.open(task.job.blob, task.start, task.stop, task.validator) as body:
                if not self._check(task, body):
                    return
                for piece in body:
                    self._throttle.spend(len(piece), self._board.stopped)
                    if self._board.stopped.is_set() or task.generation != task.job.generation:
                        return
                    if len(piece) > task.stop - position:
                        raise BadContent(f"{_shown(task)} sends more of the blob than was asked for.")
                    task.partial.write(position, piece)
                    position += len(piece)
                    self._arrived(task, position - len(piece), piece)
                    if position - noted >= self._note_bytes:
                        task.partial.note(noted, position)
                        noted = position
                        with self._board.lock:
                            self._finisher.flush_if_due(task.job)
            if position < task.stop:
                raise TryAgain(f"{_shown(task)} ended its answer early.")
            if noted < position and task.job.blob.size > self._note_bytes:
                task.partial.note(noted, position)
        except SlmctlError as error:
            self._board.failed(task, position, error)
        else:
            self._board.ended(task, position)

    def _check(self, task: Task, body: Body) -> bool:
        """Whether an answer is the part that was asked for. Raises Changed, BadContent."""
        job, attempt = task.job, task.attempt
        with self._board.changed:
            if task.generation != job.generation:
                return False
            if body.start != task.start:
                if body.start != 0:
                    raise BadContent(f"{_shown(task)} sends another part of the blob than was asked for.")
                attempt.place.takes_ranges = False
                reason = f"{_shown(task)} sends the whole blob where a part was asked for."
                self._board.begin_anew(job, reason)
                return False
            if body.validator is not None:
                if attempt.validator is None:
                    attempt.validator = body.validator
                elif attempt.validator != body.validator:
                    raise Changed(
                        f"The blob {job.blob.digest} changed at {_shown(task)} while it was fetched."
                    )
                task.partial.note_state(attempt.source.shown, body.validator)
        return True

    def _arrived(self, task: Task, position: int, piece: bytes) -> None:
        """A piece is written: have it hashed, and wait if the hashing is far behind."""
        board, job = self._board, task.job
        with board.lock:
            if task.generation != job.generation:
                return
            keep = board.bytes_in_memory + len(piece) <= _MEMORY_BYTES
            job.arrived(task, position, piece, keep=keep)
            board.demand.came(len(piece))
            self._finisher.hash_if_due(job)
            while (
                job.hashed_from_memory
                and board.hashed_from_memory > _AHEAD_BYTES
                and task.generation == job.generation
                and not board.stopped.is_set()
            ):
                board.hashed.wait()


def descriptor_of(blob: Blob) -> Descriptor:
    return Descriptor(media_type="", digest=blob.digest, size=blob.size)


def _shown(task: Task) -> str:
    return task.attempt.source.shown
