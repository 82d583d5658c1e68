"""The history in slmctl's home: `history.json`, replaced as a whole.

A file that is absent, damaged or of another program is an empty history: what was learned can be learned
again, and a model runs without.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from registry.store.locks import lock_alone
from slmctl.app.planning.history import History

_MAX_BYTES = 1 << 20
_TRIES = 20
_BETWEEN_TRIES_SECONDS = 0.01


def read_history(home: Path) -> History:
    """What was learned so far. Never raises."""
    try:
        with open(home / "history.json", "rb") as stream:  # noqa: PTH123 - pathlib's is slower, and `run` reads it
            return History.from_json(json.loads(stream.read(_MAX_BYTES)))
    except (OSError, ValueError, RecursionError):
        return History()


def update_history(home: Path, change: Callable[[History], History]) -> bool:
    """Write what `change` makes of the history now. False where it could not be written, or another process
    is writing all the time: what was learned is then lost, and nothing else."""
    path = home / "history.json"
    with suppress(OSError):
        fd = os.open(home / "history.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if not _locked(fd):
                return False
            old = read_history(home)
            new = change(old)
            if new == old:
                return True
            temporary = home / f"history.json.{os.getpid()}"
            try:
                temporary.write_text(json.dumps(new.to_json(), separators=(",", ":")), encoding="utf-8")
                temporary.rename(path)
            finally:
                temporary.unlink(missing_ok=True)
            return True
        finally:
            os.close(fd)
    return False


def _locked(fd: int) -> bool:
    for _ in range(_TRIES):
        with suppress(BlockingIOError):
            lock_alone(fd)
            return True
        time.sleep(_BETWEEN_TRIES_SECONDS)
    return False
