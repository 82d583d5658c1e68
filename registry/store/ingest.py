"""Taking bytes into the store: nothing is visible before it is whole, verified and durable.

    write to ingest/ -> size -> digest over the bytes written -> chmod 0444 -> flush -> rename -> flush folder

A file of the user's is taken by reflink where the file system has that (FICLONE on Linux, clonefile on
macOS), else by one copy; never by hard link, because the inode would stay the user's and a later write to it
would change a verified blob. A move renames the file in, last of all and only when nobody else can hold its
inode; until the name is linked it can be undone.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from registry.digest import Digest
from registry.errors import NotFound, OperationFailed, SizeMismatch, UsageError
from registry.store.durable import flush_file, flush_folder, write_all
from registry.store.leases import Lease
from registry.store.locks import Locks

_FICLONE = 0x40049409  # _IOW(0x94, 9, int), linux/fs.h
_BUFFER_BYTES = 4 << 20

Progress = Callable[[int], None]
"""Told how many more bytes are done."""

Check = Callable[[int], None]
"""Told the descriptor of an open file; raises when its content will not do."""


def _no_progress(_: int) -> None:
    pass


class SourceFile:
    """A regular file of the user's, opened once; its size and times are those of the opened inode."""

    def __init__(self, path: Path) -> None:
        """Raises NotFound, UsageError for what is no regular file, OperationFailed."""
        self.path = path
        try:
            self.fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            raise NotFound(f"There is no file {_shown(path)}.", hint="Check the path.") from None
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise OperationFailed(f"The file {_shown(path)} cannot be read ({reason}).") from None
        self.status = os.fstat(self.fd)
        if not stat.S_ISREG(self.status.st_mode):
            os.close(self.fd)
            raise UsageError(f"{_shown(path)} is not a regular file.", hint="Name the model's file itself.")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)

    @property
    def size(self) -> int:
        return self.status.st_size

    def check_unchanged(self) -> None:
        """Raise OperationFailed if the file was written to since it was opened."""
        now = os.fstat(self.fd)
        if (now.st_size, now.st_mtime_ns) != (self.status.st_size, self.status.st_mtime_ns):
            raise OperationFailed(
                f"The file {_shown(self.path)} changed while it was read.",
                hint="Try again when it is complete.",
            )


def hash_open_file(fd: int, progress: Progress = _no_progress) -> tuple[Digest, int]:
    """Digest and size in bytes of an open file, read from its start without moving its offset."""
    hasher = hashlib.sha256()
    buffer = bytearray(_BUFFER_BYTES)
    view = memoryview(buffer)
    position = 0
    while count := os.preadv(fd, [buffer], position):
        hasher.update(view[:count])
        position += count
        progress(count)
    return Digest(hasher.hexdigest()), position


@dataclass(slots=True, kw_only=True)
class Move:
    """A user's file on its way into the store: hashed and flushed, and still where it was.

    `blob` is the final path that it will be renamed to; None where a blob of these bytes is there already, so
    that the file only has to go.
    """

    source: SourceFile
    digest: Digest
    blob: Path | None

    def carry_out(self) -> None:
        """Rename the file to its blob. The store's lock is held exclusively: nobody can name it yet."""
        if self.blob is None or self.blob.exists():
            self.blob = None
            return
        self._check_same_inode()
        os.fchmod(self.source.fd, 0o444)
        try:
            self.source.path.rename(self.blob)
            self.source.check_unchanged()
        except BaseException:
            self.undo()
            raise

    def undo(self) -> None:
        """Give the file back as it was. The lock is still held, so nothing names the blob."""
        if self.blob is not None:
            with suppress(OSError):
                if not self.source.path.exists() and self.blob.exists():
                    self.blob.rename(self.source.path)
                os.fchmod(self.source.fd, stat.S_IMODE(self.source.status.st_mode))

    def finish(self) -> None:
        """The name is linked: remove what the store has a copy of."""
        if self.blob is None:
            self._check_same_inode()
            self.source.path.unlink()
        flush_folder(self.source.path.absolute().parent)

    def _check_same_inode(self) -> None:
        now = self.source.path.lstat()
        if (now.st_dev, now.st_ino) != (self.source.status.st_dev, self.source.status.st_ino):
            raise OperationFailed(f"The file {_shown(self.source.path)} was replaced while it was read.")


class Ingest:
    """Puts blobs into `blobs/sha256` by way of `ingest/`, for the owner of a lease."""

    def __init__(self, blobs: Path, ingest: Path, locks: Locks) -> None:
        self._blobs = blobs
        self._ingest = ingest
        self._locks = locks

    def path_of(self, digest: Digest) -> Path:
        return self._blobs / digest.hex

    def take_bytes(self, data: bytes, lease: Lease) -> Digest:
        """Store a small blob."""
        digest = Digest.of(data)
        lease.add(digest)
        if not self._present(digest, len(data)):
            with self._temporary(lease) as (path, fd):
                write_all(fd, data)
                self._commit(path, fd, digest, len(data))
        return digest

    def take_file(
        self,
        source: SourceFile,
        lease: Lease,
        *,
        check: Check,
        progress: Progress = _no_progress,
    ) -> Digest:
        """Store the bytes of a user's file, which stays as it is.

        `check` is called with the descriptor of our private copy before it becomes a blob, and raises if the
        content will not do: what it saw is what is stored.
        """
        known = self._already_stored(source, lease, progress)
        if known is not None:
            with self.path_of(known).open("rb") as blob:
                check(blob.fileno())
            return known
        with self._temporary(lease) as (path, fd):
            if _clone(source, path, fd):
                digest, size = hash_open_file(fd, progress)
            else:
                digest, size = _copy(source.fd, fd, source.size, progress)
            source.check_unchanged()
            if size != source.size:
                raise SizeMismatch(f"The copy of {_shown(source.path)} has {size} bytes of {source.size}.")
            check(fd)
            lease.add(digest)
            self._commit(path, fd, digest, size)
        return digest

    def prepare_move(
        self, source: SourceFile, lease: Lease, *, check: Check, progress: Progress = _no_progress
    ) -> Move:
        """Get everything ready to take a user's file by renaming it, without touching it yet.

        Where the inode cannot become the store's alone (another file system, another owner, a second hard
        link) it is copied now, and what is left for later is the removal of the original.
        """
        check(source.fd)
        ours = source.status.st_nlink == 1 and source.status.st_uid == os.geteuid()
        same_disk = source.status.st_dev == self._ingest.stat().st_dev
        if not (ours and same_disk):
            digest = self.take_file(source, lease, check=check, progress=progress)
            return Move(source=source, digest=digest, blob=None)
        digest, size = hash_open_file(source.fd, progress)
        source.check_unchanged()
        lease.add(digest)
        flush_file(source.fd)
        present = self._present(digest, size)
        return Move(source=source, digest=digest, blob=None if present else self.path_of(digest))

    def _already_stored(self, source: SourceFile, lease: Lease, progress: Progress) -> Digest | None:
        """The digest of `source` if its blob is here: saves a copy when a model is made anew."""
        with os.scandir(self._blobs) as blobs:
            if not any(_size(blob) == source.size for blob in blobs):
                return None
        digest, size = hash_open_file(source.fd)
        source.check_unchanged()
        lease.add(digest)
        if not self._present(digest, size):
            return None
        progress(size)
        return digest

    def _present(self, digest: Digest, size: int) -> bool:
        """Whether the blob is at its final path, durably. Ask only after the lease lists it."""
        with self._locks.shared():
            try:
                status = self.path_of(digest).lstat()
            except FileNotFoundError:
                return False
        if not stat.S_ISREG(status.st_mode) or status.st_size != size:
            return False
        flush_folder(self._blobs)  # whoever put it there may have died before doing so
        return True

    @contextmanager
    def _temporary(self, lease: Lease) -> Iterator[tuple[Path, int]]:
        path = self._ingest / lease.temporary()
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            yield path, fd
        finally:
            os.close(fd)
            with suppress(FileNotFoundError):
                path.unlink()  # gone when it was committed

    def _commit(self, path: Path, fd: int, digest: Digest, size: int) -> None:
        """Make the whole, verified file at `path` the blob `digest`."""
        with self._locks.writer(digest):
            if self._present(digest, size):
                with suppress(FileNotFoundError):
                    path.unlink()
                return
            os.fchmod(fd, 0o444)
            flush_file(fd)
            with self._locks.shared():
                path.rename(self.path_of(digest))
            flush_folder(self._blobs)


def _size(blob: os.DirEntry[str]) -> int | None:
    try:
        return blob.stat(follow_symlinks=False).st_size
    except FileNotFoundError:
        return None  # removed since the folder was read


def _clone(source: SourceFile, path: Path, fd: int) -> bool:
    """Make the new, empty file at `path` share the source's blocks; False where that is impossible."""
    if sys.platform == "darwin":
        return _clonefile(source, path, fd)
    try:
        fcntl.ioctl(fd, _FICLONE, source.fd)
    except OSError:
        return False
    return True


def _clonefile(source: SourceFile, path: Path, fd: int) -> bool:
    """clonefile(2) makes the target itself, so the clone takes the place of the empty file under `fd`."""
    library = ctypes.CDLL(None, use_errno=True)
    beside = path.with_name(f"{path.name}.clone")
    if library.fclonefileat(source.fd, -2, os.fsencode(beside), 0) != 0:  # -2 is AT_FDCWD
        return False
    try:
        beside.chmod(0o600)  # it has the source's mode, which need not let us write
        clone = os.open(beside, os.O_RDWR | os.O_CLOEXEC)
        try:
            beside.rename(path)
            os.dup2(clone, fd, inheritable=False)
        finally:
            os.close(clone)
    finally:
        beside.unlink(missing_ok=True)
    return True


def _copy(source: int, target: int, size: int, progress: Progress) -> tuple[Digest, int]:
    """Copy once, hashing what is written. Whether there is room is asked first.

    Not posix_fallocate: where the file system lacks it, the C library writes every block to emulate it.
    """
    disk = os.fstatvfs(target)
    if size > disk.f_frsize * (disk.f_bfree if os.geteuid() == 0 else disk.f_bavail):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    hasher = hashlib.sha256()
    buffer = bytearray(_BUFFER_BYTES)
    view = memoryview(buffer)
    position = 0
    while count := os.preadv(source, [buffer], position):
        hasher.update(view[:count])
        write_all(target, view[:count])
        position += count
        progress(count)
    return Digest(hasher.hexdigest()), position


def _shown(path: Path) -> str:
    text = str(path)
    return text if text.isprintable() and text else repr(text)
