"""A blob of one remote on its way to another: read from there while it is sent, and held nowhere.

It is asked for in parts, so that who reads only some of it leaves little behind, and what passes is hashed:
the last byte is given only if all of them together are what they should be.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Generator, Iterator
from typing import BinaryIO

from registry.errors import DigestMismatch
from registry.remotes.base import Blob, BlobSource

_PART_BYTES = 4 << 20
_BUFFER_BYTES = 1 << 18


class StreamedBlob:
    """`blob` of `source`, for one reader at a time."""

    def __init__(self, source: BlobSource, blob: Blob, *, part_bytes: int = _PART_BYTES) -> None:
        self._source = source
        self._blob = blob
        self._part = part_bytes
        self._whole = hashlib.sha256()
        self._hashed = 0

    def open_at(self, offset: int, /) -> BinaryIO:
        """The bytes from `offset` on (`registry.remotes.base.OpenAt`).

        Reading raises what `BlobSource.open` and its bodies do, TryAgain too, and DigestMismatch in place of
        the last byte. What is read again after a failure is not hashed again, unless it is all of it.
        """
        if not offset:
            self._whole, self._hashed = hashlib.sha256(), 0
        pieces = self._pieces(offset)
        return io.BufferedReader(PieceStream(pieces, pieces.close), _BUFFER_BYTES)

    def _pieces(self, position: int) -> Generator[bytes]:
        part = self._part
        while position < self._blob.size:
            stop = min(position + part, self._blob.size)
            with self._source.open(self._blob, position, stop) as body:
                skip = position - body.start
                if skip:  # it knows no ranges, and would begin anew for each
                    part = self._blob.size
                for data in body:
                    piece, skip = data[skip:], max(skip - len(data), 0)
                    if piece:
                        self._hash(position, piece)
                        position += len(piece)
                        yield piece

    def _hash(self, position: int, piece: bytes) -> None:
        """Take in what was not hashed yet, before it is given away."""
        if position > self._hashed:
            return  # an upload goes on where another one was left: the registry checks the whole
        fresh = piece[self._hashed - position :]
        self._whole.update(fresh)
        self._hashed += len(fresh)
        if self._hashed == self._blob.size and self._whole.hexdigest() != self._blob.digest.hex:
            raise DigestMismatch(
                f"{self._source.shown} gave other bytes than the blob {self._blob.digest.short}: their digest"
                f" is sha256:{self._whole.hexdigest()}.",
                hint="The registry, or something between it and here, is broken or hostile.",
            )


class PieceStream(io.RawIOBase):
    """Bytes that come in pieces, as a file that is read once from its beginning. Reading raises what the
    pieces do; `done` is called when it is closed."""

    def __init__(self, pieces: Iterator[bytes], done: Callable[[], None]) -> None:
        super().__init__()
        self._pieces = pieces
        self._done = done
        self._left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._left:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._left = memoryview(piece)
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        return count

    def close(self) -> None:
        if not self.closed:
            self._done()
        super().close()
