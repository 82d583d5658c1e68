"""Decompressing a stream from outside, never more than the caller can take at once.

A few kilobytes can stand for terabytes, so there are bounds while it streams: how much may come out in all,
how much for each byte that went in, and how much memory the decoder may take (zstd's window). Formats: RFC
1952 (gzip: several members are one stream), RFC 8878 (zstd: several frames are one stream).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO, cast

from registry.errors import DoesNotFit, MalformedFile

_PIECE_BYTES = 256 << 10
_GZIP = 31  # zlib's number for a gzip header and the largest window, 32 KiB


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How far decompression may go.

    `total_bytes` may come out in all. Beyond the first `free_bytes`, at most `ratio` bytes may come out for
    each that went in: weights hardly shrink, and texts by a tenth. `window_bytes` is zstd's: what
    `zstd --ultra -20` needs.
    """

    total_bytes: int = 1 << 42
    free_bytes: int = 64 << 20
    ratio: int = 200
    window_bytes: int = 32 << 20


DEFAULT_BOUNDS = Bounds()


def decompressed(
    chunks: Iterable[bytes], packing: str, shown: str, bounds: Bounds = DEFAULT_BOUNDS
) -> Iterator[bytes]:
    """What is behind `packing`: "tar" (nothing), "tar+gzip" or "tar+zstd". `shown` is for messages.

    Raises MalformedFile for damage, for what is cut short, and where a bound is reached; DoesNotFit for
    another compression.
    """
    if packing == "tar":
        yield from chunks
        return
    counter = _Counter(chunks)
    if packing == "tar+gzip":
        pieces = _gunzipped(counter, shown)
    elif packing == "tar+zstd":
        pieces = _unzstd(counter, shown, bounds)
    else:
        raise DoesNotFit(f"{shown} is compressed in a way that slmctl does not know ({packing!a:.40}).")
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > bounds.total_bytes:
            raise MalformedFile(f"{shown} expands to more than {bounds.total_bytes} bytes.")
        if size > bounds.free_bytes and size > counter.count * bounds.ratio:
            raise MalformedFile(
                f"{shown} expands to more than {bounds.ratio} times its size, which no model does."
            )
        yield piece


class _Counter:
    """Counts what went in."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = b""
        self.count = 0

    def __iter__(self) -> Iterator[bytes]:
        while data := self.read(_PIECE_BYTES):
            yield data

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes, none at the end: all that zstd's reader asks of a file."""
        while not self._rest:
            data = next(self._chunks, None)
            if data is None:
                return b""
            self._rest = data
        if size < 0:
            size = len(self._rest)
        data, self._rest = self._rest[:size], self._rest[size:]
        self.count += len(data)
        return data


def _gunzipped(chunks: Iterable[bytes], shown: str) -> Iterator[bytes]:
    decoder = zlib.decompressobj(_GZIP)
    begun = False
    try:
        for chunk in chunks:
            data = chunk
            while data:
                if decoder.eof:
                    decoder = zlib.decompressobj(_GZIP)
                begun = True
                piece = decoder.decompress(data, _PIECE_BYTES)
                data = decoder.unused_data if decoder.eof else decoder.unconsumed_tail
                if piece:
                    yield piece
        while begun and not decoder.eof and (piece := decoder.decompress(b"", _PIECE_BYTES)):
            yield piece
    except zlib.error as error:
        raise MalformedFile(f"{shown} is no gzip stream, or a damaged one ({error}).") from None
    if not begun or not decoder.eof:
        raise MalformedFile(f"{shown} is cut short: its gzip stream does not end.")


def _unzstd(source: _Counter, shown: str, bounds: Bounds) -> Iterator[bytes]:
    import zstandard  # few artifacts need it

    decoder = zstandard.ZstdDecompressor(max_window_size=bounds.window_bytes)
    file = cast("IO[bytes]", source)  # of which only `read` is used
    try:
        with decoder.stream_reader(file, read_size=_PIECE_BYTES, read_across_frames=True) as reader:
            while piece := reader.read(_PIECE_BYTES):
                yield piece
    except zstandard.ZstdError as error:
        reason = str(error).partition(": ")[2] or str(error)
        raise MalformedFile(
            f"{shown} is no zstd stream, a damaged one, or one that takes too much memory ({reason})."
        ) from None
