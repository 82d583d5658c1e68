"""Which of the places that have builds of a model are asked."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from registry.errors import UsageError
from slmctl.app.upstream import is_same_place
from slmctl.app.where import Asked, Where


def places_asked(
    where: Where, variants: Sequence[str], kept: Collection[str], *, all_variants: bool
) -> Sequence[Asked]:
    """In their order, so that the same builds are the same model: those that were asked before or have the
    ids in `kept`, and those that `variants` name; else the usual one.

    Raises UsageError for what fits no build, or several.
    """
    if all_variants and variants:
        raise UsageError("--variant and --all-variants exclude each other.", hint="Give one of the two.")
    if where.before and not (variants or all_variants):
        return where.before
    if all_variants or not where.is_of_library:
        return where.places
    again = [place for place in where.places if any(_may_be(where, place, each) for each in kept)]
    if not variants:
        return again or where.places[:1]
    before = [_known(where, place) for place in where.before] if kept else []
    tags = {(place.ref.tag or "").lower() for place in before}
    others = [place for place in again if (place.ref.tag or "").lower() not in tags]  # one of a kind
    chosen = list(dict.fromkeys([*before, *others]))
    for wanted in variants:
        place = _place_of(where, wanted)
        if place not in chosen:
            chosen.append(place)
    known = [place for place in where.places if place in chosen]
    return [*known, *sorted((place for place in chosen if place not in known), key=_guessed_id)]


def _known(where: Where, asked: Asked) -> Asked:
    """The library's own word for a place that was asked before."""
    return next((place for place in where.places if is_same_place(str(place.ref), str(asked.ref))), asked)


def _place_of(where: Where, wanted: str) -> Asked:
    found = [place for place in where.places if wanted.lower() in _guessed_id(place)]
    exact = [place for place in found if wanted.lower() in (_guessed_id(place), place.format)]
    found = exact[:1] or found
    usual = where.places[0]
    if not found and usual.format == "gguf":  # a quantization that the library does not name
        return replace(usual, ref=replace(usual.ref, tag=wanted))
    if len(found) != 1:
        ids = ", ".join(_guessed_id(place) for place in where.places)
        many = "More than one build fits" if found else "The library has no build"
        raise UsageError(f"{many} {wanted!r:.60}.", hint=f"It has {ids}.")
    return found[0]


def _guessed_id(place: Asked) -> str:
    return f"{place.format}-{place.ref.tag or ''}".lower().rstrip("-")


def _may_be(where: Where, place: Asked, variant: str) -> bool:
    """By the id, or by the format where there is one place of it: a folder's id is not in its name."""
    alike = [each for each in where.places if each.format == place.format]
    return variant == _guessed_id(place) or (len(alike) == 1 and variant.startswith(f"{place.format}-"))
