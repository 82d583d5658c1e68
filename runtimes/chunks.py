"""The chunks of an HTTP/1.1 body (RFC 9112, 7.1), for streams of many small ones.

h11 makes an event of each chunk, which takes longer than all else that a token needs on its way; this gives
all that has come in one piece.

    chunk = size [";" ...] CRLF bytes CRLF;  the last has size 0, then lines up to an empty one
"""

from __future__ import annotations

import re

import h11

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(;.*)?", re.DOTALL)
_MOST_LINE_BYTES = 4096
_LAST = 0


class ChunkParser:
    """Feed it the body in pieces of any size. `ended` is whether all of it has come."""

    def __init__(self) -> None:
        self.ended = False
        self._rest = b""
        """A line, or the end of one, that is not whole yet."""
        self._left = -1
        """Bytes of this chunk that are still to come, its CRLF counted; -1 before a line with a size."""
        self._in_trailer = False

    def feed(self, data: bytes) -> bytes:
        """What `data` adds to the body. Raises h11.RemoteProtocolError for what are no chunks."""
        data = self._rest + data
        self._rest = b""
        pieces = []
        at, end = 0, len(data)
        while at < end and not self.ended:
            if self._left < 0:
                line_end = data.find(b"\r\n", at)
                if line_end < 0:
                    self._keep(data[at:])
                    break
                self._begin(data[at:line_end])
                at = line_end + 2
            elif self._left > 2:
                pieces.append(data[at : at + self._left - 2])
                at += len(pieces[-1])
                self._left -= len(pieces[-1])
            else:
                at = self._end(data, at)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _begin(self, line: bytes) -> None:
        """A line with a size, or one of those behind the last chunk."""
        if self._in_trailer:
            self.ended = not line
            return
        size = _SIZE.fullmatch(line)
        if size is None:
            raise h11.RemoteProtocolError("a chunk without a size")
        length = int(size[1], 16)
        if length == _LAST:
            self._in_trailer = True
        else:
            self._left = length + 2

    def _end(self, data: bytes, at: int) -> int:
        """Pass over the CRLF behind a chunk; gives the place behind it."""
        found = data[at : at + self._left]
        if found != b"\r\n"[2 - self._left :][: len(found)]:
            raise h11.RemoteProtocolError("a chunk that is longer than its size")
        self._left -= len(found)
        if not self._left:
            self._left = -1
        return at + len(found)

    def _keep(self, rest: bytes) -> None:
        if len(rest) > _MOST_LINE_BYTES:
            raise h11.RemoteProtocolError("a chunk with a line that has no end")
        self._rest = rest
