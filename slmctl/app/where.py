"""Where a model that is asked for by name is had: what `pull NAME` asks, and what it calls the result.

A reference with a place (`hf.co/...`, `localhost:5000/...`, `ollama://...`) is that place. A bare name is the
place that it was pulled from before, else the library's, else behind one of the beginnings that the settings
have (`[names] search`). A bare family of the library (`qwen3`) is the size that whoever asks has chosen, else
its usual one; a name in the store stays with the size that it was pulled as.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias

from modelfiles.spec import ModelSpec
from registry.errors import NameTaken, NotFound, UsageError
from registry.formats.facts import ModelFacts
from registry.names import DEFAULT_TAG, OLLAMA_NAMESPACE, ModelRef, Source, parse
from registry.store.index import NameTable
from slmctl.app.made_here import SHIPPED_HERE
from slmctl.app.upstream import is_same_repository, place_of, tracked

if TYPE_CHECKING:
    from modelfiles.library.entry import Build, LibraryEntry
    from slmctl.app.library import LibraryModel

SEARCH = (f"ollama://{OLLAMA_NAMESPACE}",)
"""Beginnings of names that a bare name is appended to, unless the settings have others."""

_USUAL = ("gguf", "Q4_K_M")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One place, and the format of what is there where the library knows it."""

    ref: ModelRef
    format: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """Where a model is had.

    `name` is the full name that the store will list it by. `places` are builds of one model, the usual one
    first; more than one only for a model of the library. `before` are those that it was pulled from last,
    `tracks` those that it belongs to where that is not what is asked. `spec` is what the library's author
    adds. `said` tells how a bare name was understood, None where nothing had to be. `further` are where else
    to look if there is nothing. `is_bundle` says that the one place is a bundle or a store on a disk here,
    whose word on where a model came from gives it no rights. `facts` are the library's, of the model before
    it was quantized.
    """

    name: str
    places: tuple[Asked, ...]
    before: tuple[Asked, ...] = ()
    tracks: tuple[ModelRef, ...] = ()
    spec: ModelSpec = field(default_factory=ModelSpec)
    said: str | None = None
    further: tuple[ModelRef, ...] = ()
    is_bundle: bool = False
    facts: ModelFacts | None = None

    @property
    def is_of_library(self) -> bool:
        """Whether the places are builds that the library names."""
        return self.places[0].format is not None

    def of_format(self, wanted: str) -> Asked | None:
        """The place of a format, None where the library names none."""
        return next((each for each in self.places if each.format == wanted), None)


Sized: TypeAlias = "Callable[[Sequence[LibraryModel]], tuple[LibraryModel, str] | None]"
"""Chooses one of a family's sizes, from small to large, and says why in a sentence; None for no choice."""


def where_is(
    ref: ModelRef,
    names: NameTable,
    *,
    search: Sequence[str] = SEARCH,
    force: bool = False,
    sized: Sized | None = None,
) -> Where:
    """Where `ref` is had. `names` are the store's, `force` looks past the model that has the name now.
    `sized` is asked which size a bare family means that is not in the store.

    Raises NameTaken for a bare name whose model was made here, UsageError for one that comes with slmctl, and
    NotFound where nothing is to be asked.
    """
    if ref.source is not Source.BARE:
        return Where(name=ref.full_name, places=(Asked(ref=ref),))
    entry = names.find(ref.full_name)
    places = tracked(entry) if entry is not None else ()
    model = _in_library(ref, places)
    if model is not None and model.entry.ships and (entry is None or entry.source == SHIPPED_HERE):
        raise UsageError(
            f"The model {ref.short_name} comes with slmctl: there is nothing to pull.",
            hint=f"'slmctl run {ref.short_name}' asks it; another of that name has a place: ollama://{ref.path}.",
        )
    if entry is not None and not places and not force:
        claim = place_of(entry.source)
        if claim is None:
            raise NameTaken(
                f"The model {ref.short_name} was not pulled:"
                f" it is from {entry.source or 'another tool'!r:.80}.",
                hint="Add --force to replace it, or pull another under a name of its own: --as NAME.",
            )
        if model is None or not _are_of(model.entry, [claim]):
            raise NameTaken(
                f"The model {ref.short_name} is out of a bundle, which says that it came from {claim}.",
                hint=f"If you trust that place, name it: slmctl pull {claim} --as {ref.short_name}",
            )
    if places and not (model is not None and _are_of(model.entry, places)):
        return _from_before(ref, places)
    if model is not None and not model.entry.ships:
        chosen = None
        if sized is not None and not places and _is_family(ref):
            from slmctl.app.library import family_of

            chosen = sized(family_of(ref.path))
        if chosen is not None:
            return replace(_from_library(ref, chosen[0], places), said=chosen[1])
        return _from_library(ref, model, places)
    tag = f":{ref.tag}" if ref.tag else ""
    there = [replace(parse(f"{each.rstrip('/')}/{ref.path}{tag}"), digest=ref.digest) for each in search]
    if there:
        said = (
            f"{ref.short_name} is not in the library of slmctl; looking for {' and '.join(map(str, there))}."
        )
        return Where(name=ref.full_name, places=(Asked(ref=there[0]),), said=said, further=tuple(there[1:]))
    raise NotFound(
        f"slmctl knows no place for the model {ref.short_name}.",
        hint="'slmctl search' lists the library; other places are named like hf.co/ORG/REPO:QUANTIZATION.",
    )


def usual_first(builds: Iterable[Build]) -> list[Build]:
    """Builds of the library in their order, but the one that people take before all others."""
    return sorted(builds, key=lambda build: (build.format, build.reference.tag) != _USUAL)


def spec_for(name: ModelRef, places: Sequence[ModelRef]) -> ModelSpec:
    """What the library's author adds to builds pulled from `places` under `name`; nothing for other names."""
    model = _in_library(name, places) if name.source is Source.BARE else None
    if model is None or not _are_of(model.entry, places):
        return ModelSpec()
    return _spec(model)


def specs_of(places: Sequence[ModelRef]) -> list[ModelSpec]:
    """What the library's author adds to what is at these places, under whatever name it was pulled."""
    from slmctl.app.library import library  # a name that has a place needs none of it

    return [_spec(model) for model in library() if not model.entry.ships and _are_of(model.entry, places)]


def _is_family(ref: ModelRef) -> bool:
    return ref.tag in (None, DEFAULT_TAG)


def _in_library(ref: ModelRef, places: Sequence[ModelRef] = ()) -> LibraryModel | None:
    """The library's model of that name; of a family the size that `places` have, else the usual one."""
    from slmctl.app.library import family_of, find_model

    if not _is_family(ref):
        return find_model(ref.path, ref.tag)
    usual = find_model(ref.path, None)
    if usual is None or not places or _are_of(usual.entry, places):
        return usual
    others = family_of(ref.path)
    return next((model for model in others if _are_of(model.entry, places)), usual)


def _are_of(entry: LibraryEntry, places: Sequence[ModelRef]) -> bool:
    """Whether these are repositories of the library's model; of them it need not name every quantization."""
    return all(any(is_same_repository(build.reference, place) for build in entry.builds) for place in places)


def _from_before(ref: ModelRef, places: Sequence[ModelRef]) -> Where:
    asked = tuple(Asked(ref=replace(place, digest=ref.digest or place.digest)) for place in places)
    came = " and ".join(map(str, places))
    return Where(name=ref.full_name, places=asked, before=asked, said=f"{ref.short_name} came from {came}.")


def _from_library(ref: ModelRef, model: LibraryModel, before: Sequence[ModelRef]) -> Where:
    entry = model.entry
    places = tuple(
        Asked(ref=replace(build.reference, digest=ref.digest), format=build.format)
        for build in usual_first(entry.builds)
    )
    size = f" ({entry.name})" if ref.tag in (None, DEFAULT_TAG) else ""
    shown = " and ".join(map(str, before or [places[0].ref]))
    said = f"{ref.short_name}{size} is {entry.title} of the library: {shown}."
    again = tuple(Asked(ref=place) for place in before)
    return Where(
        name=ref.full_name, places=places, before=again, spec=_spec(model), said=said, facts=model.facts
    )


def _spec(model: LibraryModel) -> ModelSpec:
    from modelfiles.authoring import from_text  # with the templates
    from slmctl.app.library import modelfile_text

    entry = model.entry
    return from_text(modelfile_text(entry), filename=f"{entry.family}/{entry.tag}/Modelfile").spec
