"""Reading a store: names, manifests and small blobs. Takes no lock and writes nothing.

Apart from the rest of the store because `slmctl list` must start fast: nothing that only a writer needs is
imported here.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
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
from registry.store.durable import store_errors
from registry.store.index import MAX_INDEX_BYTES, Entry, NameTable
from registry.store.layout import Layout

Progress = Callable[[int], None]
"""Told how many more bytes are done."""


def silent(_: int) -> None:
    """The progress that nobody wants to hear of."""


class StoreReader:
    """One store, to be read. It is cheap, holds no open file and may be shared between threads."""

    def __init__(self, root: Path) -> None:
        self.layout = Layout(root)
        self._blobs = str(self.layout.blobs)  # a listing opens a thousand of them, and paths are slow to join

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
        there is none.
        """
        with store_errors(self.root, doing="read"):
            self.layout.check_version()
            damage: MalformedFile | None = None
            for path, generation in (
                (self.layout.index, "current"),
                (self.layout.previous_index, "previous"),
            ):
                try:
                    with path.open("rb") as stream:
                        # what read() may read at most it allocates at once
                        size = min(os.fstat(stream.fileno()).st_size, MAX_INDEX_BYTES)
                        return NameTable.parse(stream.read(size), generation)
                except FileNotFoundError:
                    continue
                except MalformedFile as error:
                    damage = damage or error
            if damage is None:
                return NameTable.empty()
        raise StoreUnusable(
            f"The table of names in {self.root} is damaged and has no previous generation.",
            hint=f"Restore {self.layout.index} from a backup; the models' blobs are still there.",
        )

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
        """Whether a blob is here, whole or not."""
        return self.layout.blob(digest).exists()

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
        fd = self._open(descriptor)
        try:
            with store_errors(self.root, doing="read"):
                data = _read(fd, descriptor.size)
        finally:
            os.close(fd)
        if Digest.of(data) != descriptor.digest:
            raise DigestMismatch(
                f"The blob {descriptor.digest} is damaged: its bytes have another digest.",
                hint="Make or pull the model again.",
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

    def open_blob(self, descriptor: Descriptor) -> BinaryIO:
        """A blob opened for reading, its type and size checked. Raises NotFound, SizeMismatch, BadContent."""
        return os.fdopen(self._open(descriptor), "rb")

    def open_file(self, descriptor: Descriptor, progress: Progress = silent) -> BinaryIO:
        """As `open_blob`, and always a file with a descriptor of its own, as an engine needs it.

        `progress` is told of the bytes that had to be copied for that: here none.
        """
        del progress
        return self.open_blob(descriptor)

    def _open(self, descriptor: Descriptor) -> int:
        path = f"{self._blobs}/{descriptor.digest.hex}"
        with store_errors(self.root, doing="read"):
            try:
                fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
            except FileNotFoundError:
                raise NotFound(
                    f"The blob {descriptor.digest} is missing from the store.",
                    hint="Make or pull the model again.",
                ) from None
            except OSError:
                if os.path.islink(path):  # noqa: PTH114
                    raise BadContent(f"The blob {descriptor.digest} is not a regular file.") from None
                raise
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            os.close(fd)
            raise BadContent(f"The blob {descriptor.digest} is not a regular file.")
        if status.st_size != descriptor.size:
            os.close(fd)
            raise SizeMismatch(
                f"The blob {descriptor.digest} has {status.st_size} bytes instead of {descriptor.size}.",
                hint="Make or pull the model again.",
            )
        return fd


def _read(fd: int, size: int) -> bytes:
    """The first `size` bytes of an open file, fewer when it has no more."""
    data = os.read(fd, size)
    while len(data) < size and (more := os.read(fd, size - len(data))):
        data += more
    return data
