"""The system calls about a child process that subprocess does not have."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import time


def wait_without_reaping(pid: int) -> None:
    """Return when the child has ended and still holds its process id: no signal can hit a stranger."""
    if sys.platform == "darwin":
        with contextlib.closing(select.kqueue()) as queue:
            try:
                queue.control(
                    [select.kevent(pid, select.KQ_FILTER_PROC, select.KQ_EV_ADD, select.KQ_NOTE_EXIT)], 1
                )
            except ProcessLookupError:
                return  # it has ended already
    else:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def write_all(fd: int, data: bytes, deadline: float) -> None:
    """Write to a pipe until `deadline` (monotonic). A reader that is gone or does not read is no error."""
    os.set_blocking(fd, False)
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    rest = memoryview(data)
    while rest and poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        try:
            rest = rest[os.write(fd, rest) :]
        except BrokenPipeError:
            return
