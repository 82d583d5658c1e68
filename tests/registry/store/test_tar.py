"""Tar headers, held against Python's tarfile, and cut at every byte."""

import io
import tarfile
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
    assert header == tar.Header(name=NAME.encode(), size=size, kind=tar.Kind.FILE)
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
    assert tar.read_header(info.tobuf(format_)[:512]) == tar.Header(
        name=NAME.encode(), size=77, kind=tar.Kind.FILE
    )


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
    block = bytearray(tar.write_header(NAME, 12345))
    block[place] ^= 1
    try:
        header = tar.read_header(bytes(block))
    except MalformedFile:
        return
    # digits of the checksum field may change into what is read as the same number: none does
    assert header is None


def test_extended_headers_that_are_cut_are_refused() -> None:
    data = b"18 path=something\n" + b"12 size=100\n"
    assert tar.read_pax(data) == {"path": b"something", "size": b"100"}
    for end in range(1, len(data)):
        if end != 18:
            with pytest.raises(MalformedFile):
                tar.read_pax(data[:end])
