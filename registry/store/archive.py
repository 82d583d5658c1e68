"""Reading a tar that a stranger made: only a bundle's files come out of it, each at most once.

An OCI image layout is `oci-layout`, `index.json` and `blobs/sha256/<64 hex digits>`. Nothing else is ever
read from an archive: other plain files under harmless names are passed over (docker save adds some), and
links, devices, names that lead elsewhere and everything that is not what it says are refused. Nothing is
unpacked by name: what to do with a member's bytes is up to who reads them.

Works on a pipe. What is held in memory is bounded, and so is the time for an archive that is none.
"""

from __future__ import annotations

import os
import re
import stat
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from registry.digest import Digest
from registry.errors import BadContent, MalformedFile, OperationFailed, UsageError
from registry.store import tar

OCI_LAYOUT = "oci-layout"
INDEX = "index.json"
_BLOB = re.compile(r"blobs/sha256/([0-9a-f]{64})", re.ASCII)
_IN_A_FOLDER = re.compile(r"(.+)/(?:oci-layout|index\.json|blobs/sha256/[0-9a-f]{64})", re.ASCII)

MAX_MEMBERS = 1 << 16
MAX_SKIPPED_BYTES = 64 << 20
_MAX_EXTENDED_BYTES = 16 << 20  # of all extended headers together: a few hundred for each file
_MAX_TRAILING_BYTES = 1 << 20  # tar fills the last record, of 10 KiB as a rule, with zeros
_MAX_NAME_BYTES = 255
_SHOWN_SKIPPED = 3
_CHUNK_BYTES = 1 << 20

_SIGNATURES = (
    (b"PK\x03\x04", "a zip archive", "Make a tar of its content, or export the model again."),
    (b"PK\x05\x06", "a zip archive", "Make a tar of its content, or export the model again."),
    (b"\x1f\x8b", "compressed (gzip)", "Decompress it on the way: gunzip -c FILE | slmctl import -"),
    (b"\x28\xb5\x2f\xfd", "compressed (zstd)", "Decompress it on the way: zstd -dc FILE | slmctl import -"),
    (b"\xfd7zXZ\0", "compressed (xz)", "Decompress it on the way: xz -dc FILE | slmctl import -"),
    (b"BZh", "compressed (bzip2)", "Decompress it on the way: bzip2 -dc FILE | slmctl import -"),
    (b"GGUF", "a GGUF file", "Make a model of it: slmctl create NAME --from FILE"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A file of the bundle; `offset` is where its bytes begin. `digest` is its name's where it is a blob."""

    name: str
    size: int
    offset: int
    digest: Digest | None


class Archive:
    """A tar on an open file, from its start, or on a pipe; to be read once. `shown` names it in errors."""

    def __init__(self, fd: int, shown: str) -> None:
        self._fd = fd
        self._shown = shown
        status = os.fstat(fd)
        self.size = status.st_size if stat.S_ISREG(status.st_mode) else None
        self._position = 0
        self._skipped: list[str] = []
        self._skipped_bytes = 0
        self._folder: str | None = None
        self._extended_bytes = 0
        self._checksum: tar.ChecksumStyle | None = None
        self._left = 0

    @property
    def skipped(self) -> str | None:
        """What was passed over, for a note; None for nothing."""
        if not self._skipped:
            return None
        more = len(self._skipped) - _SHOWN_SKIPPED
        names = ", ".join(self._skipped[:_SHOWN_SKIPPED])
        return f"{names} and {more} more" if more > 0 else names

    def members(self) -> Iterator[Member]:
        """The bundle's files in their order. `chunks` gives the bytes of the one that came last.

        Raises BadContent for everything that is not as it must be, to the archive's very end; OperationFailed
        when it cannot be read.
        """
        seen: set[str] = set()
        extended: dict[str, bytes] | None = None
        for _ in range(MAX_MEMBERS + 1):
            block = self._read(tar.BLOCK_BYTES, "a header")
            header = tar.read_header(block)
            if header is None:
                if extended is not None:
                    raise self._bad("ends behind an extended header")
                self._check_end()
                return
            self._check_style(header.checksum)
            if header.kind in {tar.Kind.PAX, tar.Kind.PAX_GLOBAL}:
                records = self._pax(header)
                if header.kind is tar.Kind.PAX_GLOBAL:
                    if {"path", "size", "linkpath"} & records.keys() or _sparse_key(records):
                        raise self._bad("gives all its files one name, size or kind")
                elif extended is not None:
                    raise self._bad("has two extended headers for one file")
                else:
                    extended = records
                continue
            member = self._member(header, extended or {})
            extended = None
            if member.name in seen and header.kind is tar.Kind.FILE:
                raise self._bad(f"holds {member.name!r:.100} twice")
            seen.add(member.name)
            self._left = member.size
            if header.kind is tar.Kind.FOLDER:
                if member.size:
                    raise self._bad(f"has a folder with bytes of its own ({member.name!r:.100})")
            elif member.name in {OCI_LAYOUT, INDEX} or member.digest is not None:
                yield member
            else:
                self._skip(member)
            self._pass(self._left)
            self._check_padding(self._read(tar.padding(member.size), "a file's last block"))
        raise self._bad(f"holds more than {MAX_MEMBERS} files")

    def chunks(self) -> Iterator[bytes]:
        """The bytes of the member that `members` gave last, once."""
        while self._left:
            data = self._read_some(min(self._left, _CHUNK_BYTES))
            if not data:
                raise self._bad("ends in the middle of a file")
            self._left -= len(data)
            yield data

    def read(self, member: Member, limit: int) -> bytes:
        """All bytes of the member that `members` gave last. Raises MalformedFile beyond `limit`."""
        if member.size > limit:
            raise self._bad(f"has a {member.name} of {member.size} bytes; {limit} are allowed")
        return b"".join(self.chunks())

    def _member(self, header: tar.Header, extended: dict[str, bytes]) -> Member:
        if sparse := _sparse_key(extended):
            raise self._bad(f"holds a sparse file ({sparse}); a bundle has plain files only")
        if "linkpath" in extended:
            raise self._bad("holds a link; a bundle has plain files only")
        size = tar.pax_size(extended["size"]) if "size" in extended else header.size
        name = _checked_name(extended.get("path", header.name), is_folder=header.kind is tar.Kind.FOLDER)
        if self.size is not None and self._position + size > self.size:
            raise self._bad(f"ends in the middle of {name!r:.100}")
        match = _BLOB.fullmatch(name)
        return Member(name=name, size=size, offset=self._position, digest=Digest(match[1]) if match else None)

    def _pax(self, header: tar.Header) -> dict[str, bytes]:
        if header.size > tar.MAX_PAX_BYTES:
            raise self._bad(f"has an extended header of {header.size} bytes")
        self._extended_bytes += header.size
        if self._extended_bytes > _MAX_EXTENDED_BYTES:
            raise self._bad(f"has more than {_MAX_EXTENDED_BYTES >> 20} MiB of extended headers")
        data = self._read(header.size + tar.padding(header.size), "an extended header")
        self._check_padding(data[header.size :])
        return tar.read_pax(data[: header.size])

    def _check_style(self, style: tar.ChecksumStyle) -> None:
        """One tool wrote all headers. So a bit that flipped in a checksum, where it says the same in another
        style, is noticed too."""
        if self._checksum is not None and not style.agrees(self._checksum):
            raise self._bad("writes its checksums in two ways, or is damaged")
        if self._checksum is None or self._checksum.filler is None:
            self._checksum = style

    def _check_padding(self, block: bytes) -> None:
        """Zeros fill a file's last block, whoever wrote it; what else stands there, no digest covers."""
        if any(block):
            raise self._bad("has bytes behind a file's end")

    def _skip(self, member: Member) -> None:
        self._skipped.append(member.name)
        if self._folder is None and (match := _IN_A_FOLDER.fullmatch(member.name)):
            self._folder = match[1]
        self._skipped_bytes += member.size
        if self._skipped_bytes > MAX_SKIPPED_BYTES:
            raise self._misplaced(
                f"holds {member.name!r:.100} of {member.size} bytes, which is no part of a bundle"
            )

    def incomplete(self) -> MalformedFile:
        """What to raise when `oci-layout` or `index.json` did not come."""
        return self._misplaced(f"has no {OCI_LAYOUT} and {INDEX}")

    def _misplaced(self, what: str) -> MalformedFile:
        if self._folder is None:
            return self._bad(what)
        return MalformedFile(
            f"{self._shown} is not a bundle: its files lie in a folder, {self._folder!r:.100}.",
            hint="Pack what is in the folder, not the folder: tar -C FOLDER -cf FILE .",
        )

    def _check_end(self) -> None:
        """Behind the first block of zeros stands another, and zeros that fill the last record."""
        rest = bytearray(self._read(tar.BLOCK_BYTES, "its end"))
        while len(rest) <= _MAX_TRAILING_BYTES and (data := self._read_some(64 << 10)):
            rest += data
        if any(rest) or len(rest) > _MAX_TRAILING_BYTES:
            raise self._bad("goes on behind its end")

    def _check_signature(self, block: bytes) -> None:
        for signature, what, hint in _SIGNATURES:
            if block.startswith(signature):
                raise UsageError(
                    f"{self._shown} is {what}; a bundle is a plain tar or a folder.",
                    hint=hint.replace("FILE", self._shown) if self.size is not None else hint,
                )

    def _bad(self, what: str) -> MalformedFile:
        return MalformedFile(f"{self._shown} is not a bundle: it {what}.")

    def _read(self, count: int, what: str) -> bytes:
        is_first = self._position == 0
        data = b""
        while len(data) < count and (more := self._read_some(count - len(data))):
            data += more
        if is_first:
            self._check_signature(data)
        if len(data) < count:
            raise self._bad(f"ends in the middle of {what}" if self._position else "is empty")
        return data

    def _read_some(self, count: int) -> bytes:
        """Up to `count` bytes; none at the end."""
        try:
            if self.size is None:
                data = os.read(self._fd, count)
            else:  # by position, so that the descriptor may be shared
                data = os.pread(self._fd, count, self._position)
        except OSError as error:
            reason = os.strerror(error.errno or 0)
            raise OperationFailed(f"{self._shown} cannot be read ({reason}).") from None
        self._position += len(data)
        return data

    def _pass(self, count: int) -> None:
        """Go on behind `count` bytes."""
        if self.size is not None:
            self._position += count
            if self._position > self.size:
                raise self._bad("ends in the middle of a file")
            return
        while count:
            data = self._read_some(min(count, _CHUNK_BYTES))
            if not data:
                raise self._bad("ends in the middle of a file")
            count -= len(data)


def _sparse_key(records: dict[str, bytes]) -> str | None:
    return next((key for key in records if key.startswith("GNU.sparse")), None)


def _checked_name(raw: bytes, *, is_folder: bool) -> str:
    """A member's name without `./` in front. Raises BadContent for one that could lead anywhere else."""
    shown = ascii(raw[:80].decode("utf-8", errors="replace"))
    if not raw or len(raw) > _MAX_NAME_BYTES:
        raise BadContent(f"The archive holds a name of {len(raw)} bytes ({shown}).")
    try:
        name = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise BadContent(f"The archive holds a name that is not UTF-8 ({shown}).") from None
    if is_folder:
        name = name.rstrip("/") or "/"
    name = name.removeprefix("./")
    parts = unicodedata.normalize("NFKC", name).split("/")  # as a file system might see it
    tricky = any(part in {"", ".", ".."} or "\\" in part or ":" in part for part in parts)
    if (tricky and not (is_folder and name == ".")) or not name.isprintable():
        raise BadContent(f"The archive holds the name {shown}, which leads out of a bundle or is no name.")
    return name
