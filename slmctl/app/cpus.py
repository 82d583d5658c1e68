"""The processors of this machine, as far as they are ours."""

from __future__ import annotations

import os
from collections.abc import Callable


def usable_cpus() -> int:
    """How many CPUs this process may use."""
    affinity: Callable[[int], set[int]] | None = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
