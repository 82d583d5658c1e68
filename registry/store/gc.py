"""What is still needed: everything that a name or a lease reaches.

Deciding and deleting happen with the store's lock held exclusively, and nothing is judged by its age. When a
manifest that a name points at cannot be read, nothing is freed: its blobs are unknown, not unneeded. The
same holds for what a damaged table of names still tells.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from registry.digest import Digest
from registry.errors import BadContent
from registry.manifest import MAX_INDEX_DEPTH, MAX_MANIFEST_BYTES, Index, Manifest, parse
from registry.store.durable import flush_folder
from registry.store.index import NameTable
from registry.store.layout import Layout
from registry.store.leases import find_leases

_DIGEST = re.compile(rb"sha256:([0-9a-f]{64})(?![0-9a-f])")


def reached_from(layout: Layout, roots: Iterable[Digest]) -> set[Digest]:
    """All digests that `roots` (manifests or indexes) reach, themselves included.

    Raises BadContent or OSError when one of them cannot be read.
    """
    reached: set[Digest] = set()
    level = set(roots)
    for _ in range(MAX_INDEX_DEPTH):
        reached |= level
        below: set[Digest] = set()
        for digest in level:
            document = _read(layout.blob(digest))
            blobs = {descriptor.digest for descriptor in document.blobs}
            if isinstance(document, Index):
                below |= {blob for blob in blobs - reached if layout.blob(blob).exists()}
            reached |= blobs
        if not below:
            return reached
        level = below
    raise BadContent(f"An image index is nested deeper than {MAX_INDEX_DEPTH} levels.")


def free(layout: Layout, candidates: Iterable[Digest], names: NameTable) -> int:
    """Delete those blobs of `candidates` that no name and no lease needs; gives the bytes freed.

    Call it with the store's lock held exclusively.
    """
    if names.generation == "previous":
        return 0  # what the damaged table named is unknown, not unneeded
    unneeded = set(candidates)
    try:
        unneeded -= reached_from(layout, {root.digest for root in names.roots()})
        unneeded -= _named_by_damaged(layout)
        for lease in find_leases(layout.leases):
            unneeded -= lease.digests
    except (BadContent, OSError):
        return 0
    freed = 0
    for path in sorted(map(layout.blob, unneeded), key=_deletion_order):
        with suppress(FileNotFoundError):
            size = path.lstat().st_size
            path.unlink()
            freed += size
    if freed:
        flush_folder(layout.blobs)
    return freed


def _named_by_damaged(layout: Layout) -> set[Digest]:
    """What tables of names that were put aside still tell: all digests in them, and what those reach."""
    found: set[Digest] = set()
    for path in layout.damaged_indexes:
        for match in _DIGEST.findall(path.read_bytes()):
            digest = Digest(match.decode())
            found.add(digest)
            with suppress(BadContent, OSError):  # torn in its middle, or gone long ago
                found |= reached_from(layout, [digest])
    return found


def _deletion_order(path: Path) -> tuple[int, str]:
    """Indexes, manifests, blobs: a manifest that is there has its blobs, wherever the deleting is cut short.

    `link` relies on it when the name that it copies is removed meanwhile.
    """
    try:
        if path.lstat().st_size > MAX_MANIFEST_BYTES:
            return 2, path.name
        return 0 if isinstance(_read(path), Index) else 1, path.name
    except (BadContent, OSError):
        return 2, path.name


def _read(path: Path) -> Manifest | Index:
    with path.open("rb") as stream:
        return parse(stream.read(MAX_MANIFEST_BYTES + 1))
