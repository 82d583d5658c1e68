"""Conversations between our own processes: JSON objects, one to a line, over a unix socket."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Mapping

MESSAGE_BYTES = 16 * 1024 * 1024


class Connection:
    """One end of a conversation in lines of JSON. `fileno` lets a selector wait for it."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._received = bytearray()

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, message: Mapping[str, object]) -> None:
        """Raises OSError when the other end is gone or does not read."""
        self._socket.sendall(json.dumps(message, ensure_ascii=True).encode() + b"\n")

    def receive(self) -> dict[str, object] | None:
        """The next message, waited for; None when the other end is gone, or speaks no JSON.

        Raises TimeoutError.
        """
        while b"\n" not in self._received:
            piece = self._take()
            if not piece or len(self._received) > MESSAGE_BYTES:
                return None
        line, _, rest = bytes(self._received).partition(b"\n")
        self._received[:] = rest
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            return None
        return message if isinstance(message, dict) else None

    def wait(self, seconds: float | None) -> None:
        """How long each wait for the other end may take; None for ever."""
        self._socket.settimeout(seconds)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _take(self) -> bytes:
        try:
            piece = self._socket.recv(65536)
        except TimeoutError:
            raise
        except OSError:
            return b""
        self._received += piece
        return piece
