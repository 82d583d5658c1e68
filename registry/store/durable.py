"""Making files survive a crash: write, flush to the medium, rename, flush the folder.

On macOS `fsync` only hands the bytes to the drive; F_FULLFSYNC makes the drive write them (git's
core.fsyncMethod says the same).
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from registry.errors import NoSpace, StoreUnusable

_FULLFSYNC: int | None = getattr(fcntl, "F_FULLFSYNC", None)


def flush_file(fd: int) -> None:
    """Return when the bytes of `fd` are on the medium. An error means that they may not be: do not retry."""
    if _FULLFSYNC is not None:
        try:
            fcntl.fcntl(fd, _FULLFSYNC)
        except OSError as error:
            if error.errno not in {errno.ENOTSUP, errno.EINVAL}:
                raise
        else:
            return
    os.fsync(fd)


def flush_folder(folder: Path) -> None:
    """Return when the names in `folder` are on the medium."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        flush_file(fd)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems have no fsync for folders
            raise
    finally:
        os.close(fd)


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write all of `data`, however many calls it takes."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def write_file(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Write a new file of our own at `path` (never a final path), flushed; what was there before is gone.

    It is removed and not truncated: after a power failure in the middle of a rename, some file systems show a
    file at both names, and the other one is live.
    """
    path.unlink(missing_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        write_all(fd, data)
        check_length(fd, len(data))
        flush_file(fd)
    finally:
        os.close(fd)


def check_length(fd: int, size: int) -> None:
    """Raise OSError (EIO) unless the file under `fd` has `size` bytes, as its writes have claimed."""
    if os.fstat(fd).st_size != size:
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def replace_file(temporary: Path, final: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Put `data` at `final` in one step: `temporary` (same file system) is written, flushed and renamed."""
    with removed_on_failure(temporary):
        write_file(temporary, data, mode=mode)
        temporary.rename(final)
    flush_folder(final.parent)


@contextmanager
def removed_on_failure(temporary: Path) -> Iterator[None]:
    """What could not be put in its place gives its space back."""
    try:
        yield
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


@contextmanager
def store_errors(root: Path, *, doing: str = "written") -> Iterator[None]:
    """Turn the operating system's refusals inside the store at `root` into our errors.

    `doing` is what cannot be done to it: "written" or "read". Raises NoSpace for a full disk or quota,
    StoreUnusable for everything else.
    """
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise NoSpace(
                f"There is no space left for the store at {root}.",
                hint="Free some space, remove a model with 'slmctl rm', or set SLMCTL_HOME to another disk.",
            ) from error
        if error.errno in {errno.EROFS, errno.EACCES, errno.EPERM}:
            raise StoreUnusable(
                f"The store at {root} cannot be {doing} ({os.strerror(error.errno)}).",
                hint="Check who owns it, or set SLMCTL_HOME to a folder of yours.",
            ) from error
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise StoreUnusable(
            f"The store at {root} cannot be used ({reason}).",
            hint="Check the folder and its disk, or set SLMCTL_HOME to another one.",
        ) from error
