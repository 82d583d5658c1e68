"""Where runtime folders lie: the part of `folders` that a run needs which only looks for a kept worker."""

from __future__ import annotations

import os
import stat
from pathlib import Path

LINK_PREFIX = "k-"
"""How the links to holders' folders begin, which lie beside them."""


def base_name() -> str:
    """The name of the folder of all runtime folders of this user, under any candidate."""
    return f"slmctl-{os.geteuid()}"


def shared_base(candidate: Path) -> Path | None:
    """Where folders lie under a candidate, if that is there and nobody else's; makes nothing."""
    base = candidate / base_name()
    try:
        return base if why_unsafe(candidate) is None and is_ours_alone(base) else None
    except OSError:
        return None


def why_unsafe(candidate: Path) -> str | None:
    """Why somebody else could put another folder in place of one of ours there. Raises OSError."""
    found = candidate.stat()
    if not stat.S_ISDIR(found.st_mode):
        return "not a folder"
    if found.st_uid not in (os.geteuid(), 0):
        return "belongs to another user"
    if found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX:
        return "others may write to it and it is not sticky"
    return None


def is_ours_alone(base: Path) -> bool:
    """Whether `base` is a folder, no link to one, that nobody but this user may enter. Raises OSError."""
    found = base.lstat()
    return (
        stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) == 0o700
    )
