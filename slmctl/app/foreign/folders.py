"""Walking through a folder of somebody else's, without end and without surprises."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePath

from slmctl.app.foreign.found import entries_of, is_folder

MAX_DEPTH = 8
_MAX_CONFIG_BYTES = 1 << 20


def files_below(folder: Path, *, follow: bool = False) -> Iterator[PurePath]:
    """The paths of all that is no folder, relative, folder by folder; what cannot be read is passed over.

    Links to folders are followed only where `follow` says so, and each folder is visited once.
    """
    level = [PurePath()]
    seen: set[tuple[int, int]] = set()
    for _ in range(MAX_DEPTH):
        below: list[PurePath] = []
        for relative in level:
            try:
                status = os.stat(folder / relative)  # noqa: PTH116
                if (status.st_dev, status.st_ino) in seen:
                    continue
                seen.add((status.st_dev, status.st_ino))
                entries = entries_of(folder / relative)
            except OSError:
                continue
            for entry in entries:
                if is_folder(entry, follow=follow):
                    below.append(relative / entry.name)
                else:
                    yield relative / entry.name
        level = below


def config_of(folder: Path) -> bytes:
    """The folder's config.json; nothing where there is none that can be read."""
    try:
        fd = os.open(folder / "config.json", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as stream:
            return stream.read(_MAX_CONFIG_BYTES) or b""
    except OSError:
        return b""


def size_of(paths: Iterator[Path]) -> int:
    """Bytes of all the files that can be looked at."""
    total = 0
    for path in paths:
        try:
            total += path.stat().st_size
        except OSError:
            continue
    return total
