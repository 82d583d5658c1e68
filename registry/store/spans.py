"""Which parts of a file are there: half-open ranges of offsets, disjoint and in order."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator


class Spans:
    """A set of bytes by their offsets. Ranges that touch are one."""

    __slots__ = ("_starts", "_stops")

    def __init__(self, spans: Iterable[tuple[int, int]] = ()) -> None:
        self._starts: list[int] = []
        self._stops: list[int] = []
        for start, stop in spans:
            self.add(start, stop)

    def add(self, start: int, stop: int) -> None:
        """Add the bytes from `start` up to `stop`, which is not included."""
        if start >= stop:
            return
        first = bisect_left(self._stops, start)  # the first that reaches `start`
        last = bisect_right(self._starts, stop)  # one past the last that begins by `stop`
        if first < last:
            start = min(start, self._starts[first])
            stop = max(stop, self._stops[last - 1])
        self._starts[first:last] = [start]
        self._stops[first:last] = [stop]

    def end_from(self, offset: int) -> int:
        """How far the bytes reach without a gap from `offset` on; `offset` itself where that is missing."""
        at = bisect_right(self._starts, offset) - 1
        return max(offset, self._stops[at]) if at >= 0 else offset

    def gaps(self, size: int) -> Iterator[tuple[int, int]]:
        """The ranges that are missing from the first `size` bytes."""
        at = 0
        for start, stop in self:
            if at < start:
                yield at, min(start, size)
            at = stop
            if at >= size:
                return
        if at < size:
            yield at, size

    def covers(self, start: int, stop: int) -> bool:
        """Whether all bytes from `start` up to `stop` are there."""
        return start >= stop or self.end_from(start) >= stop

    @property
    def total(self) -> int:
        """How many bytes there are."""
        return sum(self._stops) - sum(self._starts)

    def copy(self) -> Spans:
        copied = Spans()
        copied._starts, copied._stops = self._starts[:], self._stops[:]
        return copied

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._starts[:], self._stops[:], strict=True)

    def __bool__(self) -> bool:
        return bool(self._starts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Spans) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Spans({list(self)})"
