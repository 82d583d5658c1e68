"""Taking bytes into the store: nothing is visible before it is whole, verified and durable.

    write to ingest/ -> size -> digest over the bytes written -> chmod 0444 -> flush -> rename -> flush folder

A file of the user's is taken by reflink where the file system has that (FICLONE on Linux, clonefile on
macOS), else by one copy; never by hard link, because the inode would stay the user's and a later write to it
would change a verified blob. The one exception is a move: the file gets a second name in the store, and loses
its first when the model is named, if nobody else can hold its inode; until then nothing is lost.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from registry.digest import Digest
from registry.errors import DigestMismatch, NotFound, OperationFailed, SizeMismatch, UsageError
from registry.store.durable import check_length, flush_file, flush_folder, write_all
from registry.store.leases import Lease
from registry.store.locks import Locks
from registry.store.partial import Partial
from registry.store.plain_file import BAD_MEDIUM
from registry.store.room import free_bytes

_FICLONE = 0x40049409  # _IOW(0x94, 9, int), linux/fs.h
_BUFFER_BYTES = 256 << 10
"""Small enough for a core's own cache: SHA-256 then runs faster than over megabytes, by half and more."""

Progress = Callable[[int], None]
"""Told how many more bytes are done."""

Check = Callable[[int], None]
"""Told the descriptor of an open file; raises when its content will not do."""


def _no_progress(_: int) -> None:
    pass


class OtherDigest(DigestMismatch):
    """What came has the digest `found` instead of `wanted`."""

    def __init__(self, wanted: Digest, found: Digest) -> None:
        super().__init__(f"The blob {wanted} is damaged: its bytes have the digest {found}.")
        self.wanted = wanted
        self.found = found


class SourceFile:
    """A regular file of the user's, opened once; its size and times are those of the opened inode."""

    def __init__(self, path: Path, fd: int | None = None) -> None:
        """`fd`, if given, is open for the file already and is taken over; `path` then only names it.

        Raises NotFound, UsageError for what is no regular file, OperationFailed.
        """
        self.path = path
        try:
            self.fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC) if fd is None else fd
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

    def is_at(self, path: Path) -> bool:
        """Whether `path` names this very file."""
        try:
            found = path.lstat()
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == (self.status.st_dev, self.status.st_ino)

    def read_into(self, buffer: bytearray, position: int) -> int:
        """Fill `buffer` from `position` on; how much of it. Raises OperationFailed, not the store's error."""
        try:
            return os.preadv(self.fd, [buffer], position)
        except OSError as error:
            reason = os.strerror(error.errno or 0)
            raise OperationFailed(
                f"The file {_shown(self.path)} cannot be read ({reason}).", hint="Check its disk."
            ) from error

    def hash(self, progress: Progress = _no_progress) -> tuple[Digest, int]:
        """Digest and size in bytes of what it has now. Raises OperationFailed."""
        return _hash(self.read_into, progress)

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
    return _hash(lambda buffer, position: os.preadv(fd, [buffer], position), progress)


def _hash(read_into: Callable[[bytearray, int], int], progress: Progress) -> tuple[Digest, int]:
    hasher = hashlib.sha256()
    buffer = bytearray(_BUFFER_BYTES)
    view = memoryview(buffer)
    position = 0
    while count := read_into(buffer, position):
        hasher.update(view[:count])
        position += count
        progress(count)
    return Digest(hasher.hexdigest()), position


class Draft:
    """A file of ours that is being written at `path`, and is no blob yet. Whoever writes it neither renames
    nor replaces it."""

    def __init__(self, path: Path, keep: Callable[[Check, Progress], tuple[Digest, int]]) -> None:
        self.path = path
        self._keep = keep

    def keep(self, *, check: Check, progress: Progress = _no_progress) -> tuple[Digest, int]:
        """Make it a blob as it is now; gives its digest and size. `check` sees it as in `Ingest.take_file`,
        `progress` is told of the bytes that were hashed. The path is gone then."""
        return self._keep(check, progress)


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
        if not self._intact(digest, len(data)):
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
                digest, size = _copy(source, fd, progress)
            source.check_unchanged()
            if size != source.size:
                raise SizeMismatch(f"The copy of {_shown(source.path)} has {size} bytes of {source.size}.")
            check_length(fd, size)  # before `check`, which would blame the user's file
            check(fd)
            lease.add(digest)
            self._commit(path, fd, digest, size)
        return digest

    def take_chunks(
        self,
        digest: Digest,
        size: int,
        chunks: Iterable[bytes],
        lease: Lease,
        *,
        progress: Progress = _no_progress,
    ) -> None:
        """Store a blob that comes as a stream. All of `chunks` is read and hashed, also of one that is here.

        Raises DigestMismatch or SizeMismatch when the bytes are others; then nothing is stored.
        """
        lease.add(digest)
        if self._intact(digest, size):
            _check_stream(digest, size, chunks, lambda data: progress(len(data)))
            return
        with self._temporary(lease) as (path, fd):
            _check_room(fd, size)

            def write(data: bytes) -> None:
                write_all(fd, data)
                progress(len(data))

            _check_stream(digest, size, chunks, write)
            self._commit(path, fd, digest, size)

    def take_upload(self, digest: Digest, chunks: Iterable[bytes], lease: Lease, *, most_bytes: int) -> int:
        """Store a blob that comes as a stream of nobody knows how many bytes, `most_bytes` at most; how many.

        Raises OtherDigest when the bytes are others, SizeMismatch for more of them; then nothing is stored.
        """
        lease.add(digest)
        hasher = hashlib.sha256()
        count = 0
        with self._temporary(lease) as (path, fd):
            for data in chunks:
                count += len(data)
                if count > most_bytes:
                    raise SizeMismatch(f"The blob {digest} has more than {most_bytes:,} bytes.")
                hasher.update(data)
                write_all(fd, data)
            if hasher.hexdigest() != digest.hex:
                raise OtherDigest(digest, Digest(hasher.hexdigest()))
            self._commit(path, fd, digest, count)
        return count

    def take_partial(self, partial: Partial) -> None:
        """Make a partial the blob that it is: all of it is here, and its digest was computed from it."""
        self._commit(partial.path, partial.fd, partial.digest, partial.size)

    def take_stream(
        self, chunks: Iterable[bytes], size: int, lease: Lease, *, progress: Progress = _no_progress
    ) -> Digest:
        """Store a blob of `size` bytes that comes as a stream and whose digest nobody knows: a file in a tar.

        Raises SizeMismatch when there are fewer or more of them; then nothing is stored.
        """
        hasher = hashlib.sha256()
        count = 0
        with self._temporary(lease) as (path, fd):
            _check_room(fd, size)
            for data in chunks:
                count += len(data)
                if count > size:
                    break
                hasher.update(data)
                write_all(fd, data)
                progress(len(data))
            if count != size:
                raise SizeMismatch(f"A file has not the {size} bytes that it should have.")
            digest = Digest(hasher.hexdigest())
            lease.add(digest)
            self._commit(path, fd, digest, size)
        return digest

    @contextmanager
    def draft(self, size: int, lease: Lease) -> Iterator[Draft]:
        """An empty file in `ingest/` for who writes it by path: a child process, out of order. It is gone at
        the end unless it was kept. Whether there is room for `size` bytes is asked first."""
        with self._temporary(lease) as (path, fd):
            _check_room(fd, size)

            def keep(check: Check, progress: Progress) -> tuple[Digest, int]:
                digest, length = hash_open_file(fd, progress)
                check(fd)
                lease.add(digest)
                self._commit(path, fd, digest, length)
                return digest, length

            yield Draft(path, keep)

    def share_file(
        self, source: SourceFile, lease: Lease, *, check: Check, progress: Progress = _no_progress
    ) -> Digest:
        """Make a user's file the blob by a second name for its inode: the first half of a move.

        The second half is `remove_source` once the model is named, or `restore_source` when that failed;
        until then the file is where it was, and read-only. Where the inode cannot become the store's alone
        (another file system, another owner, other names or writers of it) the file is copied instead.
        """
        if source.path.resolve().is_relative_to(self._blobs.parent.parent.resolve()):
            raise UsageError(f"{_shown(source.path)} lies in the store already.", hint="Leave out --move.")
        check(source.fd)
        digest, size = source.hash(progress)
        source.check_unchanged()
        lease.add(digest)
        if self._intact(digest, size) or not self._can_share(source, digest):
            return self.take_file(source, lease, check=check)
        flush_file(source.fd)
        path = self._ingest / lease.temporary()
        try:
            os.link(source.path, path, follow_symlinks=False)
        except OSError:  # a file system without links
            return self.take_file(source, lease, check=check)
        try:
            if not source.is_at(path):
                raise OperationFailed(f"The file {_shown(source.path)} was replaced while it was read.")
            self._commit(path, source.fd, digest, size)
            source.check_unchanged()
        finally:
            path.unlink(missing_ok=True)
        return digest

    def remove_source(self, source: SourceFile) -> None:
        """The second half of a move; raises OSError when the file cannot be removed."""
        if source.is_at(source.path):
            source.path.unlink()
            flush_folder(source.path.absolute().parent)

    def part_from_source(self, source: SourceFile, digest: Digest, lease: Lease) -> None:
        """The file stays the user's: give the blob bytes of its own, and the file its mode back."""
        if source.is_at(self.path_of(digest)):
            self.take_file(source, lease, check=lambda _: None)
            self.restore_source(source, digest)

    def restore_source(self, source: SourceFile, digest: Digest) -> None:
        """Give the file its mode back, unless somebody else's model needs the blob that it shares."""
        if not source.is_at(self.path_of(digest)):
            os.fchmod(source.fd, stat.S_IMODE(source.status.st_mode))

    def _can_share(self, source: SourceFile, digest: Digest) -> bool:
        """Whether nobody else can write to the file: no other name, owner or open descriptor."""
        names = 2 if source.is_at(self.path_of(digest)) else 1  # two after a move that was cut short
        if source.status.st_nlink != names or source.status.st_uid != os.geteuid():
            return False
        if source.status.st_dev != self._ingest.stat().st_dev:
            return False
        return not _is_open_for_writing(source.fd)

    def _already_stored(self, source: SourceFile, lease: Lease, progress: Progress) -> Digest | None:
        """The digest of `source` if its blob is here: saves a copy when a model is made anew."""
        with os.scandir(self._blobs) as blobs:
            if not any(_size(blob) == source.size for blob in blobs):
                return None
        digest, size = source.hash(progress)
        source.check_unchanged()
        lease.add(digest)
        # a blob that shares the file's inode (a move that was cut short) is replaced by a copy of our own
        if source.is_at(self.path_of(digest)) or not self._intact(digest, size):
            return None
        return digest

    def _intact(self, digest: Digest, size: int) -> bool:
        """Whether the blob is at its final path, with these very bytes, durably.

        Ask only after the lease lists it. Whoever asks has the bytes: a blob that rotted is replaced by them.
        """
        with self._locks.shared():
            try:
                fd = os.open(self.path_of(digest), os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
            except OSError:
                return False
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode) or status.st_size != size or hash_open_file(fd)[0] != digest:
                return False
        except OSError as error:
            if error.errno not in BAD_MEDIUM:
                raise
            return False
        finally:
            os.close(fd)
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
        """Make the whole, verified file at `path` the blob `digest`, in the place of whatever is there."""
        with self._locks.writer(digest):
            check_length(fd, size)
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


def _is_open_for_writing(fd: int) -> bool:
    """Whether anybody can still write to an open file: then Linux grants no read lease (fcntl(2))."""
    if not hasattr(fcntl, "F_SETLEASE"):
        return False
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN  # other errors: a file system without leases
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False


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


def _check_room(target: int, size: int) -> None:
    """Raise OSError when the file system of an open file has no room for `size` more bytes."""
    if size > free_bytes(target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _check_stream(digest: Digest, size: int, chunks: Iterable[bytes], take: Callable[[bytes], None]) -> None:
    """Hand each chunk on, and raise unless together they are the blob `digest`."""
    hasher = hashlib.sha256()
    count = 0
    for data in chunks:
        count += len(data)
        if count > size:
            break
        hasher.update(data)
        take(data)
    if count != size:
        raise SizeMismatch(f"The blob {digest} has not the {size} bytes that it should have.")
    if hasher.hexdigest() != digest.hex:
        raise OtherDigest(digest, Digest(hasher.hexdigest()))


def _copy(source: SourceFile, target: int, progress: Progress) -> tuple[Digest, int]:
    """Copy once, hashing what is written. Whether there is room is asked first.

    Not posix_fallocate: where the file system lacks it, the C library writes every block to emulate it.
    """
    _check_room(target, source.size)
    hasher = hashlib.sha256()
    buffer = bytearray(_BUFFER_BYTES)
    view = memoryview(buffer)
    position = 0
    while count := source.read_into(buffer, position):
        hasher.update(view[:count])
        write_all(target, view[:count])
        position += count
        progress(count)
    return Digest(hasher.hexdigest()), position


def _shown(path: Path) -> str:
    text = str(path)
    return text if text.isprintable() and text else repr(text)
