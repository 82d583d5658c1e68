"""Several stores that are read as one: the user's own, and further ones that others look after.

A name of the own store counts before that of a further one, and theirs in their order. A blob comes from the
first store that has it: what a digest names is the same everywhere. Nothing is ever written to a further
store, and one that is not there, or is damaged, is a complaint and no failure.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from registry.digest import Digest
from registry.errors import NotFound, SlmctlError
from registry.manifest import MAX_MANIFEST_BYTES, Descriptor, Manifest
from registry.store import notes
from registry.store.index import Entry, NameTable
from registry.store.reader import Progress, StoreReader, silent


class JoinedReader(StoreReader):
    """`own` and `further`, which are asked in this order. `root` and `layout` are those of `own`."""

    def __init__(self, own: StoreReader, further: Sequence[StoreReader]) -> None:
        super().__init__(own.root)
        self.own = own
        self.further = tuple(further)
        self._complaints: tuple[str, ...] = ()
        self._homes: dict[str, Path] = {}

    @property
    def complaints(self) -> tuple[str, ...]:
        """What was wrong with further stores when the names were read last, a sentence each."""
        return self._complaints

    def names(self) -> NameTable:
        """The names of all stores, to be read and never written; `generation` is the own store's."""
        table = self.own.names()
        entries: dict[str, Entry] = {}
        homes: dict[str, Path] = {}
        complaints = []
        for reader in self.further:
            try:
                theirs = _names_of(reader)
            except (SlmctlError, OSError) as error:
                reason = error.message if isinstance(error, SlmctlError) else os.strerror(error.errno or 0)
                complaints.append(f"The further store {reader.root} is left out: {reason}")
                continue
            if theirs.generation == "previous":
                complaints.append(f"{reader.layout.index} is damaged; this is from the generation before it.")
            seen = {name.casefold() for name in (*entries, *table.entries)}
            new = {name: entry for name, entry in theirs.entries.items() if name.casefold() not in seen}
            entries |= new
            table = table.with_referrers(theirs.referrers)
            homes |= dict.fromkeys(new, reader.root)
        self._complaints, self._homes = tuple(complaints), homes
        return table.with_entries(list(entries.values()))

    def home_of(self, entry: Entry) -> Path | None:
        return self._homes.get(entry.name)

    def reader_of(self, entry: Entry) -> StoreReader:
        """The further store whose name this is; all of them for an own name."""
        home = self.home_of(entry)
        return next((reader for reader in self.further if reader.root == home), self)

    def has(self, digest: Digest) -> bool:
        return self._with(digest).has(digest)

    def note_about(self, digest: Digest) -> notes.Note | None:
        return self._with(digest).note_about(digest)

    def missing(self, digest: Digest) -> NotFound:
        return self._with(digest).missing(digest)

    def stamp(self, descriptor: Descriptor) -> tuple[int, int] | None:
        return self._with(descriptor.digest).stamp(descriptor)

    def manifest_of(self, digest: Digest) -> Manifest:
        return self._with(digest).manifest_of(digest)

    def read_blob(self, descriptor: Descriptor, limit: int = MAX_MANIFEST_BYTES) -> bytes:
        return self._with(descriptor.digest).read_blob(descriptor, limit)

    def open_blob(
        self, descriptor: Descriptor, progress: Progress | None = None, *, check_notes: bool = True
    ) -> BinaryIO:
        return self._with(descriptor.digest).open_blob(descriptor, progress, check_notes=check_notes)

    def open_file(
        self, descriptor: Descriptor, progress: Progress = silent, *, check_notes: bool = True
    ) -> BinaryIO:
        return self._with(descriptor.digest).open_file(descriptor, progress, check_notes=check_notes)

    def _with(self, digest: Digest) -> StoreReader:
        """The first store that has a blob; the own one where none has it, which then says so."""
        for reader in (self.own, *self.further):
            with suppress(SlmctlError, OSError):
                if reader.has(digest):
                    return reader
        return self.own


def _names_of(reader: StoreReader) -> NameTable:
    """The names of a further store, which has to be there. Raises SlmctlError, OSError."""
    reader.root.stat()
    return reader.names()
