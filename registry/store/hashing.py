"""Hashing many blobs at once, as fast as the processors can.

hashlib lets go of Python's lock while it computes, so threads are enough. SHA-256 cannot be split: one blob
is one thread's work, and the largest come first, so that at the end no thread waits long for another. A store
of one huge blob is hashed by one core.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, BinaryIO

from registry.digest import Digest
from registry.errors import BadContent, NotFound, OperationFailed
from registry.manifest import Descriptor
from registry.store.plain_file import BAD_MEDIUM
from registry.store.reader import StoreReader

MAX_THREADS = 64

_BUFFER_BYTES = 256 << 10  # stays in a core's own cache; the system reads ahead of us by itself
_REPORT_SECONDS = 0.1

OnBytes = Callable[[int], None]
"""Told how many more bytes are hashed; always in the thread that asked."""


@dataclass(frozen=True, slots=True)
class FileId:
    """What tells whether a path still has the very file that was read, unwritten since."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> FileId:
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What a look at one blob found.

    `state` is "good", "damaged", "missing", "unreadable", or "fickle": damaged at the first reading and good
    at the second. `size` is that of the file, None where there is none; `file` what was read, where it can be
    known again; of what is unreadable only where the medium is to blame.
    """

    digest: Digest
    state: str
    reason: str = ""
    size: int | None = None
    file: FileId | None = None


def check_blobs(
    reader: StoreReader, wanted: Iterable[Descriptor], *, threads: int, on_bytes: OnBytes
) -> Iterator[Checked]:
    """Hash blobs, as they come. Never opens what is no regular file.

    A size in `wanted` that the file has not is no damage by itself: the bytes are what they are, and the
    digest tells. Where the blob lies in no file of its own, the size that is wanted counts.
    """
    left = deque(sorted(wanted, key=lambda descriptor: (-descriptor.size, descriptor.digest)))
    count = len(left)
    counter = _Counter()
    done: SimpleQueue[Checked | BaseException] = SimpleQueue()

    def work() -> None:
        try:
            while left and not counter.stopped:
                with suppress(IndexError):  # another thread took the last one
                    done.put(_check(reader, left.popleft(), counter))
        except BaseException as error:  # noqa: BLE001 - raised again by who waits for it
            done.put(error)

    workers = [threading.Thread(target=work) for _ in range(min(max(1, threads), MAX_THREADS, count))]
    try:
        for worker in workers:
            worker.start()
        yield from _results(done, count, counter, on_bytes)
    finally:
        counter.stopped = True
        for worker in workers:
            if worker.ident is not None:
                worker.join()


def _results(
    done: SimpleQueue[Checked | BaseException], count: int, counter: _Counter, on_bytes: OnBytes
) -> Iterator[Checked]:
    """What the threads find, `count` of it, telling of their bytes meanwhile."""
    told = time.monotonic()
    while count:
        found: Checked | BaseException | None = None
        with suppress(Empty):
            found = done.get(timeout=_REPORT_SECONDS)
            count -= 1
        if isinstance(found, BaseException):
            raise found
        if not count or time.monotonic() - told >= _REPORT_SECONDS:
            told = time.monotonic()
            if size := counter.take():
                on_bytes(size)
        if found is not None:
            yield found


class _Counter:
    """Bytes that all threads have read and nobody has been told of; and whether they are to stop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0
        self.stopped = False

    def add(self, count: int) -> None:
        with self._lock:
            self._count += count

    def take(self) -> int:
        with self._lock:
            count, self._count = self._count, 0
        return count


def _check(reader: StoreReader, wanted: Descriptor, counter: _Counter) -> Checked:
    digest = wanted.digest
    try:
        status = reader.blob_status(digest)
    except OSError as error:
        return Checked(digest=digest, state="unreadable", reason=_reason(error))
    if status is not None and not stat.S_ISREG(status.st_mode):
        return Checked(
            digest=digest,
            state="damaged",
            reason=f"it is {_KINDS.get(stat.S_IFMT(status.st_mode), 'no regular file')} instead of a file",
            size=0,
            file=FileId.of(status),
        )
    size = wanted.size if status is None else status.st_size
    try:
        stream = reader.open_blob(Descriptor(media_type="", digest=digest, size=size), check_notes=False)
    except NotFound as error:
        return Checked(digest=digest, state="missing", reason=error.message)
    except BadContent as error:
        return Checked(digest=digest, state="damaged", reason=error.message)
    except OperationFailed as error:
        return Checked(digest=digest, state="unreadable", reason=error.message)
    with stream:
        try:
            return _hash(stream, digest, wanted.size, counter)
        except OSError as error:
            fd = _fd_of(stream) if error.errno in BAD_MEDIUM else None
            file = FileId.of(os.fstat(fd)) if fd is not None else None
            return Checked(digest=digest, state="unreadable", reason=_reason(error), file=file)
        except OperationFailed as error:
            return Checked(digest=digest, state="unreadable", reason=error.message)


def _hash(stream: BinaryIO, digest: Digest, wanted_size: int, counter: _Counter) -> Checked:
    fd = _fd_of(stream)
    file = FileId.of(os.fstat(fd)) if fd is not None else None
    found, size = _digest_of(stream, counter)
    if counter.stopped or found == digest:
        return Checked(digest=digest, state="good", size=size, file=file)
    stream.seek(0)
    if fd is not None and hasattr(os, "posix_fadvise"):  # have it read from the medium
        with suppress(OSError):
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    again, size = _digest_of(stream, counter)
    if again == digest:
        reason = "its bytes were wrong when they were read first and right the second time"
        return Checked(digest=digest, state="fickle", reason=reason, size=size, file=file)
    wrong = f"it has {size} bytes instead of {wanted_size}" if size != wanted_size else "its bytes are wrong"
    return Checked(
        digest=digest, state="damaged", reason=f"{wrong} (sha256:{again.short}...)", size=size, file=file
    )


def _digest_of(stream: BinaryIO, counter: _Counter) -> tuple[Digest, int]:
    """Digest and size of what is left of a stream, read into one buffer; early when it is to stop."""
    hasher = hashlib.sha256()
    buffer = bytearray(_BUFFER_BYTES)
    view = memoryview(buffer)
    raw: Any = getattr(stream, "raw", stream)  # past the copy that a buffered reader makes
    size = 0
    while not counter.stopped and (count := raw.readinto(view)):
        hasher.update(view[:count])
        size += count
        counter.add(count)
    return Digest(hasher.hexdigest()), size


def _fd_of(stream: BinaryIO) -> int | None:
    try:
        return stream.fileno()
    except (io.UnsupportedOperation, OSError, AttributeError):
        return None  # a part of a larger file, or no file at all


def _reason(error: OSError) -> str:
    return f"it cannot be read ({os.strerror(error.errno) if error.errno else error})"


_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
}
