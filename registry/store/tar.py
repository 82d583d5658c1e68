"""Tar headers, as far as a bundle has them. Pure: bytes in, values out.

Formats: POSIX.1-2017, pax utility, "ustar Interchange Format" and "pax Extended Header"; GNU tar's binary
numbers. Written is ustar, with an extended header for what ustar cannot say: a size of 8 GiB or more, a name
that is long or not ASCII.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass

from registry.errors import MalformedFile

BLOCK_BYTES = 512
END = bytes(2 * BLOCK_BYTES)
"""What stands behind the last member."""

MAX_PAX_BYTES = 64 << 10
"""An extended header holds a few times and a name; Linux has no longer attributes than this."""

_USTAR_LIMIT = 8 << 30  # the size field has eleven octal digits
_LONGEST_NAME = 100
_MAX_SIZE = 1 << 62
_KINDS = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a device",
    b"4": "a device",
    b"6": "a FIFO",
    b"S": "a sparse file",
    b"L": "a name in GNU's form for long ones",
    b"K": "a link",
}


class Kind(enum.Enum):
    """What a header stands for. All else is refused."""

    FILE = "file"
    FOLDER = "folder"
    PAX = "extended header"
    PAX_GLOBAL = "global extended header"


_ACCEPTED = {
    b"0": Kind.FILE,
    b"\0": Kind.FILE,
    b"5": Kind.FOLDER,
    b"x": Kind.PAX,
    b"g": Kind.PAX_GLOBAL,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ChecksumStyle:
    """How a tool writes checksums: what fills them up in front, None where nothing has to, and what stands
    behind them. The checksum says nothing about these bytes, and all headers of an archive have the same."""

    filler: bytes | None
    end: bytes

    def agrees(self, other: ChecksumStyle) -> bool:
        """Whether one tool can have written both."""
        return self.end == other.end and (None in {self.filler, other.filler} or self.filler == other.filler)


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """One header: the name as it is written, the bytes that follow, what they are, how it was summed up."""

    name: bytes
    size: int
    kind: Kind
    checksum: ChecksumStyle


def padding(size: int) -> int:
    """How many bytes fill the last block behind `size` bytes."""
    return -size % BLOCK_BYTES


def write_header(name: str, size: int) -> bytes:
    """The header of the regular file `name` of `size` bytes.

    All else is constant: mode 0644, nobody's in particular, of the first second of 1970. What ustar cannot
    say (a long or foreign name, a size of 8 GiB or more) stands in an extended header before it.
    """
    records = b""
    plain = name
    if not name.isascii() or len(name) > _LONGEST_NAME:
        records += _record("path", name)
        plain = name.encode("ascii", errors="replace").decode()[-_LONGEST_NAME:]
    if size >= _USTAR_LIMIT:
        records += _record("size", str(size))
    if not records:
        return _ustar(name, size, b"0")
    extended = _ustar("PaxHeader", len(records), b"x") + records + bytes(padding(len(records)))
    # readers that know pax take name and size from there
    return extended + _ustar(plain, 0 if size >= _USTAR_LIMIT else size, b"0")


def write_folder(name: str) -> bytes:
    """The header of the folder `name`, mode 0755."""
    name += "/"
    if name.isascii() and len(name) <= _LONGEST_NAME:
        return _ustar(name, 0, b"5", mode=b"0000755\0")
    record = _record("path", name)
    extended = _ustar("PaxHeader", len(record), b"x") + record + bytes(padding(len(record)))
    plain = name.encode("ascii", errors="replace").decode()[-_LONGEST_NAME:]
    return extended + _ustar(plain, 0, b"5", mode=b"0000755\0")


def header_bytes(size: int) -> int:
    """The length of what `write_header` gives for a file of `size` bytes whose name ustar can say."""
    return BLOCK_BYTES if size < _USTAR_LIMIT else 3 * BLOCK_BYTES


def _record(key: str, value: str) -> bytes:
    """`length key=value\\n`, where the length counts itself."""
    rest = f" {key}={value}\n".encode()
    length = len(rest) + len(str(len(rest)))
    length = len(rest) + len(str(length))
    return str(length).encode() + rest


def _ustar(name: str, size: int, typeflag: bytes, *, mode: bytes = b"0000644\0") -> bytes:
    text = name.encode("ascii")
    assert len(text) <= _LONGEST_NAME
    fields = (
        text.ljust(100, b"\0"),
        mode,
        b"0000000\0",  # uid
        b"0000000\0",  # gid
        f"{size:011o}\0".encode(),
        b"00000000000\0",  # mtime
        b" " * 8,  # the checksum counts as blanks
        typeflag,
        bytes(100),  # linkname
        b"ustar\00000",
        bytes(32),  # uname
        bytes(32),  # gname
        b"0000000\0",  # devmajor
        b"0000000\0",  # devminor
        bytes(155),  # prefix
        bytes(12),
    )
    block = b"".join(fields)
    return block[:148] + f"{sum(block):06o}\0 ".encode() + block[156:]


def read_header(block: bytes) -> Header | None:
    """The header in a block of 512 bytes, None for a block of zeros, which ends an archive.

    Raises MalformedFile for what is no header, and for one that stands for anything but a file or a folder.
    """
    if not any(block):
        return None
    if block[257:263] not in {b"ustar\0", b"ustar "}:
        raise MalformedFile("The archive is not a tar, or it is damaged.")
    if sum(block) - sum(block[148:156]) + 8 * ord(" ") != _number(block[148:156]):
        raise MalformedFile("A header of the archive is damaged: its checksum is wrong.")
    kind = _ACCEPTED.get(block[156:157])
    name = _text(block[0:100])
    if block[257:263] == b"ustar\0" and any(block[345:500]):  # GNU tar keeps times there
        name = _text(block[345:500]) + b"/" + name
    if kind is None:
        what = _KINDS.get(block[156:157], f"an entry of the kind {block[156:157]!r}")
        raise MalformedFile(f"The archive holds {what} ({_shown(name)}); only plain files are taken.")
    return Header(
        name=name, size=_number(block[124:136]), kind=kind, checksum=_checksum_style(block[148:156])
    )


def _checksum_style(field: bytes) -> ChecksumStyle:
    first = field[:1]
    return ChecksumStyle(
        filler=None if first in b"1234567" else first, end=field[len(field.rstrip(b" \0")) :]
    )


def read_pax(data: bytes) -> dict[str, bytes]:
    """The records of an extended header. Raises MalformedFile."""
    return dict(_records(data))


def _records(data: bytes) -> Iterator[tuple[str, bytes]]:
    at = 0
    while at < len(data):
        number, blank, _ = data[at : at + 20].partition(b" ")
        length = int(number) if blank and number.isdigit() else 0
        record = data[at : at + length]
        key, equals, value = record[len(number) + 1 : -1].partition(b"=")
        if not length or len(record) != length or not record.endswith(b"\n") or not equals:
            raise MalformedFile("An extended header of the archive is damaged.")
        yield key.decode("utf-8", errors="replace"), value
        at += length


def pax_size(value: bytes) -> int:
    """The size in an extended header. Raises MalformedFile."""
    if not value.isdigit() or len(value) > 19 or int(value) > _MAX_SIZE:
        raise MalformedFile(f"The archive states a size of {value[:20]!r} bytes, which cannot be.")
    return int(value)


def _text(field: bytes) -> bytes:
    text, _, rest = field.partition(b"\0")
    if any(rest):
        raise MalformedFile(f"A name in the archive has a NUL in it ({_shown(text)}).")
    return text


def _number(field: bytes) -> int:
    """Octal digits between blanks and NULs, or GNU's big-endian binary behind a first bit."""
    if field[0] == 0x80:
        number = int.from_bytes(field[1:], "big")
    else:
        digits = field.strip(b" \0")
        if digits.strip(b"01234567"):  # a minus sign and 0xff, with which negative numbers begin, too
            raise MalformedFile("A header of the archive has a number that is none.")
        number = int(digits or b"0", 8)
    if number > _MAX_SIZE:
        raise MalformedFile(f"The archive states a size of {number} bytes, which cannot be.")
    return number


def _shown(name: bytes) -> str:
    return ascii(name.decode("utf-8", errors="replace"))[:120]
