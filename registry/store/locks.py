"""Locks between processes, and between threads: flock on files that are never deleted.

The kernel frees a lock when its holder dies, so no lock is ever stale and nothing is judged by its age. Each
acquisition opens the file anew, because flock belongs to the open file: two threads exclude each other too.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from registry.digest import Digest
from registry.errors import StoreUnusable

_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
"""What file systems without locks answer: ENOLCK is that of NFS without its lock service."""


class Locks:
    """The lock files below `folder` (the store's `locks/`)."""

    def __init__(self, folder: Path) -> None:
        self._store = folder / "store.lock"
        self._folder = folder

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Held for a moment while a blob becomes visible or a lease begins."""
        with _locked(self._store, fcntl.LOCK_SH):
            yield

    @contextmanager
    def shared_or_not(self) -> Iterator[bool]:
        """As `shared`, for who would rather go without than wait; whether it is held."""
        try:
            with _locked(self._store, fcntl.LOCK_SH | fcntl.LOCK_NB):
                yield True
        except BlockingIOError:
            yield False

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Held for a moment while names change or garbage is decided on and deleted."""
        with _locked(self._store, fcntl.LOCK_EX):
            yield

    @contextmanager
    def writer(self, digest: Digest) -> Iterator[None]:
        """One writer per blob: 256 locks, chosen by the digest's first byte."""
        with _locked(self._folder / f"blob-{digest.hex[:2]}.lock", fcntl.LOCK_EX):
            yield


@contextmanager
def _locked(path: Path, operation: int) -> Iterator[None]:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        lock(fd, operation, path)
        yield
    finally:
        os.close(fd)


def lock_alone(fd: int) -> None:
    """Lock an open file of nobody's store against others who do so; without effect where there are no locks.

    Raises BlockingIOError when another has it, OSError.
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise


def lock(fd: int, operation: int, path: Path) -> None:
    """flock(2) on the file at `path`. Raises StoreUnusable where the file system has no locks; OSError."""
    try:
        fcntl.flock(fd, operation)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        reason = os.strerror(error.errno or 0)
        raise StoreUnusable(
            f"The store at {path.parent.parent} cannot be written: its disk has no file locks ({reason}).",
            hint="Mount it with locks (NFS needs its lock service), or set SLMCTL_HOME to another disk.",
        ) from error
