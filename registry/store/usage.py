"""What a store's disk space is used for: by each name alone, by several together, and by nothing.

Sizes are those of the files, so that everything adds up to what the folder has. A file of another tool's that
the store only links or borrows costs nothing here.
"""

from __future__ import annotations

import stat
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass

from registry.digest import Digest
from registry.store import inventory, notes
from registry.store.leases import find_leases
from registry.store.needs import Root, Walker
from registry.store.reader import StoreReader


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelUsage:
    """What one name costs, in bytes: `alone` would be free without it, `shared` others need too.

    `is_known` is False where a manifest cannot be read, so that there may be more.
    """

    name: str
    alone: int
    shared: int
    is_known: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """All of a store in bytes, each file counted once: `models` + `unneeded` + `leased` + `temporary` +
    `quarantine` + `other` is the size of the folder.

    `shared` is the part of `models` that several names need. `unneeded` is what `gc` may free, None where it
    is not known what is needed: then those bytes are among `other`. `elsewhere` is none of all this: the
    files of other tools that the store links or that its models borrow.
    """

    names: tuple[ModelUsage, ...]
    models: int
    shared: int
    unneeded: int | None
    leased: int
    temporary: int
    quarantine: int
    other: int
    elsewhere: int

    @property
    def total(self) -> int:
        kinds = (self.models, self.unneeded or 0, self.leased, self.temporary, self.quarantine, self.other)
        return sum(kinds)


def usage_of(reader: StoreReader) -> Usage:
    """What the store costs at this moment. Takes no lock: a store that changes meanwhile is about right.

    Raises StoreUnusable.
    """
    table = reader.names()
    sizes, linked = _sizes(reader)
    is_known = table.generation != "previous"
    walker = Walker(reader)
    users: Counter[Digest] = Counter()
    needs_of: dict[str, tuple[frozenset[Digest], bool]] = {}
    needed: set[Digest] = set()
    for entry in table.entries.values():
        needs = walker.with_referrers([Root(name=entry.name, descriptor=entry.descriptor)], table.referrers)
        here = frozenset(digest for digest in needs.blobs if digest in sizes)
        needs_of[entry.name] = (here, not needs.unread)
        users.update(here)
        needed.update(needs.blobs)
        is_known = is_known and not needs.unread
    named = {entry.descriptor.digest for entry in table.entries.values()}
    foreign = walker.needs_of(
        Root(name="", descriptor=root) for root in table.roots() if root.digest not in named
    )
    users.update(digest for digest in foreign.blobs if digest in sizes)
    is_known = is_known and not foreign.unread
    names = tuple(
        ModelUsage(
            name=name,
            alone=sum(sizes[digest] for digest in digests if users[digest] == 1),
            shared=sum(sizes[digest] for digest in digests if users[digest] > 1),
            is_known=is_read,
        )
        for name, (digests, is_read) in sorted(needs_of.items())
    )
    leases = []
    with suppress(OSError):
        leases = list(find_leases(reader.layout.leases))
    listed = {digest for lease in leases if lease.keeps for digest in lease.digests}
    rest = sizes.keys() - users.keys()
    leased = sum(sizes[digest] for digest in rest & listed)
    unneeded = sum(sizes[digest] for digest in rest - listed) if is_known else None
    models = sum(sizes[digest] for digest in users)
    temporary = sum(each.size for each in inventory.temporaries(reader.layout, leases))
    quarantine = inventory.size_below(reader.layout.quarantine)
    whole = inventory.size_below(reader.root) - linked
    borrowed = sum(
        note.size
        for digest, note in notes.all_borrowed(reader.layout)
        if digest in needed and digest not in sizes and notes.is_there(note)
    )
    return Usage(
        names=names,
        models=models,
        shared=sum(sizes[digest] for digest, count in users.items() if count > 1),
        unneeded=unneeded,
        leased=leased,
        temporary=temporary,
        quarantine=quarantine,
        other=max(0, whole - models - (unneeded or 0) - leased - temporary - quarantine),
        elsewhere=linked + borrowed,
    )


def _sizes(reader: StoreReader) -> tuple[dict[Digest, int], int]:
    """What each blob costs in bytes, and the bytes that others have too and that cost nothing here."""
    sizes = reader.stored()
    linked = 0
    for digest, size in sizes.items():
        status = reader.blob_status(digest)
        if status is not None and stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
            sizes[digest] = 0
            linked += size
    return sizes, linked
