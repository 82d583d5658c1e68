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


def wait_until_gone(pid: int, timeout_seconds: float) -> bool:
    """Wait for the end of any process (Linux); whether it came in time."""
    try:
        watched = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        poll = select.poll()
        poll.register(watched, select.POLLIN)
        return bool(poll.poll(timeout_seconds * 1000))
    finally:
        os.close(watched)
