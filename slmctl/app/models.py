"""Naming a model in the store anew, and removing it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from registry.errors import NotFound
from registry.names import ModelRef, parse_name
from registry.store.index import Entry
from registry.store.store import Replace, Store
from slmctl.app.events import OnEvent, ignore
from slmctl.app.listing import names_of, names_with


def copy_model(
    store: Store, source: ModelRef, target: ModelRef, *, force: bool, now: str, on_event: OnEvent = ignore
) -> Entry:
    """Give what `source` names a second name. Raises NotFound, NameTaken."""
    entry = store.resolve(source, names_with(store, source, on_event))
    store.prepare()
    return store.link(
        target.full_name,
        entry.descriptor,
        source=entry.source,
        linked=now,
        replace_rule=Replace.ANYTHING if force else Replace.NOTHING,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovedModels:
    """`missing` are the names that were not there; `freed_bytes` what the removal gave back."""

    removed: tuple[str, ...]
    missing: tuple[str, ...]
    freed_bytes: int


def remove_models(store: Store, names: Sequence[str], on_event: OnEvent = ignore) -> RemovedModels:
    """Remove all of `names` that exist, whatever is wrong with the others. Raises InvalidReference first."""
    refs = [parse_name(name) for name in names]
    table = names_of(store, on_event)
    found: list[str] = []
    missing: list[str] = []
    for ref in refs:
        try:
            found.append(store.resolve(ref, table).name)
        except NotFound:
            missing.append(ref.short_name)
    removed = store.unlink(found)
    return RemovedModels(
        removed=tuple(entry.name for entry in removed.entries),
        missing=tuple(missing),
        freed_bytes=removed.freed_bytes,
    )
