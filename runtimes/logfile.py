"""A worker's output on its way to a file: whole lines, none that quotes a prompt or an answer, bounded.

    FILE      the newest lines        FILE.1    those before them

A file begins with a line of the caller's own, which is repeated when the next one is begun. Whoever writes
holds a shared lock on it, so that readers see whether more can come. Nothing here raises: where a line cannot
be written, no more are.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from collections.abc import Callable
from pathlib import Path

SEGMENT_BYTES = 32 * 1024
"""How large a file gets before the next one is begun; the one before is kept, older ones are not."""

_LINE_BYTES = 4096
_FLAGS = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

Loggable = Callable[[str], str | None]
"""What of a line, written when there were prompts already, may be kept: all, less, or None for nothing."""


def older(path: Path) -> Path:
    """Where the lines go that were in `path` before the newest."""
    return path.with_name(f"{path.name}.1")


class LogFile:
    """Appends to the file at `path`, which is there and has its first line. Thread-safe.

    Until `expect_prompts` lines are kept as they are; from then on `loggable` decides about each.
    """

    def __init__(self, path: Path, loggable: Loggable) -> None:
        self._path = path
        self._loggable = loggable
        self._lock = threading.Lock()  # guards all below
        self._begun: dict[int, bytearray] = {}  # by the number of the stream
        self._has_prompts = False
        self._fd: int | None = None
        self._size = 0
        with contextlib.suppress(OSError):
            self._fd = os.open(path, _FLAGS)
            _lock(self._fd)
            self._first_line, end, _ = os.read(self._fd, _LINE_BYTES).partition(b"\n")
            self._first_line += end
            self._size = os.fstat(self._fd).st_size

    def feed(self, stream: int, data: bytes) -> None:
        """Take what came out of a stream, in pieces of any size."""
        with self._lock:
            *lines, rest = data.split(b"\n")
            begun = self._begun.setdefault(stream, bytearray())
            for line in lines:
                self._keep(bytes(begun) + line)
                begun.clear()
            begun += rest
            del begun[_LINE_BYTES:]

    def expect_prompts(self) -> None:
        """From here on the worker may be asked something."""
        with self._lock:
            self._has_prompts = True

    def close(self, last_line: str) -> None:
        """Write what is left of the streams, and `last_line`. Call it once, when nobody feeds any more."""
        with self._lock:
            for begun in self._begun.values():
                if begun:
                    self._keep(bytes(begun))
            self._append(last_line.encode() + b"\n")
            if self._fd is not None:
                os.close(self._fd)
                self._fd = None

    def _keep(self, raw: bytes) -> None:
        line = raw[:_LINE_BYTES].decode("utf-8", errors="replace").rstrip("\r")
        kept = self._loggable(line) if self._has_prompts else line
        if kept is not None:
            self._append(kept.encode() + b"\n")

    def _append(self, line: bytes) -> None:
        if self._fd is None:
            return
        try:
            if self._size + len(line) > SEGMENT_BYTES:
                self._begin_next()
            self._size += os.write(self._fd, line)
        except OSError:  # a full disk, or somebody removed the file: the model runs on without
            os.close(self._fd)
            self._fd = None

    def _begin_next(self) -> None:
        assert self._fd is not None
        self._path.rename(older(self._path))
        fd = os.open(self._path, _FLAGS | os.O_CREAT | os.O_EXCL, 0o600)
        _lock(fd)
        os.close(self._fd)
        self._fd = fd
        self._size = os.write(fd, self._first_line)


def is_written(fd: int) -> bool:
    """Whether somebody still has the open log for writing."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    fcntl.flock(fd, fcntl.LOCK_UN)
    return False


def _lock(fd: int) -> None:
    with contextlib.suppress(OSError):  # a file system without locks: a reader takes it for finished
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
