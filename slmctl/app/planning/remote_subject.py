"""The builds behind a name that is neither in the store nor in the library: its place is asked."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import cast

from registry.errors import DoesNotFit, NotFound
from registry.names import DEFAULT_TAG, ModelRef, Source
from registry.remotes.base import Artifact, FileRemote
from registry.store.reader import StoreReader
from slmctl.app.events import Note, OnEvent
from slmctl.app.hub.repository import HubRepository
from slmctl.app.places import Places
from slmctl.app.planning.remote_builds import builds_of_repository
from slmctl.app.planning.subject import Subject, of_remote_variants
from slmctl.app.tags import of_artifact
from slmctl.app.where import where_is


def of_place(places: Places, ref: ModelRef, reader: StoreReader, on_event: OnEvent) -> Subject:
    """What `ref` names there: documents and headers are read, no weights. Raises as `Remote.resolve` does."""
    where = where_is(ref, reader.names(), search=places.network.settings.search, force=True)
    if where.said:
        on_event(Note(text=where.said))
    first, *others = (where.places[0].ref, *where.further)
    try:
        return _asked(places, first, ref.short_name)
    except NotFound:
        for other in others:
            with suppress(NotFound):
                return _asked(places, other, ref.short_name)
        raise


def _asked(places: Places, ref: ModelRef, name: str) -> Subject:
    remote = places.remote_of(ref)
    if ref.source is Source.OCI and ref.tag is None and ref.digest is None:
        ref = replace(ref, tag=DEFAULT_TAG)
    found = remote.resolve(ref)
    if isinstance(found, Artifact):
        return of_remote_variants(name, found.pinned, of_artifact(remote, found, ref, with_facts=True))
    repository = HubRepository(cast("FileRemote", remote), found)
    variants = repository.variants()
    if found.selector is not None:
        variants = [repository.choose().variant]
    known = builds_of_repository(repository, variants, name=name)
    if not known.builds:
        raise DoesNotFit(
            f"Nothing is known of the builds in hf.co/{repository.name}.",
            hint="'slmctl tags' lists them, and says what is wrong with which.",
        )
    return Subject(
        name=name,
        builds=known.builds,
        origin=found.pinned,
        at_hand=known.heads,
        fetched_bytes=known.fetched_bytes,
        requests=known.requests,
    )
