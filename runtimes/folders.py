"""The folder of one worker start: private, locked by its owner, swept by the next start.

    <base>/slmctl-<uid>/lock          flocked shared to make a folder, exclusive to sweep stale ones
    <base>/slmctl-<uid>/w-<random>/   one worker: mode 0700
        lock                          flocked by the owner as long as it lives
        e.sock                        the engine's socket, or a holder's: h.sock
    <base>/slmctl-<uid>/k-<key>       a link to a holder's folder (runtimes.holder)

A folder whose lock is free is a crashed owner's and is removed, and so is a link to a folder that is gone.
Nothing is judged by its age.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from registry.errors import OperationFailed
from runtimes.places import LINK_PREFIX, base_name, is_ours_alone, why_unsafe

SOCKET_NAME = "e.sock"
LOCK_NAME = "lock"
# sun_path has 108 bytes on Linux and 104 on macOS, the closing NUL among them
SOCKET_PATH_BYTES = 103 if sys.platform == "darwin" else 107
_PREFIX = "w-"
_RANDOM_BYTES = 4
_LONGEST_TAIL = len(f"/{_PREFIX}{'0' * 2 * _RANDOM_BYTES}/{SOCKET_NAME}")


class RuntimeFolder:
    """A worker's folder, owned by this process until `remove`."""

    def __init__(self, path: Path, lock: int, private_base: Path | None) -> None:
        self.path = path
        self.socket = path / SOCKET_NAME
        self._lock = lock
        self._private_base = private_base
        self._removed = False

    @classmethod
    def create(cls, base_candidates: Sequence[Path]) -> RuntimeFolder:
        """Make a new 0700 folder under the first candidate that is safe and short enough for a socket path.

        Stale folders beside it are swept first. Raises OperationFailed when no candidate can be used.
        """
        refusals = []
        for candidate in base_candidates:
            try:
                base, private = _usable_base(candidate)
            except (_Refused, OSError) as error:
                refusals.append(f"{candidate}: {error}")
                continue
            try:
                sweep(base)
                return cls._create_in(base, private_base=base if private else None)
            except OSError as error:
                refusals.append(f"{candidate}: {error.strerror}")
                if private:
                    _remove_tree(base)
        raise OperationFailed(
            f"There is no folder for the engine's socket ({'; '.join(refusals) or 'none was offered'}).",
            hint="Point XDG_RUNTIME_DIR or TMPDIR at a writable folder of yours with a short path.",
        )

    @classmethod
    def _create_in(cls, base: Path, *, private_base: Path | None) -> RuntimeFolder:
        with _flocked(base / LOCK_NAME, fcntl.LOCK_SH):
            path = _new_folder(base)
            lock = _open_lock(path / LOCK_NAME)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return cls(path, lock, private_base)

    @property
    def is_shared(self) -> bool:
        """Whether it lies where other runs of this user look (`places.shared_base`)."""
        return self._private_base is None

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep whoever makes, sweeps or links a folder beside this one out for as long. Raises OSError."""
        with _flocked(self.path.parent / LOCK_NAME, fcntl.LOCK_EX):
            yield

    def remove(self) -> None:
        """Remove the folder and free its lock. A second call does nothing."""
        if self._removed:
            return
        self._removed = True
        _remove_tree(self.path)
        os.close(self._lock)
        if self._private_base is not None:
            _remove_tree(self._private_base)


def shared_folder(base_candidates: Sequence[Path]) -> Path | None:
    """The folder of all runtime folders of this user, under the first candidate that can hold it; made if it
    is not there. None where nobody but a single start would find it."""
    for candidate in base_candidates:
        with contextlib.suppress(_Refused, OSError):
            base, private = _usable_base(candidate)
            if not private:
                return base
            _remove_tree(base)
    return None


def sweep(base: Path) -> int:
    """Remove the folders of crashed owners from `base`; give how many.

    Does nothing while somebody else makes a folder or sweeps. Follows no symbolic link and touches nothing
    that another user owns.
    """
    try:
        with _flocked(base / LOCK_NAME, fcntl.LOCK_EX | fcntl.LOCK_NB):
            with os.scandir(base) as entries:
                names = [entry.name for entry in entries]
            swept = sum(_sweep_one(base / name) for name in names if name.startswith(_PREFIX))
            for link in (base / name for name in names if name.startswith(LINK_PREFIX)):
                if link.is_symlink() and not link.exists():
                    link.unlink(missing_ok=True)
            return swept
    except BlockingIOError:
        return 0


def _sweep_one(path: Path) -> bool:
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False  # gone, a link, or no folder
    try:
        if os.fstat(folder).st_uid != os.geteuid():
            return False
        with contextlib.suppress(FileNotFoundError):  # no lock: its owner died between mkdir and open
            lock = os.open(LOCK_NAME, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            finally:
                os.close(lock)
        _remove_tree(path)
    except OSError:
        return (
            False  # its owner lives (the lock is taken), or it cannot be removed: the next sweep tries again
        )
    finally:
        os.close(folder)
    return True


class _Refused(Exception):
    """Why a candidate is not used."""


def _usable_base(candidate: Path) -> tuple[Path, bool]:
    """The shared base under `candidate`, or a private one (True) when somebody else sits on its name."""
    if not candidate.is_absolute():
        raise _Refused("not an absolute path")
    if (reason := why_unsafe(candidate)) is not None:
        raise _Refused(reason)
    base = candidate / base_name()
    _check_length(base)
    with contextlib.suppress(FileExistsError):
        os.mkdir(base, 0o700)  # noqa: PTH102 - Path.mkdir has no way to say that an existing link is no success
        return base, False
    if is_ours_alone(base):
        return base, False
    _sweep_private_bases(candidate)
    private = Path(tempfile.mkdtemp(prefix=_private_prefix(), dir=candidate))
    try:
        _check_length(private)
    except _Refused:
        private.rmdir()
        raise
    return private, True


def _private_prefix() -> str:
    return f"slmctl-{os.geteuid()}-"


def _sweep_private_bases(candidate: Path) -> None:
    """Remove the private bases of crashed owners: those of ours in which no folder is left."""
    with os.scandir(candidate) as entries:
        names = [entry.name for entry in entries if entry.name.startswith(_private_prefix())]
    for name in names:
        base = candidate / name
        found = base.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            continue
        with contextlib.suppress(OSError):
            if sweep(base) and not any(path.name.startswith(_PREFIX) for path in base.iterdir()):
                _remove_tree(base)


def _check_length(base: Path) -> None:
    if len(os.fsencode(base)) + _LONGEST_TAIL > SOCKET_PATH_BYTES:
        raise _Refused("too long for a socket path")


def _new_folder(base: Path) -> Path:
    while True:
        path = base / f"{_PREFIX}{secrets.token_hex(_RANDOM_BYTES)}"
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
            return path


def _open_lock(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


@contextlib.contextmanager
def _flocked(path: Path, operation: int) -> Iterator[None]:
    lock = _open_lock(path)
    try:
        fcntl.flock(lock, operation)
        yield
    finally:
        os.close(lock)


def _remove_tree(path: Path) -> None:
    """Remove a folder of ours; a sweeper or the owner may be removing it at the same moment."""
    shutil.rmtree(path, ignore_errors=True)  # goes by file descriptors and follows no link
