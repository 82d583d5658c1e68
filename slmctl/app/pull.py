"""Pulling a model: ask what its name means now, fetch what is missing, link the name last.

    where it is -> remote -> documents -> variants -> which of them -> is there room -> blobs -> name

What was fetched before a failure stays for the next try. A name is moved only by pulls from the place that it
belongs to (`slmctl.app.upstream`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

from modelfiles.spec import ModelSpec
from registry.digest import Digest
from registry.errors import DigestMismatch, NotFound, SlmctlError
from registry.manifest import Descriptor
from registry.names import ModelRef, Source, parse_name, short_name
from registry.remotes.base import Artifact, FileRemote, Listing, Remote
from registry.remotes.mirrors import sources_of
from registry.store.index import Entry
from registry.store.store import Session, Store
from registry.transfer.pace import Pace
from slmctl.app.asked import places_asked
from slmctl.app.belonging import (
    check_keeps_made,
    check_made_here,
    check_may_move,
    check_name,
    is_of,
    tracks_of,
)
from slmctl.app.bringing import blobs_of
from slmctl.app.chooser import Chooser
from slmctl.app.coming import Coming, Work
from slmctl.app.events import Note, OnEvent, go_on, ignore
from slmctl.app.fetching import fetch
from slmctl.app.made_here import IMPORTED_HERE
from slmctl.app.package import Package
from slmctl.app.places import Places
from slmctl.app.pull_artifact import coming_artifact
from slmctl.app.pulled import Pulled as Pulled  # who pulls names it by that
from slmctl.app.pulled import as_it_is, check_room, outcome_of
from slmctl.app.upstream import public_source, tracked, tracks_to_keep
from slmctl.app.where import Asked, Where


@dataclass(frozen=True, slots=True, kw_only=True)
class PullRequest:
    """`where` is what is asked, and what the result is called; `variants` are ids or unambiguous parts of
    them, none for the usual one. `expected` is the digest that a lock file pins the name to, of a model with
    the variants `locked`; it may have been made with one of `other_specs`. With `dry_run` nothing is fetched
    but what tells how large the model is, and the store stays as it is. `picker` chooses where there are
    several builds and nobody named one; without it that is the usual one. `on_tick` is called several times a
    second while blobs come; what it raises ends the pull.
    """

    where: Where
    variants: tuple[str, ...] = ()
    all_variants: bool = False
    force: bool = False
    expected: Digest | None = None
    locked: frozenset[str] = frozenset()
    other_specs: tuple[ModelSpec, ...] = ()
    dry_run: bool = False
    pace: Pace = field(default_factory=Pace)
    picker: Chooser | None = None
    on_tick: Callable[[], None] = go_on


def pull(
    store: Store, places: Places, request: PullRequest, *, now: str, on_event: OnEvent = ignore
) -> Pulled:
    """Fetch a model and link its name.

    Raises NotFound, Unauthorized, Unreachable, BadContent, NameTaken, NoSpace, StoreUnusable, UsageError.
    """
    kept = frozenset() if request.force and request.variants else _kept(store, request)
    asked = places_asked(
        request.where, request.variants, request.locked or kept, all_variants=request.all_variants
    )
    if request.where.said:
        on_event(Note(text=request.where.said))
    check_name(store, request.where, [each.ref for each in asked], force=request.force)
    if request.dry_run:
        with tempfile.TemporaryDirectory(prefix="slmctl-") as folder:
            scratch = Store(Path(folder))
            with scratch.session("pull --dry-run") as session:
                work = Work(store=scratch, session=session)
                coming = _coming(work, places, request, asked, kept, on_event)
                check_name(store, request.where, coming.asked, coming.source, force=request.force)
                check_made_here(store, request.where, coming, force=request.force)
                return outcome_of(store, coming, request.where.name)
    purpose = f"pull {request.where.name.casefold()}"  # what a cut pull has left is that name's, in any case
    with store.session(purpose, resumable=True) as session:
        work = Work(store=store, session=session)
        for spec in (request.where.spec, *request.other_specs):
            where = replace(request.where, spec=spec)
            coming = _coming(work, places, replace(request, where=where), asked, kept, on_event)
            if request.expected is None or coming.root is None or coming.root.digest == request.expected:
                break
        check_name(store, request.where, coming.asked, coming.source, force=request.force)
        outcome = outcome_of(store, coming, request.where.name)
        made = check_made_here(store, request.where, coming, force=request.force)
        descriptor = _unpacked_before(store, session, coming, request, made)
        if descriptor is not None:
            outcome = replace(outcome, missing=0, changed=False)
        else:
            check_room(store, coming, outcome)
            assert coming.finish is not None
            if coming.root is not None:
                _check_digest(request, coming.root.digest)
            fetch(session, coming.wanted, request.pace, on_event, coming.labels, request.on_tick)
            descriptor = coming.finish(session)
        _check_digest(request, descriptor.digest)
        entry = Entry(
            name=request.where.name,
            descriptor=descriptor,
            source=coming.source,
            linked=now,
            tracks=()
            if request.where.is_bundle
            else tracks_to_keep(coming.source, tracks_of(request.where, coming.asked)),
            pins=coming.pins,
            claimed=request.where.is_bundle and coming.source != IMPORTED_HERE,
            made=made,
        )

        def check(old: Entry, new: Entry) -> None:
            check_may_move(old, new, request.where, force=request.force)
            check_keeps_made(old, new, force=request.force)

        linked = store.link_all([entry], check, keep_equal=request.where.is_bundle)[0]
        outcome = as_it_is(store, outcome, linked)  # while the session keeps it, whoever removes the name
    if coming.passing:
        store.free(coming.passing)
    return outcome


def _unpacked_before(
    store: Store, session: Session, coming: Coming, request: PullRequest, made: Sequence[str]
) -> Descriptor | None:
    """What the name points at, if that was unpacked from these very tars, which are gone and need not come
    again; or if it is this version with variants that were made here."""
    old = store.names().find(request.where.name)
    unpacked = coming.passing and not (request.variants and coming.others)
    if old is None or old.source != coming.source or not (unpacked or made):
        return None
    if old.claimed and not request.where.is_bundle:
        return None  # only the bundle says so
    with suppress(SlmctlError):
        session.keep(each.digest for each in blobs_of(store, old.descriptor))
        return old.descriptor
    return None


def _coming(
    work: Work,
    places: Places,
    request: PullRequest,
    asked: Sequence[Asked],
    kept: frozenset[str],
    on_event: OnEvent,
) -> Coming:
    remotes, found, refs = _resolved(places, request, asked, on_event)
    picker = None if kept or request.variants or request.all_variants or request.locked else request.picker
    if picker is not None and request.where.is_of_library and len(found) == 1:
        found, refs = _picked(picker, request, remotes[0], found[0], refs, on_event)
    first = found[0]
    if request.where.is_bundle and isinstance(first, Artifact):
        first = replace(first, pinned=public_source(first.pinned) or IMPORTED_HERE)
    wanted = () if request.where.is_of_library else request.variants
    if isinstance(first, Artifact):
        coming = coming_artifact(
            work,
            remotes[0],
            tuple(sources_of(remotes[0])),
            first,
            name=request.where.name,
            wanted=wanted,
            all_variants=request.all_variants,
            kept=kept,
            picker=picker,
            on_event=on_event,
        )
        return replace(coming, asked=refs)
    from slmctl.app.pull_hub import coming_hub  # with YAML and what tells the files of a repository apart

    listings = [
        (cast("FileRemote", remote), listing)
        for remote, listing in zip(remotes, found, strict=True)
        if isinstance(listing, Listing)
    ]
    coming = coming_hub(
        work.session,
        listings,
        spec=request.where.spec,
        wanted=wanted,
        all_variants=request.all_variants and not (request.where.is_of_library or request.locked),
        kept=request.locked or kept,
        picker=picker,
        dry_run=request.dry_run,
        on_event=on_event,
    )
    return replace(coming, asked=refs)


def _picked(
    picker: Chooser,
    request: PullRequest,
    remote: Remote,
    found: Artifact | Listing,
    refs: tuple[ModelRef, ...],
    on_event: OnEvent,
) -> tuple[list[Artifact | Listing], tuple[ModelRef, ...]]:
    """The library names one quantization of a repository that has more: the plan's one, where it is there."""
    if isinstance(found, Artifact) or request.where.facts is None or found.selector is None:
        return [found], refs
    listing = replace(found, selector=None)
    from slmctl.app.hub.repository import HubRepository  # with YAML
    from slmctl.app.planning.remote_builds import builds_of_repository

    repository = HubRepository(cast("FileRemote", remote), listing)
    known = builds_of_repository(
        repository,
        [each for each in repository.variants() if each.format == "gguf"],
        name=short_name(request.where.name),
        known=request.where.facts,
    )
    picked = picker.build(short_name(request.where.name), known.builds)
    if picked is None or picked.build.quantization is None:
        return [found], refs
    on_event(Note(text=picked.said))
    label = picked.build.quantization
    pinned = f"{found.pinned.removesuffix(f':{found.selector}')}:{label}"
    return [replace(found, selector=label, pinned=pinned)], (replace(refs[0], tag=label),)


def _resolved(
    places: Places, request: PullRequest, asked: Sequence[Asked], on_event: OnEvent
) -> tuple[list[Remote], list[Artifact | Listing], tuple[ModelRef, ...]]:
    """What the places have, and which those are. A bare name is looked for in one place after the other.

    Raises NotFound, of the first, when none has it; and as `Remote.resolve` does.
    """
    remotes = [places.remote_of(each.ref) for each in asked]
    try:
        found = [remote.resolve(_asked_there(each.ref)) for remote, each in zip(remotes, asked, strict=True)]
    except NotFound as error:
        for ref in request.where.further:
            on_event(Note(text=f"{error.message} Looking for {ref}."))
            with suppress(NotFound):
                remote = places.remote_of(ref)
                return [remote], [remote.resolve(ref)], (ref,)
        raise
    return remotes, found, tuple(each.ref for each in asked)


def _asked_there(ref: ModelRef) -> ModelRef:
    """What a remote is asked for: of a bundle the name behind its path."""
    if ref.source is not Source.FILE:
        return ref
    from slmctl.app.bundles import split_path  # with tars and all that bundles are

    _, name = split_path(ref.path)
    return ref if name is None else parse_name(name)


def _kept(store: Store, request: PullRequest) -> frozenset[str]:
    """The variants of an earlier version that are here: what is pulled again by itself."""
    with suppress(SlmctlError):
        entry = store.names().find(request.where.name)
        if entry is not None and is_of(request.where, tracked(entry)):
            here = (each.id for each in Package.of(store, entry).variants if each.local)
            return frozenset(here) - frozenset(entry.made)
    return frozenset()


def _check_digest(request: PullRequest, digest: Digest) -> None:
    asked = request.where.places[0].ref
    if asked.source is Source.HUGGINGFACE and asked.digest not in (None, digest):
        raise DigestMismatch(
            f"{short_name(request.where.name)} is {digest} there now, and {asked.digest} was asked for.",
            hint="Leave out the @sha256:... part to have what is there.",
        )
    if request.expected is not None and digest != request.expected:
        raise DigestMismatch(
            f"{short_name(request.where.name)} is {digest} where it comes from, and the lock file pins"
            f" {request.expected}.",
            hint="The model was changed there; write the lock anew with 'slmctl lock' if you want that.",
        )
