"""Hints where the bytes of blobs came from: the user's files, so that `verify --repair` can look there.
Of a blob out of an archive the hint is the archive, with its size.

cache/origins/<hex>     JSON: path, size, time of the last write

A hint is written when a file is taken in, as well as that goes; it is never needed, and never trusted: what
it leads to is hashed. It goes with its blob. Nobody but the owner can read it: a path is a private matter.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from registry.digest import Digest
from registry.store.layout import Layout

_SCHEMA = "slmctl.origin/1"
_MAX_BYTES = 16 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """A file that had a blob's bytes when it was taken in."""

    path: Path
    size: int
    mtime_ns: int


def note_origin(layout: Layout, digest: Digest, path: Path, status: os.stat_result, temporary: Path) -> None:
    """Remember where a blob came from, by way of `temporary`. No matter when that fails."""
    with suppress(OSError, ValueError):
        absolute = os.path.abspath(path)  # noqa: PTH100 - of a link, the path that the user gave
        document = {
            "schema": _SCHEMA,
            "path": absolute,
            "size": status.st_size,
            "mtime_ns": status.st_mtime_ns,
        }
        text = json.dumps(document, sort_keys=True)  # a path that is not UTF-8 becomes escapes
        if len(text) > _MAX_BYTES:
            return
        layout.origins.mkdir(exist_ok=True)
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            try:
                os.write(fd, text.encode())
            finally:
                os.close(fd)
            temporary.rename(layout.origins / digest.hex)
        finally:
            temporary.unlink(missing_ok=True)


def origin_of(layout: Layout, digest: Digest) -> Origin | None:
    """The hint about a blob; None where there is none that can be read."""
    try:
        fd = os.open(layout.origins / digest.hex, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as stream:
            document = json.loads(stream.read(_MAX_BYTES))
        path, size, mtime_ns = document["path"], document["size"], document["mtime_ns"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    if not isinstance(path, str) or "\0" in path or type(size) is not int or type(mtime_ns) is not int:
        return None
    return Origin(path=Path(path), size=size, mtime_ns=mtime_ns)
