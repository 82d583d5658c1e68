"""Lost bytes from where they were pulled: the source that `verify --repair` asks last."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import BinaryIO

from registry.digest import Digest
from registry.errors import NotFound, SlmctlError
from registry.manifest import MAX_MANIFEST_BYTES, Descriptor
from registry.names import ModelRef, parse
from registry.remotes.base import Artifact, Blob, Listing, Remote
from registry.remotes.streaming import PieceStream
from registry.store.index import Entry
from registry.store.needs import Root, Walker
from registry.store.reader import StoreReader
from registry.store.repair import Found
from slmctl.app.events import Note, OnEvent
from slmctl.app.upstream import place_of, tracked


class FromRemotes:
    """The places that the names which need a blob were pulled from, at what they are pinned to; then those
    that the names belong to, as they are now.

    Each place is asked once; one that cannot be reached is said, once, and asked no more. Where a bundle only
    says that its model is from some place, nobody is asked: that is said too.
    """

    def __init__(
        self, store: StoreReader, remote_of: Callable[[ModelRef], Remote], on_event: OnEvent
    ) -> None:
        self._store = store
        self._remote_of = remote_of
        self._on_event = on_event
        self._resolved: dict[str, tuple[Remote, Artifact | Listing] | None] = {}
        self._claims_told: set[str] = set()

    def find(self, wanted: Descriptor) -> Found | None:
        for entry in self._names_that_need(wanted.digest):
            for source in dict.fromkeys([entry.source or "", *entry.pins, *entry.tracks]):
                there = self._resolve(entry.name, source)
                if there is None:
                    continue
                remote, found = there
                with suppress(NotFound):
                    stream = _open(remote, found, wanted)
                    if stream is not None:
                        return Found(stream=stream, shown=remote.shown)
        return None

    def _names_that_need(self, digest: Digest) -> Iterator[Entry]:
        """Also those whose manifests are lost, so that nobody knows what they need."""
        entries = [entry for entry in self._store.names().entries.values() if place_of(entry.source)]
        walker = Walker(self._store)
        for entry in entries:
            needs = walker.needs_of([Root(name=entry.name, descriptor=entry.descriptor, may_be_sparse=True)])
            if digest not in needs.blobs and not needs.unread:
                continue
            if tracked(entry):
                yield entry
            elif entry.name not in self._claims_told:
                self._claims_told.add(entry.name)
                place = place_of(entry.source)
                text = f"{entry.name} is out of a bundle that says it came from {place}, which was not asked."
                self._on_event(Note(text=f"{text} If you trust it: slmctl pull {place} --as {entry.name}"))

    def _resolve(self, name: str, source: str) -> tuple[Remote, Artifact | Listing] | None:
        if source not in self._resolved:
            self._resolved[source] = None
            try:
                ref = parse(source)
                remote = self._remote_of(ref)
                self._resolved[source] = remote, remote.resolve(ref)
            except SlmctlError as error:
                self._on_event(Note(text=f"{name} cannot be asked for again: {error.message}"))
        return self._resolved[source]


def _open(remote: Remote, found: Artifact | Listing, wanted: Descriptor) -> BinaryIO | None:
    if isinstance(found, Listing):
        return _open_file(remote, found, wanted)
    if found.root.digest == wanted.digest:
        return io.BytesIO(found.document.raw)
    try:
        return _stream(remote, Blob(digest=wanted.digest, size=wanted.size))
    except NotFound:
        if wanted.size > MAX_MANIFEST_BYTES:
            raise
        return io.BytesIO(remote.manifest(wanted).raw)  # it may be one of the index


def _open_file(remote: Remote, listing: Listing, wanted: Descriptor) -> BinaryIO | None:
    """A large file is known by its digest; of small ones each that has the size is looked at."""
    for file in listing.files:
        blob = Blob(digest=wanted.digest, size=wanted.size, location=file.path)
        if file.sha256 == wanted.digest:
            return _stream(remote, blob)
        if file.sha256 is None and file.size == wanted.size <= MAX_MANIFEST_BYTES:
            with _stream(remote, blob) as stream:
                data = stream.read(wanted.size)
            if Digest.of(data) == wanted.digest:
                return io.BytesIO(data)
    return None


def _stream(remote: Remote, blob: Blob) -> BinaryIO:
    body = remote.open(blob, 0, blob.size)
    return io.BufferedReader(PieceStream(iter(body), lambda: body.__exit__(None, None, None)))
