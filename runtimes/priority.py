"""How a child's processor time ranks beside others'."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def yield_to_others(pid: int, by: int) -> None:
    """Have a child without threads step back `by` levels of niceness (setpriority(2)) from this process.

    Where Linux groups processes by session and not by control group (autogroups, sched(7)), levels count
    within a session only, and a worker is a session of its own: there the session steps back. What the system
    refuses stays as it is.
    """
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, os.getpriority(os.PRIO_PROCESS, 0) + by)
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text(str(by), encoding="ascii")
