"""Finding a model: by its name in the store or among those that come with slmctl, by its path in a bundle."""

from __future__ import annotations

from registry.names import ModelRef, Source
from registry.store.reader import StoreReader
from slmctl.app.events import OnEvent, ignore
from slmctl.app.listing import names_with
from slmctl.app.package import Package


def find_package(store: StoreReader, ref: ModelRef, on_event: OnEvent = ignore) -> Package:
    """As Package.open, with a note when the table of names is damaged.

    A model that comes with slmctl and is not in the store yet is packaged first.
    """
    return Package.open(store, ref, names_with(store, ref, on_event))


def locate(store: StoreReader, ref: ModelRef, on_event: OnEvent = ignore) -> tuple[StoreReader, Package]:
    """The package that `ref` names, and where its files are: the store, a further one, or the bundle
    at a path.

    Raises as `find_package` and `open_in_bundle` do.
    """
    if ref.source is not Source.FILE:
        names = names_with(store, ref, on_event)
        return store.reader_of(store.resolve(ref, names)), Package.open(store, ref, names)
    from slmctl.app.bundles import open_in_bundle  # few runs name a path

    return open_in_bundle(ref, store.layout.cache)
