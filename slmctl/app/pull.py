"""Pulling a model: ask what its name means now, fetch what is missing, link the name last.

    where it is -> remote -> documents -> variants -> which of them -> is there room -> blobs -> name

What was fetched before a failure stays for the next try. A name is moved only by pulls from the place that it
belongs to (`slmctl.app.upstream`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

from registry.digest import Digest
from registry.errors import DigestMismatch, NameTaken, SlmctlError, UsageError
from registry.names import ModelRef, Source, parse_name, short_name
from registry.remotes.base import Artifact, FileRemote, Listing
from registry.remotes.mirrors import sources_of
from registry.store.index import Entry
from registry.store.room import free_bytes
from registry.store.store import Replace, Store, check_replaceable
from registry.transfer.pace import Pace
from registry.transfer.space import check_space, needed
from slmctl.app.bundles import split_path
from slmctl.app.coming import Coming, Work
from slmctl.app.events import Note, OnEvent, ignore
from slmctl.app.exporting import public_source
from slmctl.app.fetching import fetch
from slmctl.app.importing import IMPORTED_HERE
from slmctl.app.package import Package
from slmctl.app.places import Places
from slmctl.app.pull_artifact import coming_artifact
from slmctl.app.pull_hub import coming_hub
from slmctl.app.upstream import is_same_place
from slmctl.app.where import Asked, Where


@dataclass(frozen=True, slots=True, kw_only=True)
class PullRequest:
    """`where` is what is asked, and what the result is called; `variants` are ids or unambiguous parts of
    them, none for the usual one. `expected` is the digest that a lock file pins the name to. With `dry_run`
    nothing is fetched but what tells how large the model is, and the store stays as it is.
    """

    where: Where
    variants: tuple[str, ...] = ()
    all_variants: bool = False
    force: bool = False
    expected: Digest | None = None
    dry_run: bool = False
    pace: Pace = field(default_factory=Pace)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulled:
    """What a pull brought, or would bring.

    Sizes are in bytes: `size` of the chosen variants, `missing` of what of them was not in the store, `free`
    of what the store's disk had left. `digest` is None in a dry run of a model that is only made on arrival.
    `changed` is False where the name stood so already, with all of it.
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


def pull(
    store: Store, places: Places, request: PullRequest, *, now: str, on_event: OnEvent = ignore
) -> Pulled:
    """Fetch a model and link its name.

    Raises NotFound, Unauthorized, Unreachable, BadContent, NameTaken, NoSpace, StoreUnusable, UsageError.
    """
    if request.where.said:
        on_event(Note(text=request.where.said))
    asked = _asked(request)
    _check_name(store, request, str(asked[0].ref))
    if request.dry_run:
        with tempfile.TemporaryDirectory(prefix="slmctl-") as folder:
            scratch = Store(Path(folder))
            with scratch.session("pull --dry-run") as session:
                coming = _coming(Work(store=scratch, session=session), places, request, asked, on_event)
                return _outcome(store, coming, request)
    with store.session(f"pull {request.where.name}", resumable=True) as session:
        coming = _coming(Work(store=store, session=session), places, request, asked, on_event)
        _check_name(store, request, coming.source)
        outcome = _outcome(store, coming, request)
        check_space(store, [each.blob for each in coming.wanted])
        assert coming.finish is not None
        if coming.root is not None:
            _check_digest(request, coming.root.digest)
        fetch(session, coming.wanted, request.pace, on_event, coming.labels)
        descriptor = coming.finish(session)
        _check_digest(request, descriptor.digest)
        entry = Entry(name=request.where.name, descriptor=descriptor, source=coming.source, linked=now)
        linked = store.link_all(
            [entry],
            lambda old, new: _check_replaceable(old, new, request),
            keep_equal=request.where.is_bundle,
        )[0]
    if coming.passing:
        store.free(coming.passing)
    return replace(outcome, digest=linked.descriptor.digest)


def _coming(
    work: Work, places: Places, request: PullRequest, asked: Sequence[Asked], on_event: OnEvent
) -> Coming:
    remotes = [places.remote_of(each.ref) for each in asked]
    found = [remote.resolve(_asked_there(each.ref)) for remote, each in zip(remotes, asked, strict=True)]
    first = found[0]
    if request.where.is_bundle and isinstance(first, Artifact):
        first = replace(first, pinned=public_source(first.pinned) or IMPORTED_HERE)
    wanted = request.variants if len(request.where.places) == 1 else ()
    if isinstance(first, Artifact):
        return coming_artifact(
            work,
            remotes[0],
            tuple(sources_of(remotes[0])),
            first,
            name=request.where.name,
            wanted=wanted,
            all_variants=request.all_variants,
            kept=_kept(work.store, request),
            on_event=on_event,
        )
    listings = [
        (cast("FileRemote", remote), listing)
        for remote, listing in zip(remotes, found, strict=True)
        if isinstance(listing, Listing)
    ]
    return coming_hub(
        work.session,
        listings,
        spec=request.where.spec,
        wanted=wanted,
        all_variants=request.all_variants and len(request.where.places) == 1,
        kept=_kept(work.store, request),
        dry_run=request.dry_run,
        on_event=on_event,
    )


def _asked_there(ref: ModelRef) -> ModelRef:
    """What a remote is asked for: of a bundle the name behind its path."""
    if ref.source is not Source.FILE:
        return ref
    _, name = split_path(ref.path)
    return ref if name is None else parse_name(name)


def _kept(store: Store, request: PullRequest) -> frozenset[str]:
    """The variants of an earlier version that are here: what is pulled again by itself."""
    with suppress(SlmctlError):
        entry = store.names().find(request.where.name)
        if entry is not None and is_same_place(entry.source, str(request.where.places[0].ref)):
            return frozenset(each.id for each in Package.of(store, entry).variants if each.local)
    return frozenset()


def _asked(request: PullRequest) -> Sequence[Asked]:
    """Which of several places are asked: those that the variants name, else the usual one."""
    where = request.where
    if len(where.places) == 1 or request.all_variants:
        return where.places
    chosen: list[Asked] = []
    for wanted in request.variants:
        found = [place for place in where.places if wanted.lower() in _guessed_id(place)]
        exact = [place for place in found if wanted.lower() in (_guessed_id(place), place.format)]
        found = exact[:1] or found
        if not found and where.places[0].format == "gguf":  # a quantization that the library does not name
            found = [replace(where.places[0], ref=replace(where.places[0].ref, tag=wanted))]
        if len(found) > 1:
            ids = ", ".join(_guessed_id(place) for place in where.places)
            raise UsageError(f"More than one build fits {wanted!r:.60}.", hint=f"The library has {ids}.")
        chosen += [place for place in found if place not in chosen]
    return chosen or where.places[:1]


def _guessed_id(place: Asked) -> str:
    return f"{place.format}-{place.ref.tag or ''}".lower().rstrip("-")


def _check_name(store: Store, request: PullRequest, source: str) -> None:
    """Say that the name is taken before gigabytes are fetched; the linking decides."""
    old = store.names().find(request.where.name)
    if old is not None and not request.where.is_bundle:
        _check_replaceable(old, replace(old, source=source), request)


def _check_replaceable(old: Entry, new: Entry, request: PullRequest) -> None:
    if request.force:
        return
    if request.where.is_bundle:
        check_replaceable(old, new, Replace.SAME_SOURCE if new.source == IMPORTED_HERE else Replace.NOTHING)
        return
    if is_same_place(old.source, new.source):
        return
    raise NameTaken(
        f"The name {short_name(old.name)} belongs to a model from {old.source or 'another tool'!r:.120}.",
        hint="Add --force to replace it, or choose another name with --as NAME.",
    )


def _check_digest(request: PullRequest, digest: Digest) -> None:
    if request.expected is not None and digest != request.expected:
        raise DigestMismatch(
            f"{short_name(request.where.name)} is {digest} where it comes from, and the lock file pins"
            f" {request.expected}.",
            hint="The model was changed there; write the lock anew with 'slmctl lock' if you want that.",
        )


def _outcome(store: Store, coming: Coming, request: PullRequest) -> Pulled:
    missing = needed(store, [each.blob for each in coming.wanted])
    old = store.names().find(request.where.name)
    digest = coming.root.digest if coming.root is not None else None
    stands = old is not None and old.descriptor.digest == digest and not missing
    folder = next(path for path in (store.root, *store.root.absolute().parents) if path.is_dir())
    return Pulled(
        name=request.where.name,
        source=coming.source,
        digest=digest,
        variants=coming.variants,
        others=coming.others,
        size=coming.size,
        missing=missing,
        free=free_bytes(folder),
        changed=not stands,
    )
