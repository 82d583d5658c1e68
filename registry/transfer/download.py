"""Getting blobs: many parts at once, hashed as they come, and gone on with after whatever cut it short.

    parts in order -> N connections -> written at their place -> noted in the journal
                      the front that is whole -> SHA-256 -> the digest is right -> flushed, renamed

A blob is never visible before its digest was computed over all of its bytes, whoever brought them. Other
processes that want the same blob wait for it, holding nothing, and go on with it when its owner dies.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial as partial_call
from queue import Empty, SimpleQueue

from registry.digest import Digest
from registry.errors import BadContent, DigestMismatch, NotFound, SizeMismatch, SlmctlError, Unreachable
from registry.manifest import Descriptor
from registry.remotes.base import Blob, BlobSource, Body, Changed, TryAgain
from registry.store.durable import store_errors
from registry.store.partial import Partial
from registry.store.store import Session
from registry.transfer.crew import Crew
from registry.transfer.events import (
    Finished,
    Moved,
    OnEvent,
    Present,
    Resumed,
    Retrying,
    TransferEvent,
    Waiting,
    silent,
)
from registry.transfer.job import Attempt, Job, Place, State, Task
from registry.transfer.pace import MAX_RETRY_AFTER_SECONDS, Pace, Throttle

_TICK_SECONDS = 0.1
_LOOK_AGAIN_SECONDS = 0.2
"""How often it is looked whether another process has ended."""

_GRACE_SECONDS = 0.3
"""How long threads that are told to stop are waited for; one that waits for the network is not."""

_MAX_OPEN = 32
"""Blobs whose files are open at once."""

_MEMORY_BYTES = 12 << 20
"""What may wait in memory to be hashed; what has no room there is read back."""

_HASH_AT_BYTES = 1 << 20
_AHEAD_BYTES = 8 << 20
"""So far the connections may be ahead of the hashing of a blob that keeps up with them but for that: what it
needs is still in memory then, and the thread that takes longest is not kept from its core."""

_READ_BYTES = 256 << 10

_FLUSH_BYTES = 64 << 20
_FLUSH_SECONDS = 1.0
"""A power cut takes at most what came in so long, or so much of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A blob that is to be in the store. `sources` are asked in order: the later ones are mirrors."""

    blob: Blob
    sources: tuple[BlobSource, ...]


def download(
    session: Session, wanted: Sequence[Wanted], pace: Pace | None = None, on_event: OnEvent = silent
) -> None:
    """Get blobs into the store; on return all of them are whole, verified and durable.

    What is there already is not fetched; what came is kept for the next attempt when it fails or is
    interrupted, if the session is resumable. Raises what the last source of a blob had said, DigestMismatch
    when its bytes are others, NoSpace and StoreUnusable for the store.
    """
    _Download(session, pace or Pace(), on_event).run(wanted)


class _Download:
    def __init__(self, session: Session, pace: Pace, on_event: OnEvent) -> None:
        self._session = session
        self._pace = pace
        self._tell = on_event
        self._throttle = Throttle(pace.limit_rate)
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._hashed = threading.Condition(self._lock)
        self._stopped = threading.Event()
        self._events: SimpleQueue[TransferEvent | None] = SimpleQueue()
        self._error: BaseException | None = None
        self._new: deque[Job] = deque()
        self._jobs: list[Job] = []
        self._places: dict[int, Place] = {}
        self._has_present = False

    def run(self, wanted: Sequence[Wanted]) -> None:
        self._new.extend(self._missing(wanted))
        if self._new:
            self._fetch_all()
        if self._has_present:
            self._session.settle()

    def _missing(self, wanted: Sequence[Wanted]) -> list[Job]:
        """A job for each blob that is not here."""
        found: dict[Digest, Wanted] = {}
        for each in wanted:
            known = found.setdefault(each.blob.digest, each)
            if known.blob.size != each.blob.size:
                raise SizeMismatch(
                    f"The blob {each.blob.digest} is to have {known.blob.size} bytes,"
                    f" and also {each.blob.size}."
                )
        self._session.expect(found)
        jobs = []
        for each in found.values():
            if self._session.has(_descriptor(each.blob)):
                self._has_present = True
                self._tell(Present(blob=each.blob))
                continue
            if not each.sources:
                raise NotFound(f"Nobody is known who has the blob {each.blob.digest}.")
            attempts = [Attempt(self._places.setdefault(id(one), Place(one))) for one in each.sources]
            jobs.append(Job(each.blob, attempts, self._pace.chunk_bytes))
        return jobs

    def _fetch_all(self) -> None:
        all_jobs = list(self._new)
        parts = sum(max(1, -(-job.blob.size // self._pace.chunk_bytes)) for job in all_jobs)
        connections = max(1, min(self._pace.connections, parts))
        self._disk = Crew("disk", min(4, len(all_jobs) + 1), self._die)
        self._hashers = Crew("hash", min(os.cpu_count() or 1, 4, len(all_jobs)), self._die)
        workers = Crew("fetch", connections, self._die)
        for _ in range(connections):
            workers.do(self._work)
        try:
            self._watch()
        finally:
            self._stop((workers, self._hashers, self._disk), all_jobs)

    # In the thread that asked

    def _watch(self) -> None:
        """Tell of what happens until all is done; raises what stops it."""
        while True:
            event: TransferEvent | None = None
            with suppress(Empty):
                event = self._events.get(timeout=_TICK_SECONDS)
            self._tell_moved()
            if self._error is not None:
                with store_errors(self._session.root):
                    raise self._error
            if event is not None:
                self._tell(event)
            if self._is_done and self._events.empty():
                return
            self._flush_some()

    @property
    def _is_done(self) -> bool:
        return not self._jobs and not self._new

    def _tell_moved(self) -> None:
        with self._lock:
            moved = [(job.blob, job.unreported) for job in self._jobs if job.unreported]
            for job in self._jobs:
                job.unreported = 0
        for blob, count in moved:
            self._tell(Moved(blob=blob, count=count))

    def _flush_some(self) -> None:
        """Have what was noted made durable, now and then; that also keeps the disk busy."""
        now = time.monotonic()
        with self._lock:
            loading = [job for job in self._jobs if job.state is State.LOADING and not job.flushing]
            for job in loading:
                partial = job.partial
                assert partial is not None
                unflushed = partial.unflushed_bytes
                if not unflushed or (unflushed < _FLUSH_BYTES and now < job.flushed_at + _FLUSH_SECONDS):
                    continue
                job.flushing = True
                self._disk.do(partial_call(self._flush, job, partial))

    def _stop(self, crews: Sequence[Crew], jobs: Sequence[Job]) -> None:
        with self._changed:
            self._halt()
        deadline = time.monotonic() + _GRACE_SECONDS
        for crew in crews:
            crew.end(deadline)
        with self._lock:
            for job in jobs:
                if job.state is not State.LOADING or job.partial is None:
                    continue  # one that is closing is left to who closes it
                with suppress(OSError):
                    known = job.partial.done
                    for start, stop in job.written:
                        if not known.covers(start, stop):
                            job.partial.note(start, stop)
                    job.partial.release()

    def _die(self, error: BaseException) -> None:
        with self._changed:
            if self._error is None:
                self._error = error
            self._halt()
        self._events.put(None)

    def _halt(self) -> None:
        """Have all threads stop. The lock is held."""
        self._stopped.set()
        self._changed.notify_all()
        self._hashed.notify_all()

    # In the threads that fetch

    def _work(self) -> None:
        while not self._stopped.is_set():
            turn = self._next_turn()
            if isinstance(turn, Job):
                self._open(turn)
            elif turn is not None:
                self._fetch(turn)

    def _next_turn(self) -> Job | Task | None:
        """The next blob to open, or the next part to fetch; None when it is stopped or done."""
        with self._changed:
            while not self._stopped.is_set():
                if self._is_done:
                    self._halt()
                    break
                now = time.monotonic()
                times = []
                for job in self._jobs:
                    if job.state is State.ELSEWHERE and now >= job.not_before:
                        job.state = State.OPENING
                        return job
                    if (task := job.take(now)) is not None:
                        return task
                    if job.state is State.ELSEWHERE:
                        times.append(job.not_before)
                    elif job.state is State.LOADING and job.pending:
                        times.append(job.attempt.may_begin)
                if self._new and sum(job.state is not State.ELSEWHERE for job in self._jobs) < _MAX_OPEN:
                    job = self._new.popleft()
                    job.state = State.OPENING
                    self._jobs.append(job)
                    return job
                self._changed.wait(max(0.0, min(times) - now) if times else None)
        return None

    def _open(self, job: Job) -> None:
        """Become the one who fetches a blob, or find out that another does, or has done so."""
        blob = job.blob
        partial = self._session.partial(blob.digest, blob.size)
        if partial is None:
            self._events.put(Waiting(blob=blob, done=self._session.bytes_done(blob.digest, blob.size)))
            with self._changed:
                job.state = State.ELSEWHERE
                job.not_before = time.monotonic() + _LOOK_AGAIN_SECONDS
            return
        if self._session.has(_descriptor(blob)):
            partial.finished()
            partial.release()
            self._done(job, Present(blob=blob))
            return
        with self._changed:
            job.begin(partial)
            job.flushed_at = time.monotonic()
            if job.resumed:
                self._events.put(Resumed(blob=blob, count=job.resumed))
            self._hash_if_due(job)
            self._changed.notify_all()

    def _fetch(self, task: Task) -> None:
        """Ask for one part, and write it to its place as it comes."""
        position = task.start
        try:
            with task.attempt.source.open(task.job.blob, task.start, task.stop, task.validator) as body:
                if not self._check(task, body):
                    return
                noted = position
                for piece in body:
                    self._throttle.spend(len(piece), self._stopped)
                    if self._stopped.is_set() or task.generation != task.job.generation:
                        return
                    if len(piece) > task.stop - position:
                        raise BadContent(f"{_shown(task)} sends more of the blob than was asked for.")
                    task.partial.write(position, piece)
                    position += len(piece)
                    self._arrived(task, position - len(piece), piece)
                    if position - noted >= self._pace.chunk_bytes:
                        task.partial.note(noted, position)
                        noted = position
            if position < task.stop:
                raise TryAgain(f"{_shown(task)} ended its answer early.")
            if noted < position and task.job.blob.size > self._pace.chunk_bytes:
                task.partial.note(noted, position)
        except SlmctlError as error:
            self._failed(task, position, error)
        else:
            with self._changed:
                if task.generation == task.job.generation:
                    task.job.give_back(task, position)

    def _check(self, task: Task, body: Body) -> bool:
        """Whether an answer is the part that was asked for. Raises Changed, BadContent."""
        job, attempt = task.job, task.attempt
        with self._changed:
            if task.generation != job.generation:
                return False
            if body.start != task.start:
                if body.start != 0:
                    raise BadContent(f"{_shown(task)} sends another part of the blob than was asked for.")
                attempt.place.takes_ranges = False
                self._begin_anew(job, f"{_shown(task)} sends the whole blob where a part was asked for.")
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
        job = task.job
        with self._changed:
            if task.generation != job.generation:
                return
            held = sum(each.ready_bytes for each in self._jobs)
            job.arrived(task, position, piece, keep=held + len(piece) <= _MEMORY_BYTES)
            self._hash_if_due(job)
            while (
                job.hashed_from_memory
                and job.backlog > _AHEAD_BYTES
                and task.generation == job.generation
                and not self._stopped.is_set()
            ):
                self._hashed.wait()

    def _failed(self, task: Task, position: int, error: SlmctlError) -> None:
        """Decide what comes after a failure: again, from the start, from the next source, or the end."""
        job, attempt = task.job, task.attempt
        with self._changed:
            if task.generation != job.generation:
                return
            job.give_back(task, position)
            if attempt is job.attempt:
                if isinstance(error, Changed):
                    attempt.changes += 1
                    attempt.validator = None
                    if attempt.changes > 1:
                        self._next_source(job, error)
                    else:
                        self._begin_anew(job, error.message)
                elif isinstance(error, TryAgain):
                    self._try_again(task, position, error)
                else:
                    self._next_source(job, error)
            self._changed.notify_all()

    def _try_again(self, task: Task, position: int, error: TryAgain) -> None:
        job, attempt, patience = task.job, task.attempt, self._pace.patience
        now = time.monotonic()
        if attempt.worth >= patience.worth_bytes:
            attempt.failures = 0
        attempt.worth = 0
        if task.began >= attempt.last or not attempt.failures:  # else it fell with others
            attempt.failures += 1
            attempt.since = now if attempt.failures == 1 else attempt.since
        attempt.last = now
        pause = patience.pause(attempt.failures, error.after)
        if pause is None or now + pause > attempt.since + patience.total_seconds:
            self._next_source(job, _given_up(error, attempt))
            return
        if error.after is None and position - task.start >= patience.worth_bytes:
            pause = 0.0  # it goes, but not for long
        if error.after is not None:
            attempt.place.not_before = max(attempt.place.not_before, now + pause)
        attempt.not_before = max(attempt.not_before, now + pause)
        if attempt.place.takes_ranges:
            self._retrying(job, error.message, pause)
        else:
            self._begin_anew(job, error.message, pause)

    def _next_source(self, job: Job, error: SlmctlError) -> None:
        """Give up the source that is asked now. What it brought stays: the digest decides."""
        if len(job.attempts) == 1:
            self._error = self._error or error
            self._halt()
            self._events.put(None)
            return
        job.attempts.pop(0)
        if job.attempt.place.takes_ranges:
            self._retrying(job, error.message, 0.0)
        else:
            self._begin_anew(job, error.message)

    def _begin_anew(self, job: Job, reason: str, seconds: float = 0.0) -> None:
        job.begin_anew()
        self._retrying(job, reason, seconds)
        self._changed.notify_all()
        self._hashed.notify_all()

    def _retrying(self, job: Job, reason: str, seconds: float) -> None:
        shown = job.attempt.source.shown
        self._events.put(Retrying(blob=job.blob, source=shown, reason=reason, seconds=seconds))

    # In the threads that hash

    def _hash_if_due(self, job: Job) -> None:
        """The lock is held."""
        if job.hashing or job.state is not State.LOADING:
            return
        if job.backlog >= _HASH_AT_BYTES or job.is_whole:
            job.hashing = True
            self._hashers.do(lambda: self._hash(job))

    def _hash(self, job: Job) -> None:
        """Hash what is whole from the front on, until there is nothing more to hash now."""
        buffer = memoryview(bytearray(_READ_BYTES))
        while not self._stopped.is_set():
            with self._lock:
                stretches = job.next_stretches()
                if not stretches:
                    job.hashing = job.hashed_from_memory = False
                    if job.is_whole:
                        job.state = State.CLOSING
                        self._disk.do(lambda: self._close(job))
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
            with self._lock:
                if generation == job.generation:
                    job.front = stretches[-1].offset + stretches[-1].size
                    self._hashed.notify_all()

    # In the threads that write to the disk

    def _flush(self, job: Job, partial: Partial) -> None:
        partial.checkpoint()
        with self._lock:
            job.flushing = False
            job.flushed_at = time.monotonic()

    def _close(self, job: Job) -> None:
        """All bytes are here: make them the blob, if that is what they are."""
        assert job.partial is not None
        got = job.hasher.hexdigest()
        if got != job.blob.digest.hex:
            with self._changed:
                self._mismatch(job, got)
                self._changed.notify_all()
            return
        self._session.finish(job.partial)
        job.partial.release()
        self._done(job, Finished(blob=job.blob))

    def _mismatch(self, job: Job, got: str) -> None:
        """Nothing that came is of use. Where it is not clear whose fault that is, the source gets another
        chance: with all the bytes its own."""
        job.state = State.LOADING
        error = DigestMismatch(
            f"The blob {job.blob.digest} is not what {job.attempt.source.shown} sent:"
            f" that has the digest sha256:{got}.",
            hint="Try again later, or get the model from another place.",
        )
        if job.is_pure:
            if len(job.attempts) == 1:
                job.begin_anew()
                self._next_source(job, error)
                return
            job.attempts.pop(0)
        self._begin_anew(job, error.message)

    def _done(self, job: Job, event: Finished | Present) -> None:
        with self._changed:
            job.state = State.DONE
            job.partial = None
            self._has_present = self._has_present or isinstance(event, Present)
            if job.unreported:
                self._events.put(Moved(blob=job.blob, count=job.unreported))
            self._events.put(event)
            self._jobs = [each for each in self._jobs if each is not job]
            self._changed.notify_all()


def _given_up(error: TryAgain, attempt: Attempt) -> Unreachable:
    """What is said when a source was asked often enough."""
    said = error.message.removesuffix(".")
    if error.after is not None and error.after > MAX_RETRY_AFTER_SECONDS:
        return Unreachable(
            f"{said}; it wants to be asked again in {error.after:.0f} seconds.", hint=error.hint
        )
    times = f" ({attempt.failures} times)" if attempt.failures > 1 else ""
    return Unreachable(f"{said}{times}.", hint=error.hint or "Try again: what is here already is kept.")


def _shown(task: Task) -> str:
    return task.attempt.source.shown


def _descriptor(blob: Blob) -> Descriptor:
    return Descriptor(media_type="", digest=blob.digest, size=blob.size)
