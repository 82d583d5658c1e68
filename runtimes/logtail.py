"""Reads a child's output so that it never blocks on a full pipe, and keeps the end of it.

In memory everything is kept, for the words of a crash; a file gets what may be written down.
"""

from __future__ import annotations

import enum
import os
import selectors
import threading
from collections.abc import Sequence
from typing import IO

from runtimes.logfile import LogFile

_READ_BYTES = 65536
_DRAIN_READS = 32  # more than a full pipe; somebody who still writes is not waited for


class _Pipe(enum.Enum):
    GAVE = enum.auto()
    EMPTY = enum.auto()
    ENDED = enum.auto()


class LogTail:
    """The last `limit_bytes` of what was written to `streams`, read by a thread of its own.

    Owns the streams: they are closed at their end or by `finish`. A `file` is fed with the same, and stays
    the caller's.
    """

    def __init__(
        self, streams: Sequence[IO[bytes]], *, limit_bytes: int = 65536, file: LogFile | None = None
    ) -> None:
        self._streams = tuple(streams)
        self._limit_bytes = limit_bytes
        self._file = file
        self._kept = bytearray()
        self._lock = threading.Lock()
        self._wake_reader, self._wake = os.pipe()
        self._thread = threading.Thread(target=self._read, name="slmctl-worker-log", daemon=True)
        self._thread.start()

    def text(self) -> str:
        """What is kept so far; a character cut at the start is shown as U+FFFD."""
        with self._lock:
            return self._kept.decode("utf-8", errors="replace")

    def finish(self) -> None:
        """Take what lies in the pipes and stop, also when a grandchild holds them open. Call it once."""
        os.close(self._wake)
        self._thread.join()

    def _read(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake_reader, selectors.EVENT_READ)
            for stream in self._streams:
                os.set_blocking(stream.fileno(), False)
                selector.register(stream, selectors.EVENT_READ, data=stream)
            stopped = False
            while not stopped:
                for key, _ in selector.select():
                    if key.data is None:
                        stopped = True
                    elif self._take(key.data) == _Pipe.ENDED:
                        selector.unregister(key.data)
        for stream in self._streams:
            self._drain(stream)
            stream.close()
        os.close(self._wake_reader)

    def _drain(self, stream: IO[bytes]) -> None:
        for _ in range(_DRAIN_READS):
            if self._take(stream) is not _Pipe.GAVE:
                break

    def _take(self, stream: IO[bytes]) -> _Pipe:
        try:
            data = os.read(stream.fileno(), _READ_BYTES)
        except BlockingIOError:
            return _Pipe.EMPTY
        if not data:
            return _Pipe.ENDED
        with self._lock:
            self._kept += data
            del self._kept[: -self._limit_bytes]
        if self._file is not None:
            self._file.feed(self._streams.index(stream), data)
        return _Pipe.GAVE
