"""What a torn table of names still tells: it has an entry a line, and those before the tear are whole.

What no table tells any more is still in the blobs: a manifest that nothing else reaches had a name.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from registry.digest import Digest
from registry.errors import BadContent, MalformedFile
from registry.manifest import MAX_MANIFEST_BYTES, Descriptor, Index, Manifest
from registry.names import DEFAULT_TAG
from registry.store import gc
from registry.store.index import MAX_INDEX_BYTES, Entry, NameTable, Referrer
from registry.store.layout import Layout
from registry.store.plain_file import read_plain_file

RECOVERED = "recovered/"
"""How the names of models begin whose own names are lost."""


def salvaged(path: Path) -> list[Entry]:
    """The entries that can still be read in the torn table at `path`; none where there is no file."""
    with suppress(FileNotFoundError, MalformedFile):
        return whole_entries(read_plain_file(path, MAX_INDEX_BYTES))
    return []


def whole_entries(raw: bytes) -> list[Entry]:
    """The entries that can still be read in what is left of a table."""
    entries: list[Entry] = []
    for line in raw.split(b"\n"):
        try:
            row = json.loads(line.strip().removesuffix(b","))
            table = NameTable.parse(json.dumps({"schemaVersion": 2, "manifests": [row]}).encode())
        except (ValueError, RecursionError, MalformedFile):
            continue
        entries += table.entries.values()
    return entries


def nameless(layout: Layout, names: NameTable) -> Iterator[Entry]:
    """An entry for each model whose manifest is here and that no name of `names` reaches. Raises OSError."""
    documents = {digest: each for digest, each in _documents(layout) if not _is_about_another(each)}
    known: gc.Documents = dict(documents)
    reached: set[Digest] = set()
    for root in names.roots():
        with suppress(BadContent, FileNotFoundError):
            reached |= gc.reached_from(layout, [root.digest], known)
    for document in documents.values():
        if isinstance(document, Index):
            reached |= {descriptor.digest for descriptor in document.blobs}
    for digest in sorted(documents.keys() - reached):
        document = documents[digest]
        descriptor = Descriptor(media_type=document.media_type, digest=digest, size=len(document.raw))
        name = f"{RECOVERED}{digest.short}:{DEFAULT_TAG}"
        yield Entry(name=name, descriptor=descriptor, source=None, linked=None)


def referrers(layout: Layout) -> Iterator[Referrer]:
    """What is here and refers to another manifest: it says so itself. Raises OSError."""
    for digest, document in _documents(layout):
        if isinstance(document, Manifest) and document.subject is not None:
            descriptor = Descriptor(
                media_type=document.media_type,
                digest=digest,
                size=len(document.raw),
                artifact_type=document.artifact_type,
            )
            yield Referrer(subject=document.subject.digest, descriptor=descriptor)


def _is_about_another(document: Manifest | Index) -> bool:
    return isinstance(document, Manifest) and document.subject is not None


def _documents(layout: Layout) -> Iterator[tuple[Digest, Manifest | Index]]:
    for path in layout.blobs.iterdir():
        with suppress(BadContent, OSError):
            digest = Digest(path.name)
            if path.lstat().st_size <= MAX_MANIFEST_BYTES:
                yield digest, gc.read_document(layout, digest)
