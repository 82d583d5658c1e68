"""Whether a worker that says nothing is at work.

A long prompt on a slow machine is silent for as long as a dead lock; but it takes processor time, and a
worker that hangs (stopped, waiting for a disk or a device that is gone) takes none.
"""

from __future__ import annotations

import psutil

LEAST_SHARE = 0.01
"""Of the time of one core: who takes less is not at work. A thread that only waits takes a thousandth."""


class Silence:
    """Looks at one process, and those below it, from time to time."""

    def __init__(self, pid: int | None) -> None:
        self._pid = pid
        self._computed = self._seconds()

    def was_idle(self, seconds: float) -> bool:
        """Whether it was not at work for the `seconds` since the last look, as far as that can be seen."""
        before, self._computed = self._computed, self._seconds()
        if before is None or self._computed is None:
            return True
        return self._computed - before < LEAST_SHARE * seconds

    def _seconds(self) -> float | None:
        """The processor time that it has taken in all; None for one that is gone."""
        if self._pid is None:
            return None
        try:
            process = psutil.Process(self._pid)
            times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
        except psutil.Error:
            return None
        return sum(each.user + each.system for each in times)
