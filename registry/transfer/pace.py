"""How fast and how patient a transfer is."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from registry.remotes.retry import LONGEST_ASKED_SECONDS, pause_after


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a source is asked again that fails in a way which may pass.

    `attempts` failures in a row, or `total_seconds` without success, are too many; a failure after
    `worth_bytes` is the first one again. In between it is waited as `registry.remotes.retry.pause_after`
    says, `first_seconds` at first and `most_seconds` at most.
    """

    attempts: int = 8
    total_seconds: float = 300.0
    first_seconds: float = 0.5
    most_seconds: float = 30.0
    worth_bytes: int = 64 << 10

    def pause(self, failures: int, after: float | None) -> float | None:
        """Seconds to wait after so many failures in a row; None when it was tried often enough.

        `after` is what the server asked for.
        """
        if failures >= self.attempts or (after is not None and after > LONGEST_ASKED_SECONDS):
            return None
        asked = None if after is None else max(0.0, after)
        return pause_after(failures, asked, first=self.first_seconds, most=self.most_seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """`connections` at once, over all blobs, each asking for `chunk_bytes` at a time; one that is enough by
    itself comes to ask for as much as all of them would. `limit_rate` in bytes a second for all of them
    together, None for as fast as it goes."""

    connections: int = 8
    chunk_bytes: int = 8 << 20
    limit_rate: int | None = None
    patience: Patience = field(default_factory=Patience)


class Throttle:
    """Makes all connections together no faster than `rate` bytes a second."""

    def __init__(self, rate: int | None) -> None:
        self._rate = rate
        self._lock = threading.Lock()
        self._free_at = 0.0

    def spend(self, count: int, stopped: threading.Event) -> None:
        """Wait until `count` bytes may have come; not longer than until it is `stopped`."""
        if self._rate is None:
            return
        with self._lock:
            now = time.monotonic()
            self._free_at = max(self._free_at, now) + count / self._rate
            pause = self._free_at - now
        stopped.wait(pause)
