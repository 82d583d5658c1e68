"""A bounded forward reader over a binary stream, for headers whose every length may be a lie."""

from __future__ import annotations

import struct
from typing import BinaryIO

from registry.errors import MalformedFile

CHUNK_BYTES = 256 * 1024
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")


class Cursor:
    """Reads forward from the start of `stream`, in chunks, and never past `size` bytes or `limit` bytes.

    Every method checks its length against what is left *before* it reads or allocates, and raises
    MalformedFile with the name of the field and its byte offset. `what` is that name, as it stands in the
    message. A stream may return short reads; one that ends before `size` is reported as cut.
    """

    __slots__ = ("_at", "_buffer", "_start", "_stream", "limit", "size")

    def __init__(self, stream: BinaryIO, *, size: int, limit: int) -> None:
        self._stream = stream
        self._buffer = b""
        self._start = 0  # offset in the file of the buffer's first byte
        self._at = 0
        self.size = size
        self.limit = limit
        stream.seek(0)

    @property
    def offset(self) -> int:
        """Bytes from the start of the file to the next byte."""
        return self._start + self._at

    @property
    def remaining(self) -> int:
        """Bytes between here and the end of the file."""
        return self.size - self.offset

    def take(self, count: int, what: str) -> bytes:
        """The next `count` bytes, in memory; callers cap `count` first."""
        if self._at + count > len(self._buffer):
            self._fill(count, what)
        end = self._at + count
        piece = self._buffer[self._at : end]
        self._at = end
        return piece

    def u32(self, what: str) -> int:
        """The next four bytes as a little-endian unsigned number."""
        return int(_U32.unpack(self.take(4, what))[0])

    def u64(self, what: str) -> int:
        """The next eight bytes as a little-endian unsigned number."""
        return int(_U64.unpack(self.take(8, what))[0])

    def peek(self, count: int) -> bytes:
        """Up to `count` of the next bytes, without moving; fewer where the stream ends."""
        available = min(count, self.remaining)
        if self._at + available > len(self._buffer):
            self._load(available)
        return self._buffer[self._at : self._at + available]

    def skip(self, count: int, what: str) -> None:
        """Move on by `count` bytes without holding them."""
        if self._at + count <= len(self._buffer):
            self._at += count
            return
        self._require(count, what)
        self._start = self.offset + count
        self._buffer, self._at = b"", 0
        self._stream.seek(self._start)

    def skip_strings(self, count: int, *, longest: int, what: str) -> None:
        """Walk over `count` strings, each a u64 length and as many bytes; none may be longer than `longest`.

        This is the hot loop of a header (300,000 strings for a 150,000-token vocabulary), so it stays
        inside the buffer and decodes nothing but the lengths.
        """
        length_at = _U64.unpack_from
        while count:
            if self._at + 8 > len(self._buffer):
                self._fill(8, what)
            buffer, at = self._buffer, self._at
            last = len(buffer) - 8
            while count and at <= last:
                (length,) = length_at(buffer, at)
                if length > longest:
                    raise MalformedFile(
                        f"{what} has an element of {length} bytes at byte {self._start + at}; "
                        f"at most {longest} are accepted."
                    )
                at += 8 + length
                count -= 1
            self._at = min(at, len(buffer))
            if at > len(buffer):
                self.skip(at - len(buffer), what)

    def _require(self, count: int, what: str) -> None:
        if count > self.remaining:
            raise MalformedFile(
                f"The file is cut: it ends at byte {self.size}, inside {what}, "
                f"which takes {count} bytes from byte {self.offset}."
            )
        if self.offset + count > self.limit:
            raise MalformedFile(f"The header is larger than {self.limit} bytes: too large at {what}.")

    def _fill(self, count: int, what: str) -> None:
        """Have at least `count` bytes in the buffer from here on."""
        self._require(count, what)
        self._load(count)
        if len(self._buffer) < count:
            self.size = self._start + len(self._buffer)  # the stream is shorter than it claimed to be
            self._require(count, what)

    def _load(self, count: int) -> None:
        """Start the buffer here and read until it has `count` bytes or the stream ends."""
        pieces = [self._buffer[self._at :]]
        held = len(pieces[0])
        self._start, self._at = self.offset, 0
        wanted = min(max(count, CHUNK_BYTES), self.remaining)
        while held < count and (piece := self._stream.read(wanted - held)):
            pieces.append(piece)
            held += len(piece)
        self._buffer = b"".join(pieces)
