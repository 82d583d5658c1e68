"""Stores and bundles as remotes: a folder or a tar on a disk here, read as a registry would be."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from registry.errors import NotFound, SizeMismatch, Unreachable, UsageError
from registry.manifest import MAX_MANIFEST_BYTES, Descriptor, Index, Manifest
from registry.names import ModelRef, Source
from registry.remotes.base import Artifact, Blob
from registry.store.bundle import open_bundle, shown
from registry.store.index import Entry
from registry.store.layout import Layout
from registry.store.reader import StoreReader

_PIECE_BYTES = 256 << 10


def open_local(path: Path) -> LocalRemote:
    """What lies at `path`: a store, or a bundle that is a folder or a tar. Raises as `open_bundle` does."""
    reader = StoreReader(path) if Layout(path).version.is_file() else open_bundle(path)
    return LocalRemote(reader)


class LocalRemote:
    """A `Remote` over a store or a bundle. All of its models count as one repository."""

    def __init__(self, reader: StoreReader) -> None:
        self._reader = reader

    @property
    def shown(self) -> str:
        return shown(self._reader.root)

    def resolve(self, ref: ModelRef) -> Artifact:
        """The model that `ref` names; where it names the place itself, the only model in it.

        Raises UsageError where there are several.
        """
        entry = self._only() if ref.source is Source.FILE else self._reader.names().find(ref.full_name)
        if entry is None or (ref.digest is not None and ref.digest != entry.descriptor.digest):
            raise NotFound(f"There is no model {ref} in {self.shown}.", hint=self._known())
        return Artifact(
            pinned=entry.source or f"file://{self._reader.root.absolute()}",
            root=entry.descriptor,
            document=self.manifest(entry.descriptor),
        )

    def manifest(self, descriptor: Descriptor) -> Manifest | Index:
        return self._reader.manifest(descriptor)

    def read_blob(self, descriptor: Descriptor, limit: int = MAX_MANIFEST_BYTES) -> bytes:
        return self._reader.read_blob(descriptor, limit)

    def tags(self) -> Sequence[str]:
        """The names of its models."""
        return list(self._reader.names().entries)

    def open(self, blob: Blob, start: int, stop: int, validator: str | None = None) -> _Bytes:
        """A part of a blob. What is opened does not change, so that there is no validator."""
        del validator
        if not 0 <= start <= stop <= blob.size:
            raise SizeMismatch(f"The blob {blob.digest} has no bytes from {start} to {stop}.")
        descriptor = Descriptor(media_type="", digest=blob.digest, size=blob.size)
        return _Bytes(self._reader.open_blob(descriptor, check_notes=False), start, stop, self.shown)

    def _only(self) -> Entry | None:
        entries = list(self._reader.names().entries.values())
        if len(entries) > 1:
            raise UsageError(f"There are {len(entries)} models in {self.shown}.", hint=self._known())
        return entries[0] if entries else None

    def _known(self) -> str:
        names = list(self.tags())
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        return f"It has {', '.join(names[:5]) or 'none'}{more}."


class _Bytes:
    """A `Body`: a part of an open stream."""

    validator: str | None = None

    def __init__(self, stream: BinaryIO, start: int, stop: int, where: str) -> None:
        self.start = start
        self._stream = stream
        self._stop = stop
        self._where = where

    def __iter__(self) -> Iterator[bytes]:
        position = self.start
        try:
            self._stream.seek(position)
            while position < self._stop:
                piece = self._stream.read(min(_PIECE_BYTES, self._stop - position))
                if not piece:
                    raise SizeMismatch(f"A blob in {self._where} is shorter than it was.")
                position += len(piece)
                yield piece
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise Unreachable(f"{self._where} cannot be read ({reason}).") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()
