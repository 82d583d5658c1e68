"""HTTP/1.1 answers as they come, for a client that costs little: the body in pieces, and its events.

Only what servers send that we test: a head, then a body with chunks, of a known length, or up to the end of the
connection. What is none of that is a `Broken`.
"""

from __future__ import annotations

MOST_HEAD_BYTES = 65536


class Broken(Exception):
    """What came is no HTTP, or ended too early."""


class AnswerReader:
    """Reads one answer: `feed` it what comes, and `close` it when the connection ends."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        self.whole = False
        self._buffer = bytearray()
        self._chunked = False
        self._left: int | None = None
        """Bytes of the body, or of the chunk, that are still to come; None before a chunk's size is known."""

    @property
    def stays(self) -> bool:
        """Whether another request may be sent on this connection when the answer is whole."""
        return self.whole and self.headers.get("connection", "").lower() != "close" and not self._to_the_end

    def feed(self, data: bytes) -> bytes:
        """What `data` adds to the body."""
        if self.whole:
            raise Broken("bytes after the end of an answer")
        self._buffer += data
        if self.status is None and not self._read_head():
            return b""
        if self._chunked:
            return self._read_chunks()
        piece = bytes(self._buffer)
        self._buffer.clear()
        if self._left is not None:
            self._left -= len(piece)
            if self._left < 0:
                raise Broken("more bytes than Content-Length says")
            self.whole = self._left == 0
        return piece

    def close(self) -> None:
        """The connection has ended. Raises Broken when the answer has not."""
        if self.status is not None and self._to_the_end:
            self.whole = True
        if not self.whole:
            raise Broken(f"the connection ended in the middle of an answer (status {self.status})")

    @property
    def _to_the_end(self) -> bool:
        return not self._chunked and "content-length" not in self.headers

    def _read_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > MOST_HEAD_BYTES:
                raise Broken("a head without an end")
            return False
        first, *lines = self._buffer[:end].decode("latin-1").split("\r\n")
        del self._buffer[: end + 4]
        version, _, rest = first.partition(" ")
        if not version.startswith("HTTP/1.") or not rest[:3].isdigit():
            raise Broken(f"no status line: {first[:80]!r}")
        for line in lines:
            name, _, value = line.partition(":")
            self.headers[name.strip().lower()] = value.strip()
        self._chunked = self.headers.get("transfer-encoding", "").lower() == "chunked"
        if not self._chunked and "content-length" in self.headers:
            self._left = int(self.headers["content-length"])
            self.whole = self._left == 0
        self.status = int(rest[:3])
        return True

    def _read_chunks(self) -> bytes:
        """The bodies of the chunks in the buffer, as far as they are there."""
        buffer, pieces = self._buffer, []
        at = 0
        while True:
            if self._left is None:
                end = buffer.find(b"\r\n", at)
                if end < 0:
                    break
                try:
                    self._left = int(bytes(buffer[at:end]).partition(b";")[0], 16)
                except ValueError:
                    raise Broken(f"no size of a chunk: {bytes(buffer[at:end])[:40]!r}") from None
                at = end + 2
            if len(buffer) - at < self._left + 2:
                break
            if buffer[at + self._left : at + self._left + 2] != b"\r\n":
                raise Broken("a chunk that is longer than it says")
            if self._left == 0:
                self.whole = True
                at += 2
                break
            pieces.append(bytes(buffer[at : at + self._left]))
            at += self._left + 2
            self._left = None
        del buffer[:at]
        if self.whole and buffer:
            raise Broken("bytes after the last chunk")
        return b"".join(pieces)


class EventSplitter:
    """Cuts a body into server-sent events, lines, or leaves it whole (separator None)."""

    def __init__(self, separator: bytes | None) -> None:
        self._separator = separator
        self._rest = b""

    def feed(self, piece: bytes) -> list[bytes]:
        self._rest += piece
        if self._separator is None:
            return []
        *events, self._rest = self._rest.split(self._separator)
        return events

    @property
    def rest(self) -> bytes:
        """What no separator has ended."""
        return self._rest
