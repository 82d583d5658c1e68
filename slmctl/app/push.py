"""Pushing a model: blobs first, then what names them, the model's own tag last.

What the registry has already is not sent. Of a sparse model what is missing is pulled first, unless only
variants that are here are pushed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import BinaryIO

from registry.digest import Digest
from registry.errors import BadContent, NotFound, OperationFailed, StoreUnusable, UsageError
from registry.manifest import Manifest
from registry.names import DEFAULT_TAG, ModelRef, Source, parse, short_name
from registry.remotes.base import Blob, PushRemote
from registry.remotes.repository import repository_of
from registry.store.index import Entry
from registry.store.reader import StoreReader
from registry.store.store import Store
from registry.transfer.pace import Pace
from registry.transfer.upload import check_limits, upload
from slmctl.app.dialects.base_image import BaseImage, check_base, read_base
from slmctl.app.dialects.outgoing import Collector, Outgoing, tag_plan
from slmctl.app.dialects.writing import write
from slmctl.app.events import Note, OnEvent, ignore
from slmctl.app.fetching import Counts
from slmctl.app.package import Package
from slmctl.app.places import Places
from slmctl.app.pull import PullRequest, pull
from slmctl.app.upstream import place_of, tracked
from slmctl.app.where import Asked, Where


@dataclass(frozen=True, slots=True, kw_only=True)
class PushRequest:
    """`entry` is the model, `destination` where it goes. `format` is one of `writing.FORMATS`, None for the
    one it has; `base` is the image below, for the format image; `variants` are those that go along, none for
    all; `variant_tags` puts each of several under a tag of its own too."""

    entry: Entry
    destination: ModelRef
    format: str | None = None
    base: ModelRef | None = None
    variants: tuple[str, ...] = ()
    variant_tags: bool = True
    pace: Pace = field(default_factory=Pace)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """What stands in the registry now: `reference` is pinned, `tags` are all that name it or a variant of it;
    `base` is the image below, pinned too.

    Sizes are in bytes: of all blobs, and of those that had to be sent.
    """

    reference: str
    digest: Digest
    tags: tuple[str, ...]
    variants: tuple[str, ...]
    base: str | None
    size: int
    sent: int
    notes: tuple[str, ...]


def destination_of(entry_name: str, destination: ModelRef | None) -> ModelRef:
    """Where a model goes: as it is said, else where its name says. Raises UsageError."""
    ref = destination or parse(entry_name)
    if ref.source is not Source.OCI:
        raise UsageError(
            f"{str(ref)!r:.120} names no registry to push to.",
            hint=f"Say where it goes: slmctl push {short_name(entry_name)} HOST/PATH:TAG",
        )
    if ref.digest is not None:
        raise UsageError("A push goes to a tag, not to a digest.", hint="Leave out the @sha256:... part.")
    return ref


def push(
    store: Store,
    reader: StoreReader,
    places: Places,
    request: PushRequest,
    *,
    now: str,
    on_event: OnEvent = ignore,
) -> Pushed:
    """Send a model to an OCI registry. `reader` is where the model is, `store` the user's own.

    Raises NotFound, Unauthorized, Unreachable, BadContent, DoesNotFit, UsageError, TooLarge.
    """
    entry = request.entry
    base = _base(places, request)
    outgoing = _written(reader, request, base, on_event)
    if outgoing.missing(reader):
        _complete(store, reader, places, entry, now, on_event)
        entry = reader.names().entries.get(entry.name, entry)
        outgoing = _written(reader, replace(request, entry=entry), base, on_event)
        if lost := outgoing.missing(reader):
            raise NotFound(
                f"The blob {lost[0]} of {entry.name} is not in the store.",
                hint="'slmctl verify --repair' fetches what is lost.",
            )
    for text in outgoing.notes:
        on_event(Note(text=text))
    about = _about(reader, outgoing)
    ref = request.destination
    plan = tag_plan(outgoing, ref.tag or DEFAULT_TAG, variant_tags=request.variant_tags)
    remote = places.push_remote_of(ref)
    sent = {each.blob.digest: each for each in (*about.blobs.values(), *outgoing.blobs)}
    blobs = [each.blob for each in sent.values()]
    check_limits(remote, blobs, [each.document.raw for each in plan])
    openers = {digest: each.open_at for digest, each in sent.items()}

    def open_blob(blob: Blob, offset: int) -> BinaryIO:
        return openers[blob.digest](offset)

    files = [file for variant in Package.of(reader, entry).variants for file in variant.files]
    counts = Counts("push", blobs, {file.digest: file.path for file in files}, on_event)
    with _kept(store, entry.name, [blob.digest for blob in blobs]):
        upload(open_blob, remote, blobs, request.pace, counts, mounts=_mounts(request, base, blobs))
        for each in plan:
            for reference in each.references:
                remote.put_manifest(each.document.raw, each.document.media_type, reference)
        _put_about(remote, about, on_event)
    scheme = "http" if ref.plain_http else "oci"
    return Pushed(
        reference=f"{scheme}://{ref.host}/{ref.path}:{ref.tag or DEFAULT_TAG}@{outgoing.root}",
        digest=outgoing.root,
        tags=tuple(tag for each in plan for tag in each.references if not tag.startswith("sha256:")),
        variants=tuple(outgoing.variants),
        base=base.pinned if base else None,
        size=sum(blob.size for blob in blobs),
        sent=counts.moved,
        notes=outgoing.notes,
    )


def _about(reader: StoreReader, outgoing: Outgoing) -> Collector:
    """What is whole here and refers to one of the manifests that are sent, as they are sent."""
    about = Collector(reader)
    subjects = {document.digest for document in outgoing.documents}
    for each in reader.names().referrers:
        if each.subject not in subjects:
            continue
        with suppress(BadContent, NotFound):
            manifest = reader.manifest(each.descriptor)
            if isinstance(manifest, Manifest) and all(reader.has(blob.digest) for blob in manifest.blobs):
                for blob in manifest.blobs:
                    about.stored(blob)
                about.document(manifest.raw, manifest.media_type)
    return about


def _put_about(remote: PushRemote, about: Collector, on_event: OnEvent) -> None:
    """Put what refers to the model, which stands there by now: a registry that takes none of it has the
    model all the same."""
    for document in about.documents.values():
        try:
            remote.put_manifest(document.raw, document.media_type, str(document.digest))
        except (OperationFailed, UsageError) as error:
            on_event(Note(text=f"What was measured of the model stays here: {error.message}"))


def _base(places: Places, request: PushRequest) -> BaseImage | None:
    """The image below, which is asked for first: nothing is read or sent if it does not fit."""
    if request.base is None:
        return None
    if request.format != "image":
        raise UsageError("--base says what lies below an image.", hint="Add --format image, or leave it out.")
    check_base(request.base)
    return read_base(places.remote_of(request.base), request.base)


def _written(
    reader: StoreReader, request: PushRequest, base: BaseImage | None, on_event: OnEvent
) -> Outgoing:
    return write(
        reader, request.entry, request.format, variants=request.variants, base=base, on_event=on_event
    )


def _complete(
    store: Store, reader: StoreReader, places: Places, entry: Entry, now: str, on_event: OnEvent
) -> None:
    """Pull what a sparse model lacks, at the version that is here. Raises NotFound where nobody has it."""
    tracks = tracked(entry)
    if not tracks or entry.source is None or reader.home_of(entry) is not None:
        raise NotFound(
            f"Not all variants of {entry.name} are in the store.",
            hint="Push those that are with --variant ID; 'slmctl show' lists them.",
        )
    on_event(Note(text=f"Pulling what is missing of {entry.name} from {tracks[0]} first."))
    where = Where(name=entry.name, places=(Asked(ref=parse(entry.source)),), tracks=tracks)
    request = PullRequest(
        where=where,
        all_variants=True,
        expected=entry.descriptor.digest,
        locked=frozenset(variant.id for variant in Package.of(reader, entry).variants),
    )
    pull(store, places, request, now=entry.linked or now, on_event=on_event)


@contextmanager
def _kept(store: Store, name: str, digests: Sequence[Digest]) -> Iterator[None]:
    """Hold a lease on what is sent, as far as it lies in a store that can be written."""
    try:
        held = store.session(f"push {name}")
        session = held.__enter__()
    except StoreUnusable:
        yield
        return
    try:
        session.keep([digest for digest in digests if store.has(digest)])
        yield
    finally:
        held.__exit__(None, None, None)


def _mounts(
    request: PushRequest, base: BaseImage | None, blobs: Sequence[Blob]
) -> Mapping[Digest, Sequence[str]]:
    """The repositories of the same registry that the model and its base came from: they have the blobs."""
    mounts: dict[Digest, Sequence[str]] = {}
    target = repository_of(request.destination, plain_http=False)

    def mount(place: ModelRef | None, digests: Iterable[Digest]) -> None:
        if place is None or place.source is not Source.OCI:
            return
        other = repository_of(place, plain_http=False)
        if other.host == target.host and other.path != target.path:
            mounts.update(dict.fromkeys(digests, (other.path,)))

    mount(place_of(request.entry.source), [blob.digest for blob in blobs])
    if base is not None:
        mount(request.base, (layer.digest for build in base.builds.values() for layer in build.layers))
    return mounts
