"""What a pull brings: how much of it is missing, whether there is room for it, and what it was in the end."""

from __future__ import annotations

from dataclasses import dataclass, replace

from registry.digest import Digest
from registry.errors import NoSpace
from registry.names import short_name
from registry.store.index import Entry
from registry.store.reader import StoreReader
from registry.store.room import free_bytes, nearest_folder
from registry.transfer.space import check_space, needed
from slmctl.app.coming import Coming
from slmctl.app.package import Package

_MARGIN_BYTES = 16 << 20
"""What must be left on the disk: manifests, the table of names, a lease."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulled:
    """What a pull brought, or would bring.

    Sizes are in bytes: `size` of the chosen variants, `missing` of what of them was not in the store (nor of
    a pull that was cut short), `free` of what the store's disk had left. `digest` is None in a dry run of a
    model that is only made on arrival. `changed` is False where the name stood so already, with all of it.
    """

    name: str
    source: str
    digest: Digest | None
    variants: tuple[str, ...]
    others: tuple[str, ...]
    size: int
    missing: int
    free: int
    changed: bool


def outcome_of(store: StoreReader, coming: Coming, name: str) -> Pulled:
    """What the pull under `name` will have brought."""
    missing = needed(store, (each.blob for each in coming.wanted))
    old = store.names().find(name)
    digest = coming.root.digest if coming.root is not None else None
    stands = old is not None and old.descriptor.digest == digest and not missing
    return Pulled(
        name=name,
        source=coming.source,
        digest=digest,
        variants=coming.variants,
        others=coming.others,
        size=coming.size,
        missing=missing,
        free=free_bytes(nearest_folder(store.root)),
        changed=not stands,
    )


def check_room(store: StoreReader, coming: Coming, outcome: Pulled) -> None:
    """Raise NoSpace unless it fits. The old version, if there is one, stays until the new one is named: both
    must fit; and so must what comes packed, and what is in it."""
    more = outcome.missing + (coming.size if coming.passing else 0)
    if more and more + _MARGIN_BYTES > outcome.free:
        raise NoSpace(
            f"{short_name(outcome.name)} needs {more} more bytes, and the disk of {store.root} has"
            f" {outcome.free} left.",
            hint="Free some space ('slmctl df', 'slmctl gc'), or choose a smaller --variant.",
        )
    check_space(store, [each.blob for each in coming.wanted])


def as_it_is(store: StoreReader, outcome: Pulled, entry: Entry) -> Pulled:
    """The outcome, and of a single build what its own files say of it: only they know for sure."""
    outcome = replace(outcome, digest=entry.descriptor.digest)
    variants = Package.of(store, entry).variants
    if len(variants) > 1:
        return outcome
    return replace(outcome, variants=(variants[0].id,), size=variants[0].size)
