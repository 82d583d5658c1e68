"""What of a file stays as it is while it is only read."""

from __future__ import annotations

from pathlib import Path


def untouched(path: Path) -> tuple[int, ...]:
    """All of its status but the time of the last read."""
    status = path.lstat()
    return (
        status.st_mode,
        status.st_ino,
        status.st_nlink,
        status.st_uid,
        status.st_gid,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )
