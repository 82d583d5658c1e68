"""Whether there is room for what is to come, asked before the first byte.

What is replaced is freed only after what replaces it has its name, so both count.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from pathlib import Path

from registry.errors import NoSpace
from registry.remotes.base import Blob
from registry.store.partial import PARTIAL
from registry.store.reader import StoreReader
from registry.store.room import free_bytes, largest_file


def needed(reader: StoreReader, blobs: Iterable[Blob]) -> int:
    """The bytes that must still be written for `blobs` to be in the store: without those that are there, and
    without the parts that an earlier attempt left."""
    found = {blob.digest: blob for blob in blobs}
    return sum(
        max(0, blob.size - _allocated(reader.layout.ingest / f"{digest.hex}{PARTIAL}"))
        for digest, blob in found.items()
        if not reader.has(digest)
    )


def check_space(reader: StoreReader, blobs: Iterable[Blob]) -> None:
    """Raise NoSpace when `blobs` do not fit on the store's disk beside what is there."""
    blobs = list(blobs)
    folder = _nearest(reader.root)
    try:
        wanted, free = needed(reader, blobs), free_bytes(folder)
        largest, why = largest_file(folder)
    except OSError as error:
        if error.errno == errno.ENOENT:
            return  # it was removed just now: whoever writes will say so
        raise
    if wanted > free:
        raise NoSpace(
            f"The download takes {wanted} bytes, and the disk of {reader.root} has {free} bytes free.",
            hint="Free some space, remove a model with 'slmctl rm', or set SLMCTL_HOME to another disk.",
        )
    too_large = max((blob.size for blob in blobs), default=0)
    if largest is not None and too_large > largest:
        raise NoSpace(
            f"A file of {too_large} bytes cannot be stored in {reader.root}: {why} allows {largest}.",
            hint="Set SLMCTL_HOME to another disk.",
        )


def _allocated(path: Path) -> int:
    try:
        return os.stat(path, follow_symlinks=False).st_blocks * 512  # noqa: PTH116 - st_blocks is of 512 bytes
    except OSError:
        return 0


def _nearest(folder: Path) -> Path:
    """The folder, or the nearest above it that exists."""
    return next((path for path in (folder, *folder.absolute().parents) if path.exists()), folder)
