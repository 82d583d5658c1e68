"""Blobs on their way in that can be gone on with by whoever wants them next.

`ingest/HEX.partial` holds what has come of the blob so far, at its place; `ingest/HEX.journal` says which
parts that is (`registry.store.journal`). One writes it at a time: who holds the lock of the partial's file.
The kernel frees that when its holder dies, and the next one goes on where it was.
"""

from __future__ import annotations

import fcntl
import os
import threading
import weakref
from contextlib import ExitStack, suppress
from pathlib import Path

from registry.digest import Digest
from registry.store.durable import flush_file, flush_folder, removed_on_failure, replace_file, write_all
from registry.store.journal import MAX_JOURNAL_BYTES, Journal, boot, done_line, kept_line, state_line
from registry.store.layout import Layout
from registry.store.locks import lock
from registry.store.spans import Spans

PARTIAL, JOURNAL = ".partial", ".journal"
_NEW = ".new"


class Partial:
    """The part of a blob that is here, held by us alone. Threads may write to different places of it.

    Its descriptors are closed when the last thread lets go of it. Methods raise OSError where the store
    cannot be used.
    """

    def __init__(self, folder: Path, digest: Digest, size: int, fd: int, known: Journal) -> None:
        """Use `open_partial`. Takes over `fd`, which holds the lock."""
        self.digest = digest
        self.size = size
        self.fd = fd
        self._fds = [fd]
        self._finalizer = weakref.finalize(self, _close, self._fds)
        self._folder = folder
        self._known = known
        self._log = -1
        self._lock = threading.Lock()
        self._is_over = False
        self._is_named = False

    @property
    def path(self) -> Path:
        return self._folder / f"{self.digest.hex}{PARTIAL}"

    @property
    def journal_path(self) -> Path:
        return self._folder / f"{self.digest.hex}{JOURNAL}"

    @property
    def done(self) -> Spans:
        """What is here, as far as it was noted."""
        with self._lock:
            return self._known.done.copy()

    @property
    def state(self) -> tuple[str, str] | None:
        """The source that the blob was got from last, and the validator of its content there."""
        return self._known.state

    @property
    def unflushed_bytes(self) -> int:
        """How many of the noted bytes a power cut may take."""
        with self._lock:
            return self._known.done.total - self._known.kept.total

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Put bytes at their place."""
        view = memoryview(data)
        while view:
            count = os.pwrite(self.fd, view, offset)
            view = view[count:]
            offset += count

    def read(self, buffer: memoryview, offset: int) -> int:
        """Read back what lies at `offset`; how many bytes that were."""
        return os.preadv(self.fd, [buffer], offset)

    def note(self, start: int, stop: int) -> None:
        """Note that these bytes were written. A partial of which nothing is noted has no journal, and is
        lost with its process."""
        with self._lock:
            self._known.done.add(start, stop)
            self._append(done_line(start, stop))

    def note_state(self, source: str, validator: str) -> None:
        """Note what the content's state is at the source that the next bytes come from."""
        with self._lock:
            if self._known.state != (source, validator):
                self._known.state = (source, validator)
                if self._log >= 0:  # else it is in the journal's first lines
                    self._append(state_line(source, validator))

    def checkpoint(self) -> None:
        """Make what was noted so far survive a power cut."""
        with self._lock:
            spans = self._known.done.copy()
        flush_file(self.fd)
        with self._lock:
            if self._is_over:
                return
            self._known.kept = spans
            self._append(kept_line(spans))
        flush_file(self._log)
        if not self._is_named:
            flush_folder(self._folder)
            self._is_named = True

    def restarted(self) -> Partial:
        """A new, empty partial in the place of this one, which is no longer the blob's.

        Threads that still write to this one do no harm.
        """
        new = self.path.with_name(f"{self.path.name}{_NEW}")
        new.unlink(missing_ok=True)
        with removed_on_failure(new), ExitStack() as on_failure:
            fd = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            on_failure.callback(os.close, fd)
            lock(fd, fcntl.LOCK_EX, new)
            with self._lock:
                self._is_over = True
                self.journal_path.unlink(missing_ok=True)  # it tells of other bytes
                new.rename(self.path)
            on_failure.pop_all()
        return Partial(self._folder, self.digest, self.size, fd, Journal())

    def finished(self) -> None:
        """The blob is in the store: of its journal nothing is left, nor of the partial if it was not that."""
        with self._lock:
            self._is_over = True
            if _names(self.path, self.fd):
                self.path.unlink()
            self.journal_path.unlink(missing_ok=True)

    def release(self) -> None:
        """Let others have it. Threads of ours may still have the file open, but must not write any more."""
        if not self._is_over and not self._known.done:
            self.finished()  # nothing that anybody could go on with
        self._is_over = True
        fcntl.flock(self.fd, fcntl.LOCK_UN)

    def _append(self, line: bytes) -> None:
        """Add a line to the journal, which is made with the first one. The lock is held."""
        if self._is_over:
            return
        if self._log < 0:
            self._open_log(os.O_CREAT | os.O_TRUNC)
            line = self._known.to_bytes(self.digest, self.size, this_boot=boot())
        write_all(self._log, line)

    def recall(self) -> None:
        """Find out what an earlier owner left, and begin a new journal with what is believed of it."""
        length = os.fstat(self.fd).st_size
        known = _journal(self._folder, self.digest, self.size) if 0 < length <= self.size else Journal()
        known.clip(length)
        self._known = known
        if not known.done:
            self.journal_path.unlink(missing_ok=True)
            os.ftruncate(self.fd, 0)
            return
        data = self._known.to_bytes(self.digest, self.size, this_boot=boot())
        replace_file(self.journal_path.with_name(f"{self.journal_path.name}{_NEW}"), self.journal_path, data)
        self._open_log(0)

    def _open_log(self, flags: int) -> None:
        flags |= os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        self._log = os.open(self.journal_path, flags, 0o600)
        self._fds.append(self._log)


def open_partial(layout: Layout, digest: Digest, size: int) -> Partial | None:
    """The partial of a blob, made if there is none; None while somebody else is at it.

    Call it with the store's lock held shared: no collection then comes between. List the digest in a lease
    before. When the partial is had, the blob may be in the store: somebody may just have finished it. Raises
    OSError, StoreUnusable.
    """
    path = layout.ingest / f"{digest.hex}{PARTIAL}"
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
        partial = Partial(layout.ingest, digest, size, fd, Journal())
        try:
            lock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, path)
        except BlockingIOError:
            return None
        if _names(path, fd):  # else it was finished or removed before we had the lock
            break
    partial.recall()
    return partial


def bytes_done(layout: Layout, digest: Digest, size: int) -> int:
    """How much of a blob somebody has got so far, or has left."""
    return _journal(layout.ingest, digest, size).done.total


def is_held(path: Path) -> bool:
    """Whether somebody is at the partial whose file or journal `path` is. Raises OSError."""
    partial = path.with_name(f"{path.name[:64]}{PARTIAL}")
    try:
        fd = os.open(partial, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def remove_partials(layout: Layout, digests: set[Digest]) -> int:
    """Delete the partials of these blobs that nobody is at; gives the bytes freed.

    Call it with the store's lock held exclusively.
    """
    freed = 0
    for digest in digests:
        path = layout.ingest / f"{digest.hex}{PARTIAL}"
        if is_held(path):
            continue
        for each in (path, path.with_suffix(JOURNAL)):
            with suppress(FileNotFoundError):
                size = each.lstat().st_size
                each.unlink()
                freed += size
    return freed


def _journal(folder: Path, digest: Digest, size: int) -> Journal:
    try:
        fd = os.open(folder / f"{digest.hex}{JOURNAL}", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return Journal()
    with os.fdopen(fd, "rb") as stream:
        return Journal.parse(stream.read(MAX_JOURNAL_BYTES), digest, size, this_boot=boot())


def _names(path: Path, fd: int) -> bool:
    """Whether `path` names the open file."""
    try:
        found = path.lstat()
    except OSError:
        return False
    mine = os.fstat(fd)
    return (found.st_dev, found.st_ino) == (mine.st_dev, mine.st_ino)


def _close(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
