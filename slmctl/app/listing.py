"""Listing what is in the store; imports little, because `slmctl list` must start fast."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from registry.digest import Digest
from registry.errors import BadContent, NotFound, StoreUnusable
from registry.names import ModelRef
from registry.store.index import Entry, NameTable
from registry.store.reader import StoreReader
from slmctl.app.events import Note, OnEvent, ignore
from slmctl.app.summaries import Summaries


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A row of `list`. `size` is in bytes; `problem` says why size and variants are unknown,
    `store` which further store it is in; None is the own one."""

    name: str
    digest: Digest
    size: int | None
    variants: tuple[str, ...]
    source: str | None
    modified: str | None
    problem: str | None = None
    store: Path | None = None


def names_of(store: StoreReader, on_event: OnEvent = ignore) -> NameTable:
    """The table of names, with a note when it had to be answered from the previous generation."""
    names = store.names()
    for text in store.complaints:
        on_event(Note(text=text))
    if names.generation == "previous":
        on_event(Note(text=f"{store.layout.index} is damaged; this is from the generation before it."))
    return names


def names_with(store: StoreReader, ref: ModelRef, on_event: OnEvent) -> NameTable:
    """The table of names, with `ref` in it where slmctl itself brings that model."""
    names = names_of(store, on_event)
    if names.find(ref.full_name) is not None:
        return names
    from slmctl.app.shipped import package_shipped  # it makes models, and so needs this module

    return store.names() if package_shipped(store, ref, on_event) else names


def list_models(store: StoreReader, prefix: str = "", on_event: OnEvent = ignore) -> list[Listed]:
    """All models whose name begins with `prefix` in any case, by name.

    Reads at most one manifest per model and variant; a model whose manifest is damaged is listed too.
    """
    names = names_of(store, on_event)
    wanted = prefix.casefold()
    entries = [entry for name, entry in names.entries.items() if name.casefold().startswith(wanted)]
    summaries = Summaries(store)
    models = [
        _listed(summaries, entry, store.home_of(entry))
        for entry in sorted(entries, key=lambda entry: entry.name)
    ]
    summaries.save(names)
    return models


def _listed(summaries: Summaries, entry: Entry, home: Path | None) -> Listed:
    problem = None
    variants: tuple[str, ...] = ()
    size: int | None = None
    try:
        variants, size = summaries.of(entry.descriptor)
    except (BadContent, NotFound, StoreUnusable) as error:
        problem = error.message
    return Listed(
        name=entry.name,
        digest=entry.descriptor.digest,
        size=size,
        variants=variants,
        source=entry.source,
        modified=entry.linked,
        problem=problem,
        store=home,
    )
