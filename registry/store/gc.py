"""What is still needed: everything that a name or a lease reaches.

Deciding and deleting happen with the store's lock held exclusively, and nothing is judged by its age. When a
manifest that a name points at cannot be read, nothing is freed: its blobs are unknown, not unneeded. The
same holds for what a damaged table of names still tells.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable
from contextlib import suppress

from registry.digest import Digest
from registry.errors import BadContent, DigestMismatch
from registry.manifest import MAX_INDEX_DEPTH, MAX_MANIFEST_BYTES, Index, Manifest, parse
from registry.store import notes
from registry.store.durable import flush_folder
from registry.store.index import NameTable, Referrer
from registry.store.layout import Layout
from registry.store.leases import find_leases

_DIGEST = re.compile(rb"sha256:([0-9a-f]{64})(?![0-9a-f])")


Documents = dict[Digest, Manifest | Index]
"""Manifests that were read already: what is behind a digest never changes."""


def reached_from(layout: Layout, roots: Iterable[Digest], known: Documents | None = None) -> set[Digest]:
    """All digests that `roots` (manifests or indexes) reach, themselves included.

    What is in `known` is not read again, and what is read is put there. Raises BadContent or OSError when one
    of them cannot be read.
    """
    known = {} if known is None else known
    reached: set[Digest] = set()
    followed: set[Digest] = set()  # what another manifest has as a layer may be a manifest all the same
    level = set(roots)
    for _ in range(MAX_INDEX_DEPTH):
        followed |= level
        below: set[Digest] = set()
        for digest in level:
            document = known.get(digest) or read_document(layout, digest)
            known[digest] = document
            blobs = {descriptor.digest for descriptor in document.blobs}
            if isinstance(document, Index):
                below |= {blob for blob in blobs - followed if layout.blob(blob).exists()}
            reached |= blobs
        if not below:
            return reached | followed
        level = below
    raise BadContent(f"An image index is nested deeper than {MAX_INDEX_DEPTH} levels.")


def needed(layout: Layout, names: NameTable, known: Documents | None = None) -> set[Digest]:
    """All that names reach, and what refers to it. Raises as `reached_from`, for what names reach."""
    known = {} if known is None else known
    reached = reached_from(layout, {root.digest for root in names.roots()}, known)
    for referrer in names.referrers:
        if referrer.subject in reached:
            reached |= referring(layout, referrer, known)
    return reached


def referring(layout: Layout, referrer: Referrer, known: Documents | None = None) -> set[Digest]:
    """What a referrer consists of; its manifest alone where that cannot be read: then no more is of use."""
    with suppress(BadContent, OSError):
        return reached_from(layout, [referrer.descriptor.digest], known)
    return {referrer.descriptor.digest}


def without_orphans(
    layout: Layout, names: NameTable, known: Documents | None = None
) -> tuple[NameTable, set[Digest]]:
    """The table without referrers whose subject no name reaches any more, and what these consist of.

    Where it is not known what names reach, all stay.
    """
    if not names.referrers or names.generation == "previous":
        return names, set()
    try:
        reached = reached_from(layout, {root.digest for root in names.roots()}, known)
    except (BadContent, OSError):
        return names, set()
    orphans = [each for each in names.referrers if each.subject not in reached]
    freed = {digest for each in orphans for digest in referring(layout, each, known)}
    return names.without_referrers(each.descriptor.digest for each in orphans), freed


def free(
    layout: Layout, candidates: Iterable[Digest], names: NameTable, known: Documents | None = None
) -> tuple[int, int]:
    """Delete those blobs of `candidates` that no name and no lease needs; gives the bytes freed, and the
    bytes that only a lease still keeps. What is in `known` is not read again.

    Call it with the store's lock held exclusively.
    """
    if names.generation == "previous":
        return 0, 0  # what the damaged table named is unknown, not unneeded
    unneeded = set(candidates)
    leased: set[Digest] = set()
    try:
        unneeded -= needed(layout, names, known)
        unneeded -= named_by_damaged(layout)
        for lease in find_leases(layout.leases):
            if lease.keeps:
                leased |= lease.digests
    except (BadContent, OSError):
        return 0, 0
    freed = [delete(layout, digest) for digest in deletion_order(layout, unneeded - leased)]
    if any(each is not None for each in freed):
        flush_folder(layout.blobs)
    return sum(filter(None, freed)), sum(_size(layout, digest) for digest in unneeded & leased)


def _size(layout: Layout, digest: Digest) -> int:
    with suppress(OSError):
        return layout.blob(digest).lstat().st_size
    return 0


def delete(layout: Layout, digest: Digest) -> int | None:
    """Delete a blob and what is noted about it; gives the bytes freed, None where nothing was.

    Another tool's file is not touched: a blob that is a link of it loses its name here, which frees nothing
    while the file has others. Call it with the store's lock held exclusively; flush the folder afterwards.
    """
    freed: int | None = None
    path = layout.blob(digest)
    with suppress(FileNotFoundError):
        status = path.lstat()
        if not stat.S_ISDIR(status.st_mode):  # that is damage, and for `verify`
            path.unlink()
            freed = status.st_size if status.st_nlink == 1 else 0
    with suppress(OSError):  # a hint, no more: `registry.store.origins`
        (layout.origins / digest.hex).unlink()
    if notes.forget(layout, digest):
        freed = freed or 0
    return freed


def named_by_damaged(layout: Layout) -> set[Digest]:
    """What tables of names that were put aside still tell: all digests in them, and what those reach."""
    found: set[Digest] = set()
    for path in layout.damaged_indexes:
        if not path.is_file():
            continue  # a folder or the like, which told nothing
        for match in _DIGEST.findall(path.read_bytes()):
            digest = Digest(match.decode())
            found.add(digest)
            with suppress(BadContent, OSError):  # torn in its middle, or gone long ago
                found |= reached_from(layout, [digest])
    return found


def deletion_order(layout: Layout, digests: Iterable[Digest]) -> list[Digest]:
    """Indexes, manifests, blobs: a manifest that is there has its blobs, wherever the deleting is cut short.

    `link` relies on it when the name that it copies is removed meanwhile.
    """

    def rank(digest: Digest) -> int:
        try:
            if layout.blob(digest).lstat().st_size > MAX_MANIFEST_BYTES:
                return 2
            return 0 if isinstance(read_document(layout, digest), Index) else 1
        except (BadContent, OSError):
            return 2

    return sorted(digests, key=lambda digest: (rank(digest), digest))


def read_document(layout: Layout, digest: Digest) -> Manifest | Index:
    """A manifest, its digest checked: one flipped bit in it may hide a blob behind another digest."""
    fd = os.open(layout.blob(digest), os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as stream:
        raw = stream.read(MAX_MANIFEST_BYTES + 1)
    if Digest.of(raw) != digest:
        raise DigestMismatch(f"The manifest {digest} is damaged.")
    return parse(raw)
