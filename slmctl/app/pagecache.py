"""Whether a file would be read from the disk or from memory."""

from __future__ import annotations

import os
import sys

_SAMPLES = 32


def is_in_memory(fd: int) -> bool | None:
    """Whether most of an open file is in the page cache; None where the system does not say.

    Asked of single bytes over the whole file (preadv2(2), RWF_NOWAIT), which takes microseconds. Linux begins
    to read what is not there, so ask before something else does, and of a file that is wanted.
    """
    if sys.platform != "linux":
        return None
    size = os.fstat(fd).st_size
    found = 0
    for number in range(_SAMPLES):
        try:
            found += os.preadv(fd, [bytearray(1)], size * number // _SAMPLES, os.RWF_NOWAIT)
        except BlockingIOError:
            continue
        except OSError:  # a file system that cannot
            return None
    return found > _SAMPLES // 2
