"""Where damaged blobs go: renamed, never deleted. The name that needs one stays, and its blob is missing.

A blob is moved only if its path still has the very file that was found damaged: one that somebody has put
there since is whole, because ingest looked at it. The lock of the blob's writer and the store's exclusive
lock are held meanwhile, so that no two move it and nobody puts one there in between. A crash before the
rename changes nothing, one after it leaves the blob in the quarantine.
"""

from __future__ import annotations

import os
from contextlib import suppress
from itertools import count
from pathlib import Path

from registry.digest import Digest
from registry.errors import BadContent
from registry.store.durable import flush_folder
from registry.store.hashing import Checked, FileId
from registry.store.layout import Layout
from registry.store.locks import Locks


def put_aside(layout: Layout, locks: Locks, damaged: Checked) -> Path | None:
    """Move a damaged blob into the quarantine; gives where it is now.

    None when the path has another file by now, or none. Raises OSError.
    """
    if damaged.file is None:
        return None
    path = layout.blob(damaged.digest)
    with locks.writer(damaged.digest), locks.exclusive():
        try:
            found = FileId.of(path.lstat())
        except FileNotFoundError:
            return _moved_by_another(layout, damaged)
        if found != damaged.file:
            return None
        if not layout.quarantine.is_dir():
            layout.quarantine.mkdir(exist_ok=True)
            flush_folder(layout.root)
        place = _free_place(layout, damaged.digest)
        path.rename(place)
        flush_folder(layout.quarantine)
        flush_folder(layout.blobs)
    return place


def in_quarantine(layout: Layout) -> dict[Digest, list[Path]]:
    """What lies in the quarantine, by the digest that it should have had."""
    found: dict[Digest, list[Path]] = {}
    with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
        for path in sorted(layout.quarantine.iterdir()):
            with suppress(BadContent):
                found.setdefault(Digest(path.name.partition(".")[0]), []).append(path)
    return found


def _free_place(layout: Layout, digest: Digest) -> Path:
    numbered = (layout.quarantine / f"{digest.hex}.{number}" for number in count(1))
    return next(path for path in numbered if not os.path.lexists(path))


def _moved_by_another(layout: Layout, damaged: Checked) -> Path | None:
    """Where another `verify` has put the very file, if it was that."""
    assert damaged.file is not None
    for path in in_quarantine(layout).get(damaged.digest, []):
        with suppress(OSError):
            status = path.lstat()
            if (status.st_dev, status.st_ino) == (damaged.file.device, damaged.file.inode):
                return path
    return None
