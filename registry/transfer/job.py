"""One blob on its way in: what is still to be asked for, from whom, and how far its digest is computed.

Nothing here starts a thread, waits or does I/O but on the partial. All of it is called with the lock of the
download held, which is what makes it safe.
"""

from __future__ import annotations

import enum
import hashlib
from dataclasses import dataclass, field

from registry.remotes.base import Blob, BlobSource
from registry.store.partial import Partial
from registry.store.spans import Spans

_READ_BYTES = 1 << 20

_SHORT_SECONDS, _LONG_SECONDS = 0.25, 1.0
"""A place that answers sooner is asked for more at a time, one that takes longer for less."""


class State(enum.Enum):
    """Where a blob is. CLOSING: all of it is here, and it is being made a blob of the store."""

    NEW = "new"
    OPENING = "opening"
    ELSEWHERE = "another process is at it"
    LOADING = "loading"
    CLOSING = "closing"
    DONE = "done"


@dataclass(slots=True, eq=False)
class Place:
    """What is known of a source, whichever blob is asked for: it is left alone before a time that it asked
    for. `takes_ranges` is False once it ignored one: then all of a blob comes in one stream. `asks_bytes` is
    how much is asked for at once, from `least_bytes` to `most_bytes`: a request costs its server as much as
    many bytes (docker-registry makes room for 4 MiB for each, which is more than a chunk)."""

    source: BlobSource
    least_bytes: int
    most_bytes: int
    takes_ranges: bool = True
    not_before: float = 0.0
    asks_bytes: int = field(init=False)

    def __post_init__(self) -> None:
        self.asks_bytes = self.least_bytes

    def answered(self, count: int, seconds: float) -> None:
        """A request for `count` bytes has brought all of them in so long."""
        if seconds >= _LONG_SECONDS:
            self.asks_bytes = max(self.least_bytes, self.asks_bytes // 2)
        elif seconds < _SHORT_SECONDS and count >= self.asks_bytes:
            self.asks_bytes = max(self.asks_bytes, min(self.most_bytes, 4 * self.asks_bytes))


@dataclass(slots=True, eq=False)
class Attempt:
    """How it goes with one source of one blob. Times are those of `time.monotonic`.

    `validator` names the content's state there. `failures` are those in a row, `since` the time of the first
    of them, `worth` the bytes that came since the last; `farthest` is how far one stream came.
    """

    place: Place
    validator: str | None = None
    failures: int = 0
    since: float = 0.0
    last: float = 0.0
    worth: int = 0
    farthest: int = 0
    changes: int = 0
    not_before: float = 0.0

    @property
    def source(self) -> BlobSource:
        return self.place.source

    @property
    def may_begin(self) -> float:
        """When it may be asked next."""
        return max(self.not_before, self.place.not_before)


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """One request: the bytes from `start` up to `stop` of a blob, to be written to `partial`.

    `generation` is that of the job; when it has another one by then, nothing of the task counts.
    """

    job: Job
    generation: int
    attempt: Attempt
    partial: Partial
    start: int
    stop: int
    validator: str | None
    began: float


@dataclass(slots=True)
class Stretch:
    """Bytes at the front to be hashed: from memory where they are still there, else `size` read back."""

    offset: int
    size: int
    piece: bytes | None = None


@dataclass(slots=True, eq=False)
class Job:
    """A blob that is not here. `attempts` are its sources in order; the first of them is asked now."""

    blob: Blob
    attempts: list[Attempt]
    state: State = State.NEW
    not_before: float = 0.0
    generation: int = 0
    partial: Partial | None = None
    written: Spans = field(default_factory=Spans)
    pending: list[tuple[int, int]] = field(default_factory=list)
    active: int = 0
    resumed: int = 0
    contributors: list[Attempt] = field(default_factory=list)
    ready: dict[int, bytes] = field(default_factory=dict)
    ready_bytes: int = 0
    hasher: hashlib._Hash = field(default_factory=hashlib.sha256)
    front: int = 0
    hashing: bool = False
    hashed_from_memory: bool = False
    flushing: bool = False
    flushed_at: float = 0.0
    unreported: int = 0

    @property
    def attempt(self) -> Attempt:
        return self.attempts[0]

    def begin(self, partial: Partial) -> None:
        """Go on with what an earlier attempt has left."""
        self.state = State.LOADING
        self._use(partial)
        self.written = partial.done
        self.resumed = self.written.total
        self.pending = list(self.written.gaps(self.blob.size))
        if partial.state is not None and self.resumed:
            self._recall_validator(*partial.state)

    def begin_anew(self) -> None:
        """Forget what came so far. Tasks that are under way count no more."""
        assert self.partial is not None
        self.unreported -= self.written.total
        self._use(self.partial.restarted())
        self.written = Spans()
        self.resumed = 0
        self.pending = [(0, self.blob.size)] if self.blob.size else []

    def take(self, now: float, *, alone: bool) -> Task | None:
        """The next part to ask for, None when there is none, or not yet; a larger one for who is `alone`."""
        attempt = self.attempt
        if self.state is not State.LOADING or not self.pending or now < attempt.may_begin:
            return None
        if not attempt.place.takes_ranges and self.pending != [(0, self.blob.size)]:
            if self.active:
                return None  # what is under way will notice
            self.begin_anew()
        assert self.partial is not None
        start, stop = self.pending.pop(0)
        if attempt.place.takes_ranges:
            chunk = attempt.place.least_bytes
            end = min(stop, start // chunk * chunk + (attempt.place.asks_bytes if alone else chunk))
            if end < stop:
                self.pending.insert(0, (end, stop))
            stop = end
        self.active += 1
        return Task(self, self.generation, attempt, self.partial, start, stop, attempt.validator, now)

    def give_back(self, task: Task, position: int) -> None:
        """A task has ended at `position`; what is left of it waits for another."""
        self.active -= 1
        if position < task.stop:
            self.pending.insert(0, (position, task.stop))
            self.pending.sort()

    def arrived(self, task: Task, position: int, piece: bytes, *, keep: bool) -> None:
        """These bytes were written at `position`. `keep` them in memory until they are hashed."""
        count = len(piece)
        if keep:
            self.ready[position] = piece
            self.ready_bytes += count
        self.written.add(position, position + count)
        self.unreported += count
        if task.attempt not in self.contributors:
            self.contributors.append(task.attempt)
        if task.attempt.place.takes_ranges:
            task.attempt.worth += count
        elif position + count > task.attempt.farthest:
            task.attempt.worth += position + count - task.attempt.farthest
            task.attempt.farthest = position + count

    @property
    def next_time(self) -> float | None:
        """When there may be something to do that cannot be done now; None where that is not known."""
        if self.state is State.ELSEWHERE:
            return self.not_before
        return self.attempt.may_begin if self.state is State.LOADING and self.pending else None

    @property
    def is_pure(self) -> bool:
        """Whether all bytes came now and from the one source that is asked now."""
        return not self.resumed and all(each is self.attempt for each in self.contributors)

    @property
    def backlog(self) -> int:
        """How many bytes could be hashed now."""
        return self.written.end_from(self.front) - self.front

    @property
    def is_whole(self) -> bool:
        return self.written.covers(0, self.blob.size)

    def next_stretches(self) -> list[Stretch]:
        """What is to be hashed next, at most a few megabytes of it."""
        end = min(self.written.end_from(self.front), self.front + (4 << 20))
        stretches: list[Stretch] = []
        at = self.front
        while at < end:
            piece = self.ready.pop(at, None)
            if piece is not None:
                self.ready_bytes -= len(piece)
                stretches.append(Stretch(at, len(piece), piece))
            else:
                until = min((offset for offset in self.ready if at < offset < end), default=end)
                stretches.append(Stretch(at, min(until - at, _READ_BYTES)))
            at += stretches[-1].size
        self.hashed_from_memory = all(stretch.piece is not None for stretch in stretches)
        return stretches

    def _use(self, partial: Partial) -> None:
        self.partial = partial
        self.generation += 1
        self.active = 0
        self.contributors = []
        self.ready = {}
        self.ready_bytes = 0
        self.front = 0
        self.hasher = hashlib.sha256()

    def _recall_validator(self, source: str, validator: str) -> None:
        for attempt in self.attempts:
            if attempt.source.shown == source:
                attempt.validator = validator
