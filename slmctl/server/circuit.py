"""When a model whose worker has died is started again.

Each death doubles the pause before the next start, from half a second to half a minute, until a worker has
been well. After three deaths within a minute the model is not tried for half a minute, and then once. A
worker was well that has answered somebody, or has lived for a minute: its end is no sign that the next will
do no better, and the next one is started at once.
"""

from __future__ import annotations

from collections import deque

HEALTHY_SECONDS = 60.0

_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 30.0
_WINDOW_SECONDS = 60.0
_MOST_DEATHS = 3
_OPEN_SECONDS = 30.0


class Circuit:
    """The deaths of one model's workers. Times are seconds of one clock that never goes back."""

    def __init__(self) -> None:
        self._deaths: deque[float] = deque()
        self._pause = 0.0
        self._next = 0.0
        self._open_until = 0.0
        self._on_trial = False

    def died(self, now: float, *, was_well: bool) -> None:
        """A worker ended by itself."""
        if was_well:
            self._pause, self._on_trial = 0.0, False
            self._deaths.clear()
            return
        self._pause = min(self._pause * 2, _LONGEST_PAUSE_SECONDS) or _FIRST_PAUSE_SECONDS
        self._next = now + self._pause
        self._deaths.append(now)
        while self._deaths[0] < now - _WINDOW_SECONDS:
            self._deaths.popleft()
        if len(self._deaths) >= _MOST_DEATHS or self._on_trial:
            self._open_until = now + _OPEN_SECONDS
            self._on_trial = True
            self._deaths.clear()

    def open_seconds(self, now: float) -> float:
        """How long it is not tried at all; 0 when it may be."""
        return max(0.0, self._open_until - now)

    def pause_seconds(self, now: float) -> float:
        """How long to wait before the next start."""
        return max(0.0, self._next - now)
