"""Opening what somebody named, where a file is expected: never a wait for a pipe or a device."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from registry.errors import UsageError


def open_regular(path: Path, what: str) -> BinaryIO:
    """The file, to be read. Raises UsageError about `what` for anything else (a FIFO, a device, a folder),
    without waiting for it; OSError as `open` does, ValueError for a name that is none."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise UsageError(f"{what} cannot be read (it is no regular file).", hint="Give a file.")
        return os.fdopen(fd, "rb")
    except BaseException:
        os.close(fd)
        raise
