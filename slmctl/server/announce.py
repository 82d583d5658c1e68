"""Saying where this server listens, for programs of the same user (see `slmctl.app.announced`)."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import time
from collections.abc import Sequence
from pathlib import Path

from registry.errors import OperationFailed
from runtimes.folders import shared_folder, sweep
from slmctl.app.announced import FILE_NAME, LOCK_NAME, SOCKET_NAME, Announced, find_server, folder_name
from slmctl.server.listening import BACKLOG, private_umask

_LOCK_SECONDS = 1.0
_POLL_SECONDS = 0.01


class Announcement:
    """The place of one server, from `take` until `remove`; nobody else may stand there as long."""

    def __init__(self, folder: Path, lock: int, own: socket.socket) -> None:
        self.folder = folder
        self.own = own
        """Where the user's own commands come in."""
        self._lock: int | None = lock

    @classmethod
    def take(cls, folder_candidates: Sequence[Path], store: Path) -> Announcement | None:
        """Take the store's place, and sweep what killed servers left. None where there is no folder that
        others would find, so that nobody is told.

        Raises OperationFailed when another server of this user serves the store, and OSError.
        """
        base = shared_folder(folder_candidates)
        if base is None:
            return None
        sweep(base)
        folder = base / folder_name(store)
        end = time.monotonic() + _LOCK_SECONDS
        while (lock := _taken(folder)) is None:
            if time.monotonic() > end:
                raise _in_use(folder_candidates, store)
            time.sleep(_POLL_SECONDS)  # whoever looks whether it is held has it for a moment
        own = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        announcement = cls(folder, lock, own)
        try:
            for name in (FILE_NAME, SOCKET_NAME):
                (folder / name).unlink(missing_ok=True)  # a crashed server's
            with private_umask():
                own.bind(str(folder / SOCKET_NAME))
            own.listen(BACKLOG)
        except BaseException:
            announcement.remove()
            raise
        return announcement

    def tell(self, announced: Announced) -> None:
        """Say it, whole or not at all."""
        new = self.folder / f"{FILE_NAME}.new"
        new.unlink(missing_ok=True)
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8") as stream:
            json.dump(announced.to_json(), stream)
        new.replace(self.folder / FILE_NAME)

    def withdraw(self) -> None:
        """Have nobody come any more; the place stays taken."""
        (self.folder / FILE_NAME).unlink(missing_ok=True)

    def remove(self) -> None:
        """Take it back. A second call does nothing."""
        if self._lock is None:
            return
        self.own.close()
        for name in (FILE_NAME, f"{FILE_NAME}.new", SOCKET_NAME, LOCK_NAME):
            (self.folder / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.folder.rmdir()
        os.close(self._lock)
        self._lock = None


def _taken(folder: Path) -> int | None:
    """The folder's lock, if it is free; the folder is made if it is not there."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    path = folder / LOCK_NAME
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        return None  # its last owner removed the folder just now
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if path.stat().st_ino == os.fstat(lock).st_ino:  # not one that its last owner removed
            return lock
    except OSError:
        pass
    os.close(lock)
    return None


def _in_use(folder_candidates: Sequence[Path], store: Path) -> OperationFailed:
    other = find_server(folder_candidates, store)
    who = "" if other is None else f" (process {other.pid}, {other.url or other.socket})"
    return OperationFailed(
        f"Another server of yours serves this store already{who}.",
        hint="Stop that one first, or give this one a store of its own with SLMCTL_STORE.",
    )
