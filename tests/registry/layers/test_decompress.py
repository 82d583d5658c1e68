"""Streams that decompress, cut at every byte, and those that would never end."""

from __future__ import annotations

import gzip
import tracemalloc
from collections.abc import Iterator

import pytest
import zstandard

from registry.errors import DoesNotFit, MalformedFile
from registry.layers.decompress import Bounds, decompressed

DATA = b"".join(bytes([number % 251]) * (number % 7) for number in range(3000))


def packed(data: bytes, packing: str) -> bytes:
    if packing == "tar+gzip":
        return gzip.compress(data)
    return zstandard.ZstdCompressor(write_content_size=False, write_checksum=True).compress(data)


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


@pytest.mark.parametrize("packing", ["tar+gzip", "tar+zstd"])
@pytest.mark.parametrize("size", [1, 7, 4096, 1 << 20])
def test_what_was_compressed_comes_out(packing: str, size: int) -> None:
    assert b"".join(decompressed(pieces(packed(DATA, packing), size), packing, "It")) == DATA


def test_a_plain_tar_passes() -> None:
    assert list(decompressed([b"a", b"b"], "tar", "It")) == [b"a", b"b"]


@pytest.mark.parametrize("packing", ["tar+gzip", "tar+zstd"])
def test_several_members_are_one_stream(packing: str) -> None:
    data = packed(b"one", packing) + packed(b"", packing) + packed(b"two", packing)
    assert b"".join(decompressed(pieces(data, 3), packing, "It")) == b"onetwo"


@pytest.mark.parametrize("packing", ["tar+gzip", "tar+zstd"])
@pytest.mark.parametrize("tail", [b"\0", b"junk, and more junk", b"\x1f\x8b", b"\0" * 600])
def test_what_stands_behind_the_end_is_refused_or_taken_in(packing: str, tail: bytes) -> None:
    """Of what is no further stream nothing comes out; gzip says so, zstd's reader of a few bytes does not."""
    found: list[bytes] = []
    try:
        found.extend(decompressed([packed(DATA, packing) + tail], packing, "It"))
    except MalformedFile:
        return
    assert b"".join(found) == DATA
    assert packing == "tar+zstd"


@pytest.mark.parametrize("cut", range(60))
def test_a_gzip_stream_that_is_cut_is_refused(cut: int) -> None:
    data = packed(b"a text, and a second one, which is longer", "tar+gzip")
    if cut < len(data):
        with pytest.raises(MalformedFile):
            list(decompressed([data[:cut]], "tar+gzip", "It"))


@pytest.mark.parametrize("packing", ["tar+gzip", "tar+zstd"])
def test_a_flipped_byte_is_found(packing: str) -> None:
    data = bytearray(packed(DATA, packing))
    data[len(data) // 2] ^= 0x10
    with pytest.raises(MalformedFile):
        list(decompressed([bytes(data)], packing, "It"))


def bomb(packing: str, size: int) -> Iterator[bytes]:
    """A stream of `size` zeros."""
    if packing == "tar+gzip":
        import zlib

        encoder = zlib.compressobj(9, zlib.DEFLATED, 31)
        for _ in range(size >> 20):
            yield encoder.compress(bytes(1 << 20))
        yield encoder.flush()
        return
    yield zstandard.ZstdCompressor(level=3).compress(bytes(size))


@pytest.mark.parametrize("packing", ["tar+gzip", "tar+zstd"])
def test_a_bomb_is_stopped_in_little_memory(packing: str) -> None:
    data = list(bomb(packing, 256 << 20))
    bounds = Bounds(free_bytes=8 << 20)
    assert sum(map(len, data)) < 1 << 20
    tracemalloc.start()
    try:
        with pytest.raises(MalformedFile, match="times its size"):
            assert max(map(len, decompressed(data, packing, "It", bounds))) == 0  # never gets so far
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("packing", ["tar+gzip", "tar+zstd"])
def test_there_is_a_bound_for_all_of_it(packing: str) -> None:
    with pytest.raises(MalformedFile, match="more than 1000 bytes"):
        list(decompressed([packed(DATA, packing)], packing, "It", Bounds(total_bytes=1000)))


def test_a_window_of_two_gibibytes_is_refused() -> None:
    header = b"\x28\xb5\x2f\xfd\x00" + bytes([21 << 3])  # no content size; the window is 2**(10 + 21)
    with pytest.raises(MalformedFile, match="too much memory"):
        list(decompressed([header + b"\x01\x00\x00"], "tar+zstd", "It"))


def test_compressions_that_nobody_knows() -> None:
    with pytest.raises(DoesNotFit, match=r"tar\+xz"):
        list(decompressed([b"x"], "tar+xz", "It"))
