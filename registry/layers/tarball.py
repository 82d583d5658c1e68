"""Reading a tar that a stranger made, from a stream: its plain files, one after the other.

Links, devices, sparse files, names that lead elsewhere, sizes and checksums that lie, and bytes behind the
end make the whole tar bad. Nothing is unpacked by name: what to do with a file is up to who reads it. The
same rules as for bundles (`registry.store.archive`), which are read by position too, and hold other files.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from registry.errors import MalformedFile
from registry.store import tar

MAX_MEMBERS = 1 << 16
_MAX_NAME_BYTES = 1024
_MAX_TRAILING_BYTES = 1 << 20  # tar fills the last record, of 10 KiB as a rule, with zeros
_CHUNK_BYTES = 256 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class TarFile:
    """A plain file in a tar: a relative path without tricks, and its size in bytes."""

    path: str
    size: int


class TarStream:
    """A tar that comes in `pieces` of any size. `shown` is for messages."""

    def __init__(self, pieces: Iterable[bytes], shown: str) -> None:
        self._pieces = iter(pieces)
        self._rest = memoryview(b"")
        self._shown = shown
        self._left = 0

    def files(self) -> Iterator[TarFile]:
        """The files in their order. `chunks` gives the bytes of the one that came last.

        Raises MalformedFile for everything that is not as it must be, to the very end.
        """
        seen: set[str] = set()
        extended: dict[str, bytes] | None = None
        for _ in range(MAX_MEMBERS + 1):
            header = tar.read_header(self._exactly(tar.BLOCK_BYTES, "a header"))
            if header is None:
                if extended is not None:
                    raise self._bad("ends behind an extended header")
                self._check_end()
                return
            if header.kind is tar.Kind.PAX_GLOBAL:
                if {"path", "size", "linkpath"} & self._pax(header).keys():
                    raise self._bad("gives all its files one name or size")
                continue
            if header.kind is tar.Kind.PAX:
                if extended is not None:
                    raise self._bad("has two extended headers for one file")
                extended = self._pax(header)
                continue
            file = self._file(header, extended or {})
            extended = None
            self._left = file.size
            if header.kind is tar.Kind.FOLDER:
                if file.size:
                    raise self._bad(f"has a folder with bytes of its own ({file.path!a:.100})")
                continue
            if file.path in seen:
                raise self._bad(f"holds {file.path!a:.100} twice")
            seen.add(file.path)
            yield file
            for _ in self.chunks():
                pass
            if any(self._exactly(tar.padding(file.size), "a file's last block")):
                raise self._bad("has bytes behind a file's end")
        raise self._bad(f"holds more than {MAX_MEMBERS} files")

    def chunks(self) -> Iterator[bytes]:
        """The bytes of the file that `files` gave last, once."""
        while self._left:
            data = self._some(min(self._left, _CHUNK_BYTES))
            if not data:
                raise self._bad("ends in the middle of a file")
            self._left -= len(data)
            yield data

    def _file(self, header: tar.Header, extended: dict[str, bytes]) -> TarFile:
        if sparse := next((key for key in extended if key.startswith("GNU.sparse")), None):
            raise self._bad(f"holds a sparse file ({sparse[:40]!a}); only plain files are taken")
        if "linkpath" in extended:
            raise self._bad("holds a link; only plain files are taken")
        return TarFile(
            path=self._checked_name(
                extended.get("path", header.name), is_folder=header.kind is tar.Kind.FOLDER
            ),
            size=tar.pax_size(extended["size"]) if "size" in extended else header.size,
        )

    def _pax(self, header: tar.Header) -> dict[str, bytes]:
        if header.size > tar.MAX_PAX_BYTES:
            raise self._bad(f"has an extended header of {header.size} bytes")
        data = self._exactly(header.size + tar.padding(header.size), "an extended header")
        if any(data[header.size :]):
            raise self._bad("has bytes behind an extended header's end")
        return tar.read_pax(data[: header.size])

    def _check_end(self) -> None:
        """Behind the first block of zeros stands another, and zeros that fill the last record."""
        if any(self._exactly(tar.BLOCK_BYTES, "its end")):
            raise self._bad("goes on behind its end")
        size = 0
        while data := self._some(_CHUNK_BYTES):
            size += len(data)
            if size > _MAX_TRAILING_BYTES or any(data):
                raise self._bad("goes on behind its end")

    def _checked_name(self, raw: bytes, *, is_folder: bool) -> str:
        shown = ascii(raw[:80].decode("utf-8", errors="replace"))
        if not raw or len(raw) > _MAX_NAME_BYTES:
            raise self._bad(f"holds a name of {len(raw)} bytes ({shown})")
        try:
            name = raw.decode("utf-8")
        except UnicodeDecodeError:
            raise self._bad(f"holds a name that is not UTF-8 ({shown})") from None
        if is_folder:
            name = name.rstrip("/") or "/"
        name = name.removeprefix("./")
        parts = unicodedata.normalize("NFKC", name).split("/")  # as a file system might see it
        tricky = any(part in {"", ".", ".."} or "\\" in part or ":" in part for part in parts)
        if (tricky and not (is_folder and name in {".", ""})) or not name.isprintable():
            raise self._bad(f"holds the name {shown}, which leads elsewhere or is no name")
        return name

    def _exactly(self, count: int, what: str) -> bytes:
        data = bytearray()
        while len(data) < count:
            more = self._some(count - len(data))
            if not more:
                raise self._bad(f"ends in the middle of {what}")
            data += more
        return bytes(data)

    def _some(self, count: int) -> bytes:
        """Up to `count` bytes; none at the end."""
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return b""
            self._rest = memoryview(piece)
        data, self._rest = self._rest[:count], self._rest[count:]
        return bytes(data)

    def _bad(self, what: str) -> MalformedFile:
        return MalformedFile(f"{self._shown} cannot be unpacked: it {what}.")
