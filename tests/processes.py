"""Looking at processes from outside (Linux): children, ends, and what is left of them."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

_POLL_SECONDS = 0.005


def until(look: Callable[[], T | None], *, deadline_seconds: float = 60.0) -> T:
    """What `look` gives once it is there; fails when the deadline passes."""
    end = time.monotonic() + deadline_seconds
    while (found := look()) is None:
        assert time.monotonic() < end, f"not within {deadline_seconds} seconds"
        select.select([], [], [], _POLL_SECONDS)
    return found


def children(pid: int) -> list[int]:
    """The processes that any thread of `pid` started and that are not reaped yet."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*"):
        try:
            found += map(int, (task / "children").read_text().split())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def worker_of(pid: int) -> int | None:
    """The worker of the slmctl process `pid`, once it is one: the interpreter runs the worker's program."""
    for child in children(pid):
        try:
            command = Path(f"/proc/{child}/cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if b"workers/llamacpp.py" in command:
            return child
    return None


class Watched:
    """A process that is nobody's child here; `wait` waits for its end, whoever reaps it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._fd = os.pidfd_open(pid)

    def wait(self, deadline_seconds: float) -> float:
        """Seconds until its end; fails when the deadline passes."""
        start = time.monotonic()
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        gone = poll.poll(deadline_seconds * 1000)
        os.close(self._fd)
        assert gone, f"process {self.pid} lives after {deadline_seconds} seconds"
        return time.monotonic() - start
