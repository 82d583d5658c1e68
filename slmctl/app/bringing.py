"""Copying blobs from a further store into the user's own, whose names must not point at bytes elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterable

from registry.errors import DigestMismatch
from registry.manifest import Descriptor
from registry.store.ingest import SourceFile
from registry.store.needs import Root, Walker
from registry.store.reader import StoreReader
from registry.store.store import Session, Store
from slmctl.app.events import ByteCounter, OnEvent


def bring(
    session: Session, store: Store, reader: StoreReader, wanted: Iterable[Descriptor], on_event: OnEvent
) -> None:
    """Have `wanted` in `store`, by reflink or one copy of what `reader` has. What is here already is kept.

    Raises NotFound, BadContent, NoSpace, StoreUnusable.
    """
    for descriptor in wanted:
        if store.has(descriptor.digest):
            session.keep([descriptor.digest])
            continue
        item = descriptor.digest.short
        progress = ByteCounter(on_event, stage="copy", item=item, total=descriptor.size)
        with reader.open_file(descriptor) as stream:
            path = reader.layout.blob(descriptor.digest)
            with SourceFile(path, os.dup(stream.fileno())) as source:
                digest = session.take(source, check=lambda _: None, progress=progress)
        if digest != descriptor.digest:
            raise DigestMismatch(
                f"The blob {descriptor.digest} in {path.parent} is damaged: its bytes have another digest.",
                hint="'slmctl verify PATH' says what else is damaged in a store.",
            )


def blobs_of(reader: StoreReader, descriptor: Descriptor) -> list[Descriptor]:
    """All blobs behind a manifest or an index that `reader` has, without those that were not pulled."""
    needs = Walker(reader).needs_of([Root(name="", descriptor=descriptor, may_be_sparse=True)])
    return [need.descriptor for need in needs.blobs.values() if not need.optional or reader.has(need.digest)]
