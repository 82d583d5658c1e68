"""A tar over blobs that is written nowhere: it is computed while it is sent, from any offset on.

The same files give the same bytes: plain ustar in the order given, folders before what is in them, and
constants for all that is not content.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from registry.digest import Digest
from registry.errors import DigestMismatch
from registry.store import tar

_CHUNK_BYTES = 1 << 20

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A file in a tar: its path there, its size in bytes, its digest, and how to open it."""

    path: str
    size: int
    digest: Digest
    open: Callable[[], BinaryIO]


@dataclass(frozen=True, slots=True)
class _Piece:
    """Bytes of the tar: `data` themselves, or those of a member."""

    size: int
    data: bytes = b""
    member: Member | None = None


class WrittenLayer:
    """A tar of `members`, whose paths are all different and relative. May be shared between threads."""

    def __init__(self, members: Sequence[Member]) -> None:
        self._pieces = tuple(_pieces(members))
        self.size = sum(piece.size for piece in self._pieces)

    def open_at(self, offset: int, /) -> BinaryIO:
        """The tar from `offset` on (`registry.remotes.base.OpenAt`). Reading raises what the members do."""
        return io.BufferedReader(_Joined(self._pieces, offset), _CHUNK_BYTES)

    def digest(self, progress: Progress) -> Digest:
        """The digest of the whole tar, which is read for it; `progress` is told of more bytes.

        Each member is hashed by itself, too: nobody else would find that it is damaged. Raises
        DigestMismatch, and what opening members does.
        """
        whole = hashlib.sha256()
        for piece in self._pieces:
            if piece.member is None:
                whole.update(piece.data)
                progress(piece.size)
                continue
            alone = hashlib.sha256()
            count = 0
            with piece.member.open() as stream:
                while data := stream.read(_CHUNK_BYTES):
                    alone.update(data)
                    whole.update(data)
                    count += len(data)
                    progress(len(data))
            if count != piece.size or alone.hexdigest() != piece.member.digest.hex:
                raise DigestMismatch(
                    f"The blob {piece.member.digest} is damaged: its bytes have another digest.",
                    hint="Try 'slmctl verify --repair', or make or pull the model again.",
                )
        return Digest(whole.hexdigest())


def _pieces(members: Sequence[Member]) -> Iterator[_Piece]:
    folders: set[str] = set()
    for member in members:
        parts = member.path.split("/")[:-1]
        for depth in range(1, len(parts) + 1):
            folder = "/".join(parts[:depth])
            if folder not in folders:
                folders.add(folder)
                yield _bytes(tar.write_folder(folder))
        yield _bytes(tar.write_header(member.path, member.size))
        yield _Piece(member.size, member=member)
        if padding := tar.padding(member.size):
            yield _bytes(bytes(padding))
    yield _bytes(tar.END)


def _bytes(data: bytes) -> _Piece:
    return _Piece(len(data), data)


class _Joined(io.RawIOBase):
    """The pieces from an offset on; at most one member is open at a time."""

    def __init__(self, pieces: Sequence[_Piece], offset: int) -> None:
        super().__init__()
        self._pieces = iter(pieces)
        self._stream: BinaryIO = io.BytesIO()
        self._left = 0
        while offset and (piece := next(self._pieces, None)) is not None:
            if offset < piece.size:
                self._begin(piece, offset)
                break
            offset -= piece.size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._left:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._begin(piece, 0)
        data = self._stream.read(min(len(buffer), self._left))
        if not data:
            raise DigestMismatch("A blob became shorter while it was sent.", hint="Try 'slmctl verify'.")
        buffer[: len(data)] = data
        self._left -= len(data)
        return len(data)

    def close(self) -> None:
        self._stream.close()
        super().close()

    def _begin(self, piece: _Piece, offset: int) -> None:
        self._stream.close()
        self._stream = io.BytesIO(piece.data) if piece.member is None else piece.member.open()
        self._stream.seek(offset)
        self._left = piece.size - offset
