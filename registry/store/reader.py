"""Reading a store: names, manifests and small blobs. Takes no lock and writes nothing.

Apart from the rest of the store because `slmctl list` must start fast: nothing that only a writer needs is
imported here.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from registry import mediatypes
from registry.digest import Digest
from registry.errors import (
    BadContent,
    DigestMismatch,
    MalformedFile,
    NotFound,
    SizeMismatch,
    StoreUnusable,
)
from registry.manifest import MAX_MANIFEST_BYTES, Descriptor, Index, Manifest, parse
from registry.names import DEFAULT_TAG, ModelRef
from registry.store import notes
from registry.store.durable import store_errors
from registry.store.index import MAX_INDEX_BYTES, Entry, NameTable
from registry.store.layout import Layout
from registry.store.plain_file import read_plain_file

AGAIN = "Try 'slmctl verify --repair', or make or pull the model again."
"""What to do about a blob that is lost or damaged."""

_OUR_MODE = 0o444
"""Of each blob that we wrote; a file that another tool wrote has the mode it gave it."""

Progress = Callable[[int], None]
"""Told how many more bytes are done."""


def silent(_: int) -> None:
    """The progress that nobody wants to hear of."""


class StoreReader:
    """One store, to be read. It is cheap, holds no open file and may be shared between threads.

    `follows_notes` is whether files outside of the store may stand in for blobs, where a note of its says so:
    never where a stranger may have written the notes (a bundle). `renews_notes`: one that no longer fits its
    file is written anew when the file turns out to have the right bytes.
    """

    follows_notes = True
    renews_notes = True

    def __init__(self, root: Path) -> None:
        self.layout = Layout(root)
        self._blobs = str(self.layout.blobs)  # a listing opens a thousand of them, and paths are slow to join
        self._last_table: tuple[bytes, NameTable] | None = None

    @property
    def origin(self) -> str | None:
        """What tells this place from others whose blobs nobody has hashed; None for a store, which has."""
        return None

    @property
    def root(self) -> Path:
        return self.layout.root

    def names(self) -> NameTable:
        """The table of names as it is now. A store that does not exist yet has none.

        A damaged or missing index.json is answered from the generation before it; raises StoreUnusable when
        there is none, and blobs that it must have named are there.
        """
        with store_errors(self.root, doing="read"):
            self.layout.check_version()
            table = self._generation()
            if table is None and self._has_blobs():
                table = self._generation()  # the first ever may have been written since
                if table is None:
                    raise self._lost("gone")
        return table if table is not None else NameTable.empty()

    def _generation(self) -> NameTable | None:
        """The newest generation that can be read; None where there never was one."""
        is_damaged = False
        for path, generation in (
            (self.layout.index, "current"),
            (self.layout.previous_index, "previous"),
        ):
            try:
                return self._parse_names(read_plain_file(path, MAX_INDEX_BYTES), generation)
            except FileNotFoundError:
                continue
            except MalformedFile:
                is_damaged = True
        if is_damaged:
            raise self._lost("damaged")
        return None

    def _lost(self, how: str) -> StoreUnusable:
        return StoreUnusable(
            f"The table of names in {self.root} is {how} and has no previous generation.",
            hint=f"The models' blobs are still there: restore {self.layout.index} from a backup,"
            " or give them names with 'slmctl verify --repair'.",
        )

    def _has_blobs(self) -> bool:
        """Whether anything that a name may have needed is here."""
        with suppress(FileNotFoundError, NotADirectoryError), os.scandir(self._blobs) as entries:
            for entry in entries:
                with suppress(BadContent):
                    return bool(Digest(entry.name))
        return False

    @property
    def complaints(self) -> tuple[str, ...]:
        """What was wrong with other stores that are read with this one, when its names were read last."""
        return ()

    def home_of(self, entry: Entry) -> Path | None:
        """The further store that an entry of `names` comes from; None for this one."""
        del entry
        return None

    def reader_of(self, entry: Entry) -> StoreReader:
        """What an entry of `names` is read from."""
        del entry
        return self

    def _parse_names(self, raw: bytes, generation: str) -> NameTable:
        """The table in `raw`; the one before it where its bytes are the same, because parsing takes long."""
        last = self._last_table
        if last is not None and last[0] == raw and last[1].generation == generation:
            return last[1]
        table = NameTable.parse(raw, generation)
        self._last_table = (raw, table)
        return table

    def index_digest(self) -> Digest | None:
        """The digest of the table of names as it lies there, which covers all that it names; None if none."""
        with suppress(OSError, MalformedFile):
            return Digest.of(read_plain_file(self.layout.index, MAX_INDEX_BYTES))
        return None

    def layout_complaint(self) -> str | None:
        """What is wrong with the file that says: this is an OCI image layout. None where nothing is."""
        try:
            document = json.loads(read_plain_file(self.layout.oci_layout, MAX_MANIFEST_BYTES))
            is_one = document["imageLayoutVersion"].split(".")[0] == "1"
        except FileNotFoundError:
            return "the file oci-layout is missing" if self._holds_anything() else None
        except OSError as error:
            return f"the file oci-layout cannot be read ({os.strerror(error.errno or 0)})"
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, MalformedFile):
            is_one = False
        return None if is_one else "the file oci-layout does not say what it should"

    def _holds_anything(self) -> bool:
        """Whether this was ever a store; the making of one may have been cut short."""
        if self.layout.index.exists() or self.layout.previous_index.exists():
            return True
        with suppress(OSError):
            return any(self.layout.blobs.iterdir())
        return False

    def resolve(self, ref: ModelRef, names: NameTable | None = None) -> Entry:
        """The entry that `ref` names; raises NotFound with the nearest names."""
        names = names or self.names()
        entry = names.find(ref.full_name)
        if entry is None:
            import difflib  # here, because only a mistyped name needs it

            short = {name.removesuffix(f":{DEFAULT_TAG}"): name for name in names.entries}
            near = difflib.get_close_matches(ref.short_name, short, n=1)
            known = f"Did you mean {near[0]}? " if near else ""
            raise NotFound(
                f"There is no model {ref.short_name} in the store.",
                hint=f"{known}'slmctl list' shows what is there; 'slmctl create' makes a model from a file.",
            )
        if ref.digest is not None and ref.digest != entry.descriptor.digest:
            raise NotFound(
                f"The model {ref.short_name} is not at {ref.digest} but at {entry.descriptor.digest}.",
                hint="The name has moved since it was pinned.",
            )
        return entry

    def has(self, digest: Digest) -> bool:
        """Whether a blob, or a borrowed file that stands in for it, is here, whole or not."""
        if self.layout.blob(digest).exists():
            return True
        note = self._borrowed(digest)
        return note is not None and notes.is_there(note)

    def note_about(self, digest: Digest) -> notes.Note | None:
        """Whose file a blob is, where another tool has it too or alone, or had, when the blob is missing;
        None for one of our own."""
        status = self.blob_status(digest)
        if status is None:
            return self._borrowed(digest) or self._linked(digest)
        return self._linked(digest) if _may_be_theirs(status) else None

    def missing(self, digest: Digest) -> NotFound:
        """What to raise for a blob that is not here."""
        if (note := self._borrowed(digest)) is not None:
            return note.gone()
        if (note := self._linked(digest)) is not None:
            return note.lost(digest)
        return NotFound(f"The blob {digest} is missing from the store.", hint=AGAIN)

    def blob_status(self, digest: Digest) -> os.stat_result | None:
        """The status of a blob's own file, not followed if it is a link; None where it has none.

        Raises OSError when the system does not tell.
        """
        try:
            return os.stat(f"{self._blobs}/{digest.hex}", follow_symlinks=False)  # noqa: PTH116
        except (FileNotFoundError, NotADirectoryError):
            return None

    def stored(self) -> dict[Digest, int]:
        """All blobs that are here, needed or not, whatever their bytes are, and their sizes in bytes.

        Raises StoreUnusable.
        """
        found = {}
        absent = suppress(FileNotFoundError, NotADirectoryError)
        with store_errors(self.root, doing="read"), absent, os.scandir(self._blobs) as entries:
            for entry in entries:
                with suppress(BadContent, FileNotFoundError):  # another tool's, or removed meanwhile
                    found[Digest(entry.name)] = entry.stat(follow_symlinks=False).st_size
        return found

    def manifest(self, descriptor: Descriptor) -> Manifest | Index:
        """The manifest or index behind a descriptor, its digest checked. Raises BadContent, NotFound."""
        if descriptor.size > MAX_MANIFEST_BYTES:
            raise MalformedFile(
                f"The manifest {descriptor.digest} is larger than {MAX_MANIFEST_BYTES >> 20} MiB."
            )
        return parse(self.read_blob(descriptor))

    def manifest_of(self, digest: Digest) -> Manifest:
        """The image manifest `digest`, which is in the store; raises NotFound, BadContent."""
        try:
            size = self.layout.blob(digest).lstat().st_size
        except FileNotFoundError:
            raise NotFound(f"The manifest {digest} is missing from the store.") from None
        manifest = self.manifest(Descriptor(media_type=mediatypes.OCI_MANIFEST, digest=digest, size=size))
        if not isinstance(manifest, Manifest):
            raise BadContent(f"The manifest {digest} is an index of several.")
        return manifest

    def read_blob(self, descriptor: Descriptor, limit: int = MAX_MANIFEST_BYTES) -> bytes:
        """A small blob as bytes, its digest checked; raises SizeMismatch beyond `limit` bytes."""
        if descriptor.size > limit:
            raise SizeMismatch(
                f"The blob {descriptor.digest} has {descriptor.size} bytes; {limit} are allowed."
            )
        fd, note = self._open(descriptor)
        try:
            with store_errors(self.root, doing="read"):
                data = _read(fd, descriptor.size)
        finally:
            os.close(fd)
        if Digest.of(data) != descriptor.digest:
            if note is not None:
                raise note.changed(descriptor.digest)
            raise DigestMismatch(
                f"The blob {descriptor.digest} is damaged: its bytes have another digest.",
                hint=AGAIN,
            )
        return data

    def stamp(self, descriptor: Descriptor) -> tuple[int, int] | None:
        """Inode and time of the last change (ctime, in nanoseconds) of a blob's file, without opening it.

        Equal stamps: nobody has written to the file in between. None where there is no regular file of the
        right size.
        """
        try:
            status = os.stat(f"{self._blobs}/{descriptor.digest.hex}", follow_symlinks=False)  # noqa: PTH116
        except OSError:
            return None
        if not stat.S_ISREG(status.st_mode) or status.st_size != descriptor.size:
            return None
        return status.st_ino, status.st_ctime_ns

    def open_blob(
        self,
        descriptor: Descriptor,
        progress: Callable[[int], None] | None = None,
        *,
        check_notes: bool = True,
    ) -> BinaryIO:
        """A blob opened for reading, its type and size checked.

        Where the file is another tool's and no longer as it was noted, it is hashed first, with `progress`
        told of more bytes; `check_notes=False` is for who hashes it anyway. Raises NotFound, BadContent.
        """
        fd, note = self._open(descriptor)
        try:
            if note is not None and check_notes:
                with store_errors(self.root, doing="read"):
                    notes.check(self.layout, descriptor.digest, note, fd, progress, renew=self.renews_notes)
        except BaseException:
            os.close(fd)
            raise
        return os.fdopen(fd, "rb")

    def open_file(
        self, descriptor: Descriptor, progress: Progress = silent, *, check_notes: bool = True
    ) -> BinaryIO:
        """As `open_blob`, and always a file with a descriptor of its own, as an engine needs it.

        `progress` is told of the bytes that had to be copied or hashed for that.
        """
        return self.open_blob(descriptor, progress, check_notes=check_notes)

    def _borrowed(self, digest: Digest) -> notes.Note | None:
        return notes.borrowed(self.layout, digest) if self.follows_notes else None

    def _linked(self, digest: Digest) -> notes.Note | None:
        return notes.linked(self.layout, digest) if self.follows_notes else None

    def _open(self, descriptor: Descriptor) -> tuple[int, notes.Note | None]:
        """The open file, of the right type and size, and the note about it where it is another tool's."""
        digest = descriptor.digest
        note: notes.Note | None = None
        with store_errors(self.root, doing="read"):
            try:
                fd = os.open(
                    f"{self._blobs}/{digest.hex}",
                    os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC,
                )
            except FileNotFoundError:
                note = self._borrowed(digest)
                if note is None:
                    raise self.missing(digest) from None
                fd = notes.open_borrowed(note)
            except OSError:
                if os.path.islink(f"{self._blobs}/{digest.hex}"):  # noqa: PTH114
                    raise BadContent(f"The blob {digest} is not a regular file.") from None
                raise
            status = os.fstat(fd)
            if note is None and _may_be_theirs(status):
                note = self._linked(digest)
        if not stat.S_ISREG(status.st_mode):
            os.close(fd)
            raise note.gone() if note else BadContent(f"The blob {digest} is not a regular file.")
        if status.st_size != descriptor.size:
            os.close(fd)
            if note is not None:
                raise note.changed(digest)
            raise SizeMismatch(
                f"The blob {digest} has {status.st_size} bytes instead of {descriptor.size}.",
                hint=AGAIN,
            )
        return fd, note


class FurtherStore(StoreReader):
    """A store that others look after: nothing is ever written to it."""

    renews_notes = False


def _may_be_theirs(status: os.stat_result) -> bool:
    """Whether a blob's file may be a link of another tool's; one that we wrote has one name and our mode."""
    return status.st_nlink > 1 or stat.S_IMODE(status.st_mode) != _OUR_MODE


def _read(fd: int, size: int) -> bytes:
    """The first `size` bytes of an open file, fewer when it has no more."""
    data = os.read(fd, size)
    while len(data) < size and (more := os.read(fd, size - len(data))):
        data += more
    return data
