"""Tar headers, held against Python's tarfile, and cut at every byte."""

import io
import tarfile
from contextlib import suppress
from typing import Literal

import pytest

from registry.errors import MalformedFile
from registry.store import tar

NAME = f"blobs/sha256/{'0' * 64}"


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, (8 << 30) - 1])
def test_tarfile_reads_what_is_written(size: int) -> None:
    block = tar.write_header(NAME, size)
    info = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
    assert (info.name, info.size, info.mtime, info.uid, info.gid, info.mode) == (NAME, size, 0, 0, 0, 0o644)
    assert (info.uname, info.gname, info.type) == ("", "", tarfile.REGTYPE)
    header = tar.read_header(tar.write_header(NAME, size))
    assert header is not None
    assert (header.name, header.size, header.kind) == (NAME.encode(), size, tar.Kind.FILE)
    assert tar.header_bytes(size) == len(tar.write_header(NAME, size))


@pytest.mark.parametrize("size", [8 << 30, (8 << 30) + 1, 1 << 40, 999_999_999_999])
def test_a_size_of_eight_gibibytes_or_more_is_read_by_tarfile(size: int) -> None:
    data = tar.write_header(NAME, size)
    assert tar.header_bytes(size) == len(data)
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        info = archive.next()
        assert info is not None
        assert (info.name, info.size, info.mtime, info.uid, info.mode) == (NAME, size, 0, 0, 0o644)


@pytest.mark.parametrize("format_", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT])
def test_what_tarfile_writes_is_read(format_: Literal[0, 1]) -> None:
    info = tarfile.TarInfo(NAME)
    info.size, info.mtime, info.uname = 77, 1_700_000_000, "somebody"
    header = tar.read_header(info.tobuf(format_)[:512])
    assert header is not None
    assert (header.name, header.size, header.kind) == (NAME.encode(), 77, tar.Kind.FILE)


def test_gnu_sizes_are_read() -> None:
    info = tarfile.TarInfo(NAME)
    info.size = 10 << 30
    header = tar.read_header(info.tobuf(tarfile.GNU_FORMAT))
    assert header is not None
    assert header.size == 10 << 30


def test_extended_headers_are_read() -> None:
    info = tarfile.TarInfo("ü" * 200)
    info.size = 9 << 30
    data = info.tobuf(tarfile.PAX_FORMAT)
    header = tar.read_header(data[:512])
    assert header is not None
    assert header.kind is tar.Kind.PAX
    records = tar.read_pax(data[512 : 512 + header.size])
    assert records["path"].decode() == "ü" * 200
    assert tar.pax_size(records["size"]) == 9 << 30


@pytest.mark.parametrize("place", range(512))
def test_a_flipped_bit_is_noticed(place: int) -> None:
    """By itself, or because no other header has its checksum written like this."""
    whole = tar.write_header(NAME, 12345)
    style = tar.read_header(whole)
    assert style is not None
    for bit in range(8):
        block = bytearray(whole)
        block[place] ^= 1 << bit
        try:
            header = tar.read_header(bytes(block))
        except MalformedFile:
            continue
        assert header is not None
        assert not header.checksum.agrees(style.checksum), bit


def test_extended_headers_that_are_cut_are_refused() -> None:
    data = b"18 path=something\n" + b"12 size=100\n"
    assert tar.read_pax(data) == {"path": b"something", "size": b"100"}
    for end in range(1, len(data)):
        if end != 18:
            with pytest.raises(MalformedFile):
                tar.read_pax(data[:end])


def test_a_flipped_bit_in_the_header_of_a_large_file_is_noticed() -> None:
    """The size stands in an extended header, whose content no checksum covers."""
    data = tar.write_header(NAME, 10 << 30)[512:1024].rstrip(b"\0")
    for place in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[place // 8] ^= 1 << place % 8
        with suppress(MalformedFile):
            size = tar.read_pax(bytes(flipped)).get("size")
            assert size is None or tar.pax_size(size) != 10 << 30, place
