"""How long the reads of a connection may last, and how much may come before an answer begins."""

from __future__ import annotations

import io
import socket
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_MAX_HEAD_BYTES = 256 * 1024


class Late(Exception):
    """A read took longer than it may."""


class Stalled(Late):
    """Too little came for too long."""


class TooLate(Late):
    """The time for the whole document is over."""


class Flooded(Exception):
    """The head of an answer does not end."""


class Guard:
    """How long the reads of one connection may last. Only time spent waiting for the other side counts.

    While an answer's head comes, all of it has one limit of time and one of bytes; while its body comes, each
    `stall_bytes` have `stall_timeout` seconds, and `end` may limit the whole.
    """

    def __init__(self, stall_timeout: float, stall_bytes: int) -> None:
        self._stall_timeout = stall_timeout
        self._stall_bytes = stall_bytes
        self.expect_head(stall_timeout)

    def expect_head(self, seconds: float) -> None:
        self._left = seconds
        self._limit: int | None = _MAX_HEAD_BYTES
        self._came = 0
        self.end: float | None = None
        self._limit_set = 0.0  # not known: urllib3 sets it too, before a head

    def expect_body(self) -> None:
        self._left = self._stall_timeout
        self._limit = None
        self._came = 0

    def limit(self, connection: socket.socket, seconds: float) -> None:
        """Bound each wait on the connection; a tenth more is no matter, and saves a call to the system."""
        if not 0.9 * self._limit_set <= seconds <= self._limit_set:
            connection.settimeout(seconds)
            self._limit_set = seconds

    def read(self, raw: io.RawIOBase, connection: socket.socket, buffer: WriteableBuffer) -> int:
        """Read into `buffer` once. Raises Stalled, TooLate, Flooded and OSError."""
        began = time.monotonic()
        whole = self.end - began if self.end is not None else self._left
        left, late = (whole, TooLate) if whole < self._left else (self._left, Stalled)
        if left <= 0:
            raise late
        self.limit(connection, left)
        try:
            count = raw.readinto(buffer) or 0
        except TimeoutError:
            raise late from None
        self._came += count
        self._left -= time.monotonic() - began
        if self._limit is not None:
            if self._came > self._limit:
                raise Flooded
        elif self._came >= self._stall_bytes:
            self._came = 0
            self._left = self._stall_timeout
        return count


class GuardedReader(io.RawIOBase):
    """What http.client reads from: the socket, under guard."""

    def __init__(self, raw: io.RawIOBase, connection: socket.socket, guard: Guard) -> None:
        self._raw = raw
        self._connection = connection
        self._guard = guard

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        return self._guard.read(self._raw, self._connection, buffer)

    def close(self) -> None:
        if not self.closed:
            self._raw.close()
        super().close()
