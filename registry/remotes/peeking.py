"""The head of a file that lies elsewhere, read as if it lay here: by a few ranges that grow."""

from __future__ import annotations

import io
import os
from typing import Any

from registry.errors import MalformedFile
from registry.remotes.base import Blob, BlobSource
from registry.remotes.retry import Patience, patient

FIRST_BYTES = 1 << 20
"""Most GGUF headers with a vocabulary have 1 to 8 MB."""

_MOST_BYTES = 16 << 20
_HEAD_BYTES = 8 << 20
_LIMIT_BYTES = 288 << 20
"""What a header may be at most (256 MiB for GGUF), and what is asked for beyond its end."""


class Peek(io.RawIOBase):
    """A seekable stream over a blob of a remote, made to read its header from the start.

    One range is held at a time: the first of `first_bytes`, each twice as long as the one before, up to
    16 MiB. `fetched_bytes` and `requests` count what was asked for. `read` raises as `BlobSource.open`, with
    patience for what may pass, and MalformedFile when a header has no end. `head` is what came from the
    start on without a gap, up to 8 MiB, in the state `validator`.
    """

    def __init__(
        self,
        source: BlobSource,
        blob: Blob,
        *,
        first_bytes: int = FIRST_BYTES,
        patience: Patience | None = None,
    ) -> None:
        super().__init__()
        self._source = source
        self._blob = blob
        self._patience = patience or Patience()
        self.validator: str | None = None
        self.head = b""
        self._held = b""
        self._held_from = 0
        self._step = first_bytes
        self._at = 0
        self.fetched_bytes = 0
        self.requests = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._blob.size}[whence]
        if base + offset < 0:
            raise ValueError("a place before the start")
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Any, /) -> int:
        view = memoryview(buffer).cast("B")
        wanted = min(len(view), max(self._blob.size - self._at, 0))
        if wanted == 0:
            return 0
        begin = self._at - self._held_from
        if not 0 <= begin < len(self._held):
            self._fetch(wanted)
            begin = 0
        piece = self._held[begin : begin + wanted]
        view[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)

    def _fetch(self, wanted: int) -> None:
        """Hold the bytes from here on."""
        if self.fetched_bytes >= _LIMIT_BYTES:
            raise MalformedFile("The file's header has no end.")
        stop = min(self._at + max(wanted, self._step), self._blob.size)
        self._step = min(2 * self._step, _MOST_BYTES)
        self._held = patient(lambda: self._range(self._at, stop), self._patience)
        self._held_from = self._at
        if self._at == len(self.head) and len(self.head) + len(self._held) <= _HEAD_BYTES:
            self.head += self._held

    def _range(self, start: int, stop: int) -> bytes:
        self.requests += 1
        pieces = []
        with self._source.open(self._blob, start, stop, self.validator) as body:
            self.validator = body.validator or self.validator
            skip = start - body.start  # what came before, where ranges are ignored
            for piece in body:
                self.fetched_bytes += len(piece)
                kept = piece[skip:]
                skip -= len(piece) - len(kept)
                if kept:
                    pieces.append(kept)
        return b"".join(pieces)
