"""Collecting garbage: every blob that neither a name nor a lease needs, and what killed commands left.

What names reach is read before the lock is taken: what is behind a digest never changes, so that under the
lock only names that came meanwhile are followed. Deciding and deleting then happen at once, with the store's
lock held exclusively. Where it is not known what is needed, nothing is freed.

A killed command's blobs stay, and its lease, because the same command may go on where it was; what nobody
could go on with (a worker's lease, a file that only its owner could finish) goes.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from registry.digest import Digest
from registry.errors import BadContent
from registry.store import gc, inventory, notes
from registry.store.durable import flush_folder
from registry.store.index import NameTable
from registry.store.layout import Layout
from registry.store.leases import FoundLease, find_leases


@dataclass(frozen=True, slots=True, kw_only=True)
class Garbage:
    """One thing that goes. `kind` is blob, note (about another tool's file), temporary or lease; `size` is
    what that frees, in bytes."""

    kind: str
    path: Path
    size: int
    digest: Digest | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """What a collection took or would take, and what it left: bytes that killed commands had put in, and
    bytes that only a damaged table of names, put aside, still names."""

    garbage: tuple[Garbage, ...]
    crashed_bytes: int
    damaged_bytes: int

    @property
    def freed_bytes(self) -> int:
        return sum(each.size for each in self.garbage)


def plan(layout: Layout, names: NameTable, known: gc.Documents, *, everything: bool) -> Collection:
    """What there is to collect. Call it with the store's lock held exclusively.

    Raises BadContent, with what is wrong, where it is not known what is needed; OSError.
    """
    if names.generation == "previous":
        raise BadContent(f"The table of names {layout.index} is damaged; so nothing is known to be unneeded.")
    needed = reached(layout, names, known)
    by_damaged = gc.named_by_damaged(layout) - needed
    leases = list(find_leases(layout.leases))
    held = {digest for lease in leases if lease.held for digest in lease.digests}
    crashed = {digest for lease in leases if not lease.held and lease.keeps for digest in lease.digests}
    crashed -= needed | held
    sizes = dict(_blob_sizes(layout))
    unneeded = sizes.keys() - needed - held - by_damaged
    left = set() if everything else unneeded & crashed
    garbage = [
        Garbage(kind="blob", path=layout.blob(digest), size=sizes[digest], digest=digest)
        for digest in gc.deletion_order(layout, unneeded - left)
    ]
    garbage += [
        Garbage(kind="note", path=path, size=0, digest=digest)
        for digest, path in notes.without_blobs(layout, sizes)
        if digest not in needed | held | by_damaged and (everything or digest not in crashed)
    ]
    temporaries = inventory.temporaries(layout, leases)
    garbage += [
        Garbage(kind="temporary", path=each.path, size=each.size)
        for each in temporaries
        if everything or not each.can_go_on
    ]
    garbage += [
        Garbage(kind="lease", path=lease.path, size=0)
        for lease in leases
        if not lease.held and (everything or not _can_go_on(lease, needed | held))
    ]
    return Collection(
        garbage=tuple(garbage),
        crashed_bytes=sum(sizes[digest] for digest in left)
        + sum(each.size for each in temporaries if each.can_go_on and not everything),
        damaged_bytes=sum(sizes.get(digest, 0) for digest in by_damaged),
    )


def reached(layout: Layout, names: NameTable, known: gc.Documents) -> set[Digest]:
    """What names need. Raises BadContent that says which manifest cannot be read; OSError."""
    roots = {root.digest for root in names.roots()}
    try:
        return gc.needed(layout, names, known)
    except (BadContent, FileNotFoundError):
        for root in sorted(roots):  # which of them it is
            try:
                gc.reached_from(layout, [root], known)
            except FileNotFoundError:
                raise _unknown(names, root, "is missing") from None
            except BadContent as error:
                raise _unknown(names, root, f"cannot be read: {error.message}") from None
        raise


def take(layout: Layout, collection: Collection) -> None:
    """Delete what was planned, under the same lock. Blobs go before the leases that list them."""
    for each in collection.garbage:
        if each.digest is not None:
            gc.delete(layout, each.digest)
        else:
            with suppress(FileNotFoundError):
                each.path.unlink()
    _drop_hints(layout)
    for folder in dict.fromkeys(each.path.parent for each in collection.garbage):
        flush_folder(folder)


def _blob_sizes(layout: Layout) -> Iterator[tuple[Digest, int]]:
    """All blobs that are files, and what deleting each would free."""
    if not layout.blobs.is_dir():
        return
    with os.scandir(layout.blobs) as entries:  # not pathlib: to sort thirty thousand paths takes longest
        for entry in entries:
            with suppress(BadContent, FileNotFoundError):
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(status.st_mode):  # whatever else lies there is damage, and for `verify`
                    yield Digest(entry.name), status.st_size if status.st_nlink == 1 else 0


def _can_go_on(lease: FoundLease, needed: set[Digest]) -> bool:
    """Whether a dead owner's lease lists anything that a name does not need anyway."""
    return lease.keeps and bool(lease.digests - needed)


def _drop_hints(layout: Layout) -> None:
    """Hints about blobs that are gone, and facts that were derived of models that are."""
    for path in (*_children(layout.origins), *_children(layout.facts)):
        if not (layout.blobs / path.name.removesuffix(".json")).exists():
            with suppress(OSError):
                path.unlink()


def _children(folder: Path) -> Iterable[Path]:
    return sorted(folder.iterdir(), key=str) if folder.is_dir() else []


def _unknown(names: NameTable, digest: Digest, what: str) -> BadContent:
    users = [entry.name for entry in names.entries.values() if entry.descriptor.digest == digest]
    whose = f" of {users[0]}" if users else " of another tool's entry"
    return BadContent(f"The manifest {digest}{whose} {what}; so nothing is known to be unneeded.")
