"""What a file system can take: how many bytes are free, and how large one file may be."""

from __future__ import annotations

import os
import resource
import sys
from dataclasses import dataclass
from pathlib import Path

FAT32_LARGEST = (1 << 32) - 1
"""FAT has 32 bits for a file's size (Microsoft, FAT32 File System Specification, DIR_FileSize)."""

_SMALL = {"vfat": FAT32_LARGEST, "msdos": FAT32_LARGEST, "fat": FAT32_LARGEST, "umsdos": FAT32_LARGEST}


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """A file system: its `size`, and what of it this process may still write, in bytes."""

    size: int
    free: int


def disk_at(at: int | Path) -> Disk:
    """The file system of an open file or a path. Raises OSError."""
    disk = os.statvfs(at)
    free = disk.f_bfree if os.geteuid() == 0 else disk.f_bavail  # root may use what is reserved
    return Disk(size=disk.f_frsize * disk.f_blocks, free=disk.f_frsize * free)


def free_bytes(at: int | Path) -> int:
    """Bytes that this process may still write to the file system of an open file or a path."""
    return disk_at(at).free


def nearest_folder(path: Path) -> Path:
    """The folder itself, or the nearest above it that there is: where it will be made."""
    return next(folder for folder in (path, *path.absolute().parents) if folder.is_dir())


def largest_file(folder: Path) -> tuple[int | None, str]:
    """How large a file in `folder` may be, None where no limit is known; and what sets the limit."""
    soft = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    limit = None if soft == resource.RLIM_INFINITY else soft
    kind = file_system(folder)
    largest = _SMALL.get(kind) if kind is not None else None
    if largest is not None and (limit is None or largest < limit):
        return largest, "FAT32"
    return limit, "the limit on file sizes (ulimit -f)"


def file_system(folder: Path) -> str | None:
    """The kind of the file system that `folder` is on, None where the system does not tell."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        table = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
        device = folder.stat().st_dev
    except OSError:
        return None
    return find_file_system(table, os.major(device), os.minor(device))


def find_file_system(mountinfo: str, major: int, minor: int) -> str | None:
    """The kind of the file system on a device, by the text of /proc/self/mountinfo (proc(5)).

    A line is `id parent major:minor root mountpoint options [tags] - kind source options`.
    """
    for line in mountinfo.splitlines():
        fields = line.split(" ")
        if len(fields) > 6 and fields[2] == f"{major}:{minor}" and "-" in fields[6:]:
            return fields[fields.index("-", 6) + 1]
    return None
