"""Where runtime folders lie: the part of `folders` that a run needs which only looks for a kept worker."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def base_name() -> str:
    """The name of the folder of all runtime folders of this user, under any candidate."""
    return f"slmctl-{os.geteuid()}"


def shared_base(candidate: Path) -> Path | None:
    """Where folders lie under a candidate, if that is there and ours alone; makes nothing."""
    base = candidate / base_name()
    try:
        return base if is_ours_alone(base) else None
    except OSError:
        return None


def is_ours_alone(base: Path) -> bool:
    """Whether `base` is a folder, no link to one, that nobody but this user may enter. Raises OSError."""
    found = base.lstat()
    return (
        stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) == 0o700
    )
