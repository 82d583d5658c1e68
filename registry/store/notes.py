"""Notes about blobs whose files belong to other tools (`slmctl adopt`).

linked/<hex>      the blob is a second name (a hard link) of a file of theirs
borrowed/<hex>    there is no blob: their file is opened where it lies

We can promise nothing about such a file: its owner may write to it, or take it away. So a note has the size,
the inode and the time of the last write that the file had when it was taken or last hashed. While they are
the same, the file is used as any blob is; when they are not, it is hashed first. The device is noted for
people: its number may change with every mount, and a copied file system has the same bytes.

A note without its blob means nothing. A blob of our own (a single name, mode 0444) is not asked for one.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Container, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from registry.digest import Digest
from registry.errors import BadContent, DigestMismatch, MalformedFile, NotFound, OperationFailed, SlmctlError
from registry.store.durable import replace_file
from registry.store.layout import Layout
from registry.store.locks import Locks
from registry.store.plain_file import read_plain_file

_SCHEMA = "slmctl.note/1"
_MAX_BYTES = 64 << 10
_OPEN_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
_AGAIN = "'slmctl adopt' takes in what is there now; 'slmctl rm' removes the model here and nothing there."


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A file of `owner` ("Ollama", ...) at `path`, as it was when it was noted. `size` is in bytes."""

    path: str
    owner: str
    device: int
    inode: int
    size: int
    mtime_ns: int
    borrowed: bool

    @classmethod
    def about(cls, path: Path, status: os.stat_result, *, owner: str, borrowed: bool) -> Note:
        return cls(
            path=str(path),
            owner=owner,
            device=status.st_dev,
            inode=status.st_ino,
            size=status.st_size,
            mtime_ns=status.st_mtime_ns,
            borrowed=borrowed,
        )

    def fits(self, status: os.stat_result) -> bool:
        """Whether a file is still as it was noted."""
        return (status.st_ino, status.st_size, status.st_mtime_ns) == (self.inode, self.size, self.mtime_ns)

    def to_bytes(self, digest: Digest) -> bytes:
        document = {
            "schema": _SCHEMA,
            "digest": str(digest),
            "path": self.path,
            "owner": self.owner,
            "device": self.device,
            "inode": self.inode,
            "size": self.size,
            "mtime_ns": self.mtime_ns,
        }
        # a path need not be UTF-8: what is not stays as an escaped surrogate
        return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()

    @property
    def shown(self) -> str:
        if not self.path:
            return "of a blob"
        return self.path if self.path.isprintable() else repr(self.path)

    @property
    def how_to_have_it_again(self) -> str:
        return f"Get it again with {self.owner} and run 'slmctl adopt', or remove it with 'slmctl rm'."

    def gone(self) -> NotFound:
        return NotFound(
            f"The file {self.shown}, which slmctl uses where {self.owner} keeps it, is gone.",
            hint=self.how_to_have_it_again,
        )

    def lost(self, digest: Digest) -> NotFound:
        """For a blob that was a link of their file, and is no longer in the store."""
        return NotFound(
            f"The blob {digest}, adopted from {self.owner} ({self.shown}), is missing from the store.",
            hint=self.how_to_have_it_again,
        )

    def changed(self, digest: Digest) -> DigestMismatch:
        return DigestMismatch(
            f"The file {self.shown}, adopted from {self.owner}, was changed since:"
            f" its bytes are not those of {digest}.",
            hint=_AGAIN,
        )


def linked(layout: Layout, digest: Digest) -> Note | None:
    """The note about a blob that is a link; None for a blob of our own.

    A damaged note is one that fits no file.
    """
    return _read(layout.linked / digest.hex, borrowed=False)


def borrowed(layout: Layout, digest: Digest) -> Note | None:
    """The note about a file that stands in for a blob; None where there is none, or none that can be read."""
    note = _read(layout.borrowed / digest.hex, borrowed=True)
    return note if note is not None and note.path else None


def all_borrowed(layout: Layout) -> Iterator[tuple[Digest, Note]]:
    """All files that stand in for blobs."""
    names = sorted(os.listdir(layout.borrowed)) if layout.borrowed.is_dir() else []  # noqa: PTH208 - names only
    for name in names:
        with suppress(BadContent):
            digest = Digest(name)
            if (note := borrowed(layout, digest)) is not None:
                yield digest, note


def without_blobs(layout: Layout, blobs: Container[Digest]) -> Iterator[tuple[Digest, Path]]:
    """All notes, readable or not, that no blob in the store goes with; of two about one digest the first."""
    found: dict[Digest, Path] = {}
    for folder in (layout.borrowed, layout.linked):
        for path in folder.iterdir() if folder.is_dir() else ():
            with suppress(BadContent):
                found.setdefault(Digest(path.name), path)
    yield from sorted((digest, path) for digest, path in found.items() if digest not in blobs)


def open_borrowed(note: Note) -> int:
    """Their file, opened for reading. Raises NotFound, OperationFailed."""
    try:
        return os.open(note.path, _OPEN_FLAGS)
    except FileNotFoundError:
        raise note.gone() from None
    except OSError as error:
        if os.path.islink(note.path):  # noqa: PTH114 - a link now stands where the file was
            raise note.gone() from None
        raise OperationFailed(
            f"The file {note.shown}, which slmctl uses where {note.owner} keeps it, cannot be read"
            f" ({os.strerror(error.errno or 0)}).",
            hint="Ask its owner to let you read it, or remove the model with 'slmctl rm'.",
        ) from None


def is_there(note: Note) -> bool:
    """Whether a borrowed file is still at its place, with its size."""
    try:
        status = os.lstat(note.path)
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size == note.size


def check(
    layout: Layout,
    digest: Digest,
    note: Note,
    fd: int,
    progress: Callable[[int], None] | None = None,
    *,
    renew: bool = True,
) -> None:
    """That an opened file is what the note says, or else still has the digest: then the note is renewed.

    Raises DigestMismatch that names the file and its owner.
    """
    before = os.fstat(fd)
    if note.fits(before):
        return
    from registry.store.ingest import hash_open_file  # here, because reading must start fast

    found = hash_open_file(fd, progress)[0] if progress else hash_open_file(fd)[0]
    after = os.fstat(fd)
    unmoved = (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
    if found != digest or not unmoved:
        raise note.changed(digest)
    if not renew:
        return
    renewed = Note.about(Path(note.path), before, owner=note.owner, borrowed=note.borrowed)
    with suppress(OSError, SlmctlError):  # a store that cannot be written: it is hashed again next time
        _renew(layout, digest, renewed)


def write(layout: Layout, digest: Digest, note: Note, temporary: Path) -> None:
    """Write a note durably by way of `temporary`, a path in `ingest/` of its own."""
    folder = layout.borrowed if note.borrowed else layout.linked
    replace_file(temporary, folder / digest.hex, note.to_bytes(digest))


def forget(layout: Layout, digest: Digest) -> bool:
    """Remove what is noted about a blob, never the file; whether there was anything."""
    found = False
    for folder in (layout.linked, layout.borrowed):
        with suppress(FileNotFoundError):
            (folder / digest.hex).unlink()
            found = True
    return found


def _renew(layout: Layout, digest: Digest, note: Note) -> None:
    folder = layout.borrowed if note.borrowed else layout.linked
    if layout.check_version() < 2 or not (folder / digest.hex).exists():
        return
    temporary = layout.ingest / f"note.{digest.hex}.{os.getpid()}"
    try:
        with Locks(layout.locks).shared():  # a collection that removes the note is over, or waits
            if (folder / digest.hex).exists():
                write(layout, digest, note, temporary)
    finally:
        temporary.unlink(missing_ok=True)


def _read(path: Path, *, borrowed: bool) -> Note | None:
    try:
        document = json.loads(read_plain_file(path, _MAX_BYTES))
        if document["schema"] != _SCHEMA:
            raise ValueError
        return Note(
            path=_text(document, "path"),
            owner=_text(document, "owner"),
            device=_number(document, "device"),
            inode=_number(document, "inode"),
            size=_number(document, "size"),
            mtime_ns=_number(document, "mtime_ns"),
            borrowed=borrowed,
        )
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError, MalformedFile):
        return Note(path="", owner="another tool", device=0, inode=-1, size=-1, mtime_ns=0, borrowed=borrowed)


def _text(document: dict[str, object], key: str) -> str:
    value = document[key]
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError
    os.fsencode(value)  # a lone surrogate is no path: UnicodeEncodeError is a ValueError
    return value


def _number(document: dict[str, object], key: str) -> int:
    value = document[key]
    if type(value) is not int:
        raise ValueError
    return value
