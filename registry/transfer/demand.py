"""Whether one more connection would bring anything.

Far away, a few at once bring more than one. From this machine or the next one, a single connection brings
more than can be hashed; another would only take processors from who hashes, from who writes and, here, from
the server. So one begins alone, and the others join when it is known to be slow, or has been silent for so
long that it may be.
"""

from __future__ import annotations

_FAST_BYTES = 200 << 20
"""A connection that brings so many bytes a second is enough by itself."""

_JUDGED_AFTER_SECONDS = 0.05
_FORGOTTEN_AFTER_SECONDS = 0.5


class Demand:
    """What the connections of one download have brought lately. Times are those of `time.monotonic`."""

    def __init__(self) -> None:
        self._active = 0
        self._at = 0.0
        self._seconds = 0.0
        self._bytes = 0
        self._is_slow = False

    def came(self, count: int) -> None:
        """So many more bytes are here."""
        self._bytes += count

    def wants(self, active: int, now: float) -> bool:
        """Whether another is to be sent, with `active` of them under way. Ask when one has begun or ended."""
        self._seconds += self._active * (now - self._at)
        self._active, self._at = active, now
        if self._seconds >= _JUDGED_AFTER_SECONDS:
            self._is_slow = self._bytes < _FAST_BYTES * self._seconds
        if self._seconds >= _FORGOTTEN_AFTER_SECONDS:
            self._seconds, self._bytes = 0.0, 0
        return self._is_slow or not active

    @property
    def next_time(self) -> float:
        """When to ask again, if it wants none now."""
        return self._at + _JUDGED_AFTER_SECONDS
