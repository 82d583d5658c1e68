"""Whose a name in the store is, and whether a pull may move it.

A name belongs to the places that it follows; only a pull from there, or one that is forced, gives it to
another model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from registry.errors import NameTaken
from registry.names import ModelRef, short_name
from registry.store.index import Entry
from registry.store.reader import StoreReader
from registry.store.store import Replace, check_replaceable
from slmctl.app.coming import Coming
from slmctl.app.made_here import IMPORTED_HERE
from slmctl.app.package import Package
from slmctl.app.upstream import are_same_places, is_same_repository, is_taken_over, place_of, tracked
from slmctl.app.where import Where


def is_of(where: Where, tracks: Sequence[ModelRef]) -> bool:
    """Whether a name that belongs to `tracks` is of the model that is asked for."""
    places = where.tracks or [place.ref for place in where.places]
    if where.is_of_library:  # each of its builds, of which it need not name every quantization
        return bool(tracks) and all(
            any(is_same_repository(place, track) for place in places) for track in tracks
        )
    return are_same_places(tracks, places)


def tracks_of(where: Where, asked: Sequence[ModelRef]) -> Sequence[ModelRef]:
    """The places that the name will belong to."""
    return where.tracks or asked


def check_name(
    store: StoreReader, where: Where, asked: Sequence[ModelRef], source: str | None = None, *, force: bool
) -> None:
    """Say that the name is taken before gigabytes are fetched; the linking decides. `source` is what was
    found there, None as long as nobody was asked."""
    old = store.names().find(where.name)
    if old is not None and not where.is_bundle:
        if not force and is_taken_over(old.source, source, asked):
            raise NameTaken(
                f"The repository of {short_name(old.name)} was renamed to {place_of(old.source)}, and another"
                " has its old name now.",
                hint="Pull it by its new name; add --force if you trust the one that took the old name.",
            )
        tracks = tuple(str(ref) for ref in tracks_of(where, asked))
        new = replace(old, source=tracks[0], tracks=tracks, claimed=False)
        check_may_move(old, new, where, force=force)


def check_may_move(old: Entry, new: Entry, where: Where, *, force: bool) -> None:
    """Raise NameTaken unless a pull from `where` may let `new` take the place of `old`."""
    if force:
        return
    if where.is_bundle:
        check_replaceable(old, new, Replace.SAME_SOURCE if new.source == IMPORTED_HERE else Replace.NOTHING)
        return
    claim = place_of(old.source) if old.claimed else None  # the user has named that place now
    before = tracked(old) if claim is None else (claim,)
    if before and (are_same_places(before, tracked(new)) or is_of(where, before)):
        return
    whose = " and ".join(map(str, before)) or old.source or "another tool"
    raise NameTaken(
        f"The name {short_name(old.name)} belongs to a model from {whose!r:.120}.",
        hint="Add --force to replace it, or choose another name with --as NAME.",
    )


def check_made_here(store: StoreReader, where: Where, coming: Coming, *, force: bool) -> tuple[str, ...]:
    """The variants that were made here of what is coming, which stay; none where there are none.

    Raises NameTaken where they would be lost: something else is coming than what they were made of.
    """
    old = store.names().find(where.name)
    if old is None or not old.made or force:
        return ()
    ids = {variant.id for variant in Package.of(store, old).variants if variant.local}
    is_known = not old.claimed and old.source != IMPORTED_HERE  # else nobody has seen what version it is
    if is_known and old.source == coming.source and ids >= set(coming.variants):
        return old.made
    raise _loses(old.name, old.made)


def check_keeps_made(old: Entry, new: Entry, *, force: bool) -> None:
    """Raise NameTaken where variants would be lost that were made while the model was fetched."""
    if not force and not set(old.made) <= set(new.made):
        raise _loses(old.name, old.made)


def _loses(full_name: str, made: Sequence[str]) -> NameTaken:
    name = short_name(full_name)
    return NameTaken(
        f"{name} has variants that were made here ({', '.join(made)}), and what would be pulled has not.",
        hint=f"Add --force to replace it without them, or pull beside it with --as; 'slmctl quantize {name}'"
        " makes them anew.",
    )
