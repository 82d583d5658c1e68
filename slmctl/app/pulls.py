"""What is to be pulled: a name, what a lock file pins, or everything that was pulled before."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from modelfiles.spec import ModelSpec, merge
from registry.errors import BadContent, NameTaken, NotFound, SlmctlError, UsageError
from registry.names import ModelRef, Source, parse, parse_name
from registry.store.index import Entry, NameTable
from registry.store.reader import StoreReader
from slmctl.app.made_here import CREATED_HERE, SHIPPED_HERE
from slmctl.app.outdated import pulled_names
from slmctl.app.package import Package
from slmctl.app.pull import PullRequest
from slmctl.app.ships import is_shipped
from slmctl.app.upstream import is_same_repository, place_of, tracked
from slmctl.app.where import Asked, Sized, Where, spec_for, specs_of, where_is

if TYPE_CHECKING:
    from slmctl.app.lockfile import Lock, LockedModel

_NO_BUNDLE = (
    "What 'slmctl export' wrote is pulled; of a model's file make one: slmctl create NAME --from FILE"
)


def by_name(
    store: StoreReader,
    ref: ModelRef,
    *,
    search: Sequence[str],
    name: ModelRef | None = None,
    force: bool = False,
    variants: tuple[str, ...] = (),
    sized: Sized | None = None,
) -> PullRequest:
    """The pull of what `ref` names, under its own name or `name`; `sized` as for `where_is`, which raises."""
    if ref.source is Source.FILE:
        return PullRequest(where=_in_bundle(ref, name), force=force, variants=variants)
    where = where_is(ref, store.names(), search=search, force=force or name is not None, sized=sized)
    if name is not None:
        where = replace(where, name=name.full_name, before=())
    return PullRequest(where=where, force=force, variants=variants)


def nothing_to_pull(names: NameTable, ref: ModelRef, *, search: Sequence[str]) -> str | None:
    """Why a pull of a model that is here, or comes with slmctl, has nobody to ask, in words that follow its
    name; None where it has somebody, or the model is not here."""
    entry = names.find(ref.full_name)
    if entry is None:
        return "came with slmctl" if is_shipped(ref) else None
    if tracked(entry):
        return None
    if (place := place_of(entry.source)) is not None:
        try:
            where_is(ref, names, search=search)
        except NameTaken:
            return f"is out of a bundle, which says that it came from {place}"
        return None
    if entry.source == SHIPPED_HERE:
        return "came with slmctl"
    return (
        "was made here" if entry.source == CREATED_HERE else f"is from {entry.source or 'another tool'!r:.80}"
    )


def _in_bundle(ref: ModelRef, name: ModelRef | None) -> Where:
    """The model of a bundle, or the one that is named behind its path."""
    from registry.remotes.local import open_local  # with tars and all that bundles are
    from slmctl.app.bundles import split_path

    path, inside = split_path(ref.path)
    if inside is None:
        try:
            names = open_local(path).tags()
        except BadContent as error:
            error.hint = error.hint or _NO_BUNDLE
            raise
        if len(names) != 1:
            raise UsageError(
                f"There are {len(names)} models in {str(path)!r:.120}.",
                hint=f"Name one behind a colon ({', '.join(names[:5])}), or take all of them: slmctl import",
            )
        inside = names[0]
    found = parse_name(inside)
    place = replace(ref, path=f"{path}:{found.full_name}")
    return Where(name=(name or found).full_name, places=(Asked(ref=place),), is_bundle=True)


def everything(store: StoreReader) -> list[PullRequest]:
    """The pull of each name that was pulled before, as its place has it now."""
    return [
        PullRequest(where=_again(store, entry, places))
        for entry, places in pulled_names(store.names().entries.values())
    ]


def _again(store: StoreReader, entry: Entry, places: Sequence[ModelRef]) -> Where:
    """What a name means now. Under another name than the library's, what its author adds is added again."""
    where = _at(entry.name, places)
    if where.spec != ModelSpec():
        return where
    with suppress(SlmctlError):
        spec = Package.of(store, entry).variants[0].spec
        added = next((each for each in specs_of(places) if merge(spec, each) == spec), ModelSpec())
        return replace(where, spec=added)
    return where


def of_lock(store: StoreReader, lock: Lock, names: Iterable[ModelRef]) -> list[PullRequest]:
    """The pulls of what a lock file pins, or of `names` in it. A name goes on belonging to the places that it
    was pulled from. Raises NotFound for what it does not pin, or pins without a place to pull it from."""
    wanted = {ref.full_name.casefold(): ref for ref in names}
    models = [model for model in lock.models if not wanted or model.name.casefold() in wanted]
    known = {model.name.casefold() for model in models}
    for key, ref in wanted.items():
        if key not in known:
            raise NotFound(
                f"The lock file pins no model {ref.short_name}.", hint="'slmctl lock' writes one that does."
            )
    table = store.names()
    return [_pinned(model, table.find(model.name)) for model in models]


def _pinned(model: LockedModel, entry: Entry | None) -> PullRequest:
    if not model.sources:
        raise NotFound(
            f"The lock file says of no place that has {model.name}.",
            hint="Carry it there in a bundle: slmctl export, slmctl import.",
        )
    # a file permits no plain HTTP: the user does
    sources = [replace(parse(source), plain_http=False) for source in model.sources]
    places = tuple(place_of(str(source)) or source for source in sources)
    before = tracked(entry) if entry is not None else ()
    goes_on = before and all(any(is_same_repository(place, each) for each in before) for place in places)
    where = replace(_at(model.name, sources), tracks=before if goes_on else places)
    locked = frozenset(variant.id for variant in model.variants)
    others = (ModelSpec(), *specs_of(places))
    return PullRequest(where=where, expected=model.digest, locked=locked, other_specs=others)


def _at(name: str, places: Sequence[ModelRef]) -> Where:
    asked = tuple(Asked(ref=place) for place in places)
    return Where(name=name, places=asked, before=asked, spec=spec_for(parse_name(name), places))
