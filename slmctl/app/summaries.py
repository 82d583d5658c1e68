"""What `slmctl list` shows of a manifest, remembered in the store's `cache/` from one run to the next.

Parsing a thousand manifests takes longer than everything else that `list` does. A note is keyed by the
manifest's digest and carries the inode and the time of the last change (ctime, which no program can set) of
the file that was read; it holds while the store still has that very file, with the size that the name's entry
says. Without a note that holds, the manifest is read and its digest checked. So a cache that is absent,
damaged, of another store or impossible to write costs time and nothing else.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress

from registry.digest import Digest
from registry.manifest import Descriptor
from registry.store.index import NameTable
from registry.store.reader import StoreReader
from slmctl.app.variants import listed_id, manifests_of

_SCHEMA = "slmctl.summaries/1"
_MAX_BYTES = 64 << 20

WORTH_WRITING = 100
"""Fewer manifests are read faster than anybody notices, and a store that is only listed stays as it is."""

Summary = tuple[tuple[str, ...], int]
"""The ids of a name's variants, and the bytes of all their files, shared ones counted once."""


class Summaries:
    """The summaries of one store. Reads the notes when it is made; `save` writes them.

    `worth_writing` is how many manifests must have been read before `save` does anything.
    """

    def __init__(self, store: StoreReader, *, worth_writing: int = WORTH_WRITING) -> None:
        self._store = store
        self._worth_writing = worth_writing
        self._path = f"{store.layout.cache}/summaries.json"
        self._notes = _read(self._path)
        self._new: dict[str, object] = {}

    def of(self, descriptor: Descriptor) -> Summary:
        """The summary of a manifest or index. Raises BadContent, NotFound, StoreUnusable."""
        digest = descriptor.digest.hex
        stamp = self._store.stamp(descriptor)  # before it is read: what changes meanwhile is read again
        if stamp is not None and (noted := _noted(self._notes.get(digest), stamp)) is not None:
            return noted
        manifests = manifests_of(self._store, descriptor)
        sizes: dict[Digest, int] = {}
        for manifest in manifests:
            sizes.update({layer.digest: layer.size for layer in manifest.layers})
        ids = tuple(listed_id(self._store, manifest) for manifest in manifests)
        size = sum(sizes.values())
        if stamp is not None and len(manifests) == 1 and manifests[0].digest == descriptor.digest:
            # not of an index: its own file says nothing about those that it names
            self._new[digest] = [*stamp, ids[0], size]
        return ids, size

    def save(self, names: NameTable) -> None:
        """Keep the notes about what `names` has, if that is worth a file; no matter when it fails."""
        if len(self._new) < self._worth_writing:
            return
        known = {entry.descriptor.digest.hex for entry in names.entries.values()}
        notes = {digest: note for digest, note in {**self._notes, **self._new}.items() if digest in known}
        text = json.dumps({"schema": _SCHEMA, "manifests": notes}, separators=(",", ":"))
        temporary = f"{self._path}.{os.getpid()}"
        with suppress(OSError):
            try:
                with open(temporary, "x", encoding="utf-8") as stream:  # noqa: PTH123
                    stream.write(text)
                os.rename(temporary, self._path)  # noqa: PTH104
            finally:
                with suppress(FileNotFoundError):
                    os.unlink(temporary)  # noqa: PTH108


def _read(path: str) -> dict[str, object]:
    try:
        with open(path, "rb") as stream:  # noqa: PTH123
            document = json.loads(stream.read(_MAX_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(document, dict) or document.get("schema") != _SCHEMA:
        return {}
    notes = document.get("manifests")
    return notes if isinstance(notes, dict) else {}


def _noted(note: object, stamp: tuple[int, int]) -> Summary | None:
    """The summary in a note about the file with this stamp; None when it is about another, or is none."""
    if not isinstance(note, list) or len(note) != 4 or (note[0], note[1]) != stamp:
        return None
    _, _, variant, size = note
    return ((variant,), size) if isinstance(variant, str) and isinstance(size, int) else None
