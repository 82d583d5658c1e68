"""What is still needed: everything that a name or a lease reaches.

Deciding and deleting happen with the store's lock held exclusively, and nothing is judged by its age. When a
manifest that a name points at cannot be read, nothing is freed: its blobs are unknown, not unneeded.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from registry.digest import Digest
from registry.errors import BadContent
from registry.manifest import MAX_MANIFEST_BYTES, Index, Manifest, parse
from registry.store.durable import flush_folder
from registry.store.index import NameTable
from registry.store.layout import Layout
from registry.store.leases import find_leases

_MAX_INDEX_DEPTH = 4


def reached_from(layout: Layout, roots: Iterable[Digest]) -> set[Digest]:
    """All digests that `roots` (manifests or indexes) reach, themselves included.

    Raises BadContent or OSError when one of them cannot be read.
    """
    reached: set[Digest] = set()
    level = set(roots)
    for _ in range(_MAX_INDEX_DEPTH):
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
    raise BadContent(f"An image index is nested deeper than {_MAX_INDEX_DEPTH} levels.")


def free(layout: Layout, candidates: Iterable[Digest], names: NameTable) -> int:
    """Delete those blobs of `candidates` that no name and no lease needs; gives the bytes freed.

    Call it with the store's lock held exclusively.
    """
    unneeded = set(candidates)
    try:
        unneeded -= reached_from(layout, {root.digest for root in names.roots()})
    except (BadContent, OSError):
        return 0
    for lease in find_leases(layout.leases):
        unneeded -= lease.digests
    freed = 0
    for digest in sorted(unneeded):
        path = layout.blob(digest)
        with suppress(FileNotFoundError):
            size = path.lstat().st_size
            path.unlink()
            freed += size
    if freed:
        flush_folder(layout.blobs)
    return freed


def _read(path: Path) -> Manifest | Index:
    with path.open("rb") as stream:
        return parse(stream.read(MAX_MANIFEST_BYTES + 1))
