"""What the threads of one download share: the blobs that are under way, and what is decided about them."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable
from queue import SimpleQueue

from registry.errors import DigestMismatch, SlmctlError, Unreachable
from registry.remotes.base import Changed, TryAgain
from registry.remotes.retry import LONGEST_ASKED_SECONDS
from registry.transfer.demand import Demand
from registry.transfer.events import Finished, Moved, Present, Retrying, TransferEvent
from registry.transfer.job import Attempt, Job, State, Task
from registry.transfer.pace import Patience

_MAX_OPEN = 32
"""Blobs whose files are open at once."""


class Board:
    """The jobs of one download.

    `changed` and `hashed` are conditions of one lock: the first is told when there may be something to do,
    the second when hashing has come on. What is called with the lock held says so. `events` ends in None
    where there is nothing to tell but that it is over.
    """

    def __init__(self, jobs: Iterable[Job], patience: Patience) -> None:
        self.lock = threading.Lock()
        self.changed = threading.Condition(self.lock)
        self.hashed = threading.Condition(self.lock)
        self.stopped = threading.Event()
        self.events: SimpleQueue[TransferEvent | None] = SimpleQueue()
        self.error: BaseException | None = None
        self.jobs: list[Job] = []
        self.has_present = False
        self.demand = Demand()
        self._new = deque(jobs)
        self._patience = patience

    @property
    def is_done(self) -> bool:
        return not self.jobs and not self._new

    @property
    def bytes_in_memory(self) -> int:
        """What waits in memory to be hashed. The lock is held."""
        return sum(job.ready_bytes for job in self.jobs)

    @property
    def hashed_from_memory(self) -> int:
        """How many bytes could be hashed now, of blobs whose next ones are in memory. The lock is held."""
        return sum(job.backlog for job in self.jobs if job.hashed_from_memory)

    def die(self, error: BaseException) -> None:
        """End the download with an error; the first one counts."""
        with self.lock:
            self._end(error)

    def halt(self) -> None:
        """Have all threads stop. The lock is held."""
        self.stopped.set()
        self.changed.notify_all()
        self.hashed.notify_all()

    def next_turn(self) -> Job | Task | None:
        """Wait for the next blob to open, or the next part to fetch; None when it is stopped or done."""
        with self.changed:
            while not self.stopped.is_set():
                if self.is_done:
                    self.halt()
                    break
                now = time.monotonic()
                active = sum(job.active for job in self.jobs)
                wants_more = self.demand.wants(active, now)
                for job in self.jobs:
                    if job.state is State.ELSEWHERE and now >= job.not_before:
                        job.state = State.OPENING
                        return job
                    if wants_more and (task := job.take(now, alone=not active)) is not None:
                        self.demand.wants(active + 1, now)
                        return task
                if self._new and sum(job.state is not State.ELSEWHERE for job in self.jobs) < _MAX_OPEN:
                    job = self._new.popleft()
                    job.state = State.OPENING
                    self.jobs.append(job)
                    return job
                times = [at for job in self.jobs if (at := job.next_time) is not None and at > now]
                if not wants_more:
                    times.append(self.demand.next_time)
                self.changed.wait(min(times) - now if times else None)
        return None

    def ended(self, task: Task, position: int) -> None:
        """A task has come to its end."""
        with self.changed:
            if task.generation == task.job.generation:
                task.attempt.place.answered(task.stop - task.start, time.monotonic() - task.began)
                task.job.give_back(task, position)
                self.changed.notify()

    def failed(self, task: Task, position: int, error: SlmctlError) -> None:
        """Decide what comes after a failure: again, from the start, from the next source, or the end."""
        job, attempt = task.job, task.attempt
        with self.changed:
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
                        self.begin_anew(job, error.message)
                elif isinstance(error, TryAgain):
                    self._try_again(task, position, error)
                else:
                    self._next_source(job, error)
            self.changed.notify_all()

    def mismatch(self, job: Job, got: str) -> None:
        """All bytes are here, and have another digest: nothing of them is of use.

        Where it is not clear whose fault that is, the source gets another chance, with all the bytes its own.
        """
        error = DigestMismatch(
            f"The blob {job.blob.digest} is not what {job.attempt.source.shown} sent:"
            f" that has the digest sha256:{got}.",
            hint="Try again later, or get the model from another place.",
        )
        with self.changed:
            job.state = State.LOADING
            if job.is_pure:
                if len(job.attempts) == 1:
                    job.begin_anew()  # so that nobody goes on with it
                    self._end(error)
                    return
                job.attempts.pop(0)
            self.begin_anew(job, error.message)

    def begin_anew(self, job: Job, reason: str, seconds: float = 0.0) -> None:
        """Forget what came of a blob, and say why. The lock is held."""
        job.begin_anew()
        self._retrying(job, reason, seconds)
        self.changed.notify_all()
        self.hashed.notify_all()

    def done(self, job: Job, event: Finished | Present) -> None:
        """The blob is in the store."""
        with self.changed:
            job.state = State.DONE
            job.partial = None
            self.has_present = self.has_present or isinstance(event, Present)
            if job.unreported:
                self.events.put(Moved(blob=job.blob, count=job.unreported))
            self.events.put(event)
            self.jobs = [each for each in self.jobs if each is not job]
            self.changed.notify_all()

    def _try_again(self, task: Task, position: int, error: TryAgain) -> None:
        job, attempt, patience = task.job, task.attempt, self._patience
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
            self.begin_anew(job, error.message, pause)

    def _next_source(self, job: Job, error: SlmctlError) -> None:
        """Give up the source that is asked now. What it brought stays: the digest decides."""
        if len(job.attempts) == 1:
            self._end(error)
            return
        job.attempts.pop(0)
        if job.attempt.place.takes_ranges:
            self._retrying(job, error.message, 0.0)
        else:
            self.begin_anew(job, error.message)

    def _retrying(self, job: Job, reason: str, seconds: float) -> None:
        shown = job.attempt.source.shown
        self.events.put(Retrying(blob=job.blob, source=shown, reason=reason, seconds=seconds))

    def _end(self, error: BaseException) -> None:
        self.error = self.error or error
        self.halt()
        self.events.put(None)


def _given_up(error: TryAgain, attempt: Attempt) -> Unreachable:
    """What is said when a source was asked often enough."""
    said = error.message.removesuffix(".")
    if error.after is not None and error.after > LONGEST_ASKED_SECONDS:
        return Unreachable(
            f"{said}; it wants to be asked again in {error.after:.0f} seconds.", hint=error.hint
        )
    times = f" ({attempt.failures} times)" if attempt.failures > 1 else ""
    return Unreachable(f"{said}{times}.", hint=error.hint or "Try again: what is here already is kept.")
