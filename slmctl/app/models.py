"""Naming a model in the store anew, and removing it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from registry.errors import NotFound
from registry.names import ModelRef, parse_name
from registry.store.index import Entry
from registry.store.reader import StoreReader
from registry.store.store import Replace, Store, check_replaceable
from slmctl.app.bringing import blobs_of, bring
from slmctl.app.events import OnEvent, ignore
from slmctl.app.listing import names_of, names_with


def copy_model(
    store: Store,
    source: ModelRef,
    target: ModelRef,
    *,
    force: bool,
    now: str,
    on_event: OnEvent = ignore,
    reader: StoreReader | None = None,
) -> Entry:
    """Give what `source` names a second name. What lies in a further store, if `reader` has one, is copied.

    Raises NotFound, NameTaken, BadContent, NoSpace.
    """
    reader = reader or store
    entry = reader.resolve(source, names_with(reader, source, on_event))
    store.prepare()

    def link(*, still_named: bool) -> Entry:
        copy = replace(entry, name=target.full_name, linked=now)
        rule = Replace.ANYTHING if force else Replace.NOTHING
        return store.link_all(
            [copy], lambda old, new: check_replaceable(old, new, rule), still_named=still_named
        )[0]

    if reader.home_of(entry) is None:
        return link(still_named=True)
    with store.session(f"cp {target.full_name}") as session:
        bring(session, store, reader, blobs_of(reader, entry.descriptor), on_event)
        return link(still_named=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovedModels:
    """`missing` are the names that were not there, `elsewhere` those of a further store;
    `freed_bytes` what the removal gave back, `leased_bytes` what it will when the commands end that use it.
    """

    removed: tuple[str, ...]
    missing: tuple[str, ...]
    elsewhere: tuple[str, ...]
    freed_bytes: int
    leased_bytes: int


def remove_models(
    store: Store, names: Sequence[str], on_event: OnEvent = ignore, *, reader: StoreReader | None = None
) -> RemovedModels:
    """Remove all of `names` that exist, whatever is wrong with the others. Raises InvalidReference first."""
    refs = [parse_name(name) for name in names]
    table = names_of(store, on_event)
    further = reader.names() if reader is not None else table
    found: list[str] = []
    missing: list[str] = []
    elsewhere: list[str] = []
    for ref in refs:
        try:
            found.append(store.resolve(ref, table).name)
        except NotFound:
            there = further.find(ref.full_name) is not None and table.find(ref.full_name) is None
            (elsewhere if there else missing).append(ref.short_name)
    removed = store.unlink(found)
    return RemovedModels(
        removed=tuple(entry.name for entry in removed.entries),
        missing=tuple(missing),
        elsewhere=tuple(elsewhere),
        freed_bytes=removed.freed_bytes,
        leased_bytes=removed.leased_bytes,
    )
