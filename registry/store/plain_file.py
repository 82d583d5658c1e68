"""Reading small files that must be plain ones: whatever lies there instead does not stop a command."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from registry.errors import MalformedFile

BAD_MEDIUM = frozenset({errno.EIO, errno.EBADMSG, getattr(errno, "EUCLEAN", errno.EIO)})
"""What the system answers for a bad sector and for a broken file system: reading again will not help."""

_DAMAGED = BAD_MEDIUM | {errno.ENXIO, errno.ELOOP}  # and for what is no file


def read_plain_file(path: Path, limit: int) -> bytes:
    """The bytes of the file at `path`, at most `limit` of them.

    Raises MalformedFile where a FIFO, a folder or the like lies, and where the medium cannot be read, twice;
    FileNotFoundError, and OSError for every other refusal.
    """
    try:
        return _read(path, limit)
    except OSError as error:
        if error.errno not in _DAMAGED:
            raise
    try:
        return _read(path, limit)
    except OSError as error:
        if error.errno not in _DAMAGED:
            raise
        raise MalformedFile(f"{path} cannot be read ({os.strerror(error.errno or 0)}).") from None


def _read(path: Path, limit: int) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise MalformedFile(f"{path} is not a regular file.")
        with os.fdopen(fd, "rb", closefd=False) as stream:
            return stream.read(min(status.st_size, limit))  # it allocates at once what it may read at most
    finally:
        os.close(fd)
