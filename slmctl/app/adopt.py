"""Taking in what other tools have: each model where it lies, by a link or by a note, and never by a copy.

places -> models found (slmctl.app.foreign) -> looked at -> files linked or borrowed -> manifest -> name

Models are independent of each other: what is wrong with one is said of it. Nothing of the other tool's is
changed, and with `dry_run` nothing here either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from registry.digest import Digest
from registry.errors import NoSpace, OperationFailed, SlmctlError, StoreUnusable
from registry.formats.facts import ModelFacts
from registry.store import notes
from registry.store.adoption import Taken
from registry.store.index import Entry
from registry.store.quarantine import in_quarantine
from registry.store.store import Replace, Store, check_replaceable
from runtimes.engines.catalog import engine_for
from runtimes.errors import EngineUnavailable
from slmctl.app.adopting import LookedAt, look_at
from slmctl.app.derived_facts import remember_facts
from slmctl.app.events import OnEvent, ignore
from slmctl.app.foreign import huggingface, lmstudio, ollama
from slmctl.app.foreign.found import FoundModel, Place, Tool, reason, shown
from slmctl.app.package import Package

_FINDERS: Mapping[Tool, Callable[[Place], Iterator[FoundModel]]] = {
    Tool.OLLAMA: ollama.models_in,
    Tool.HUGGINGFACE: huggingface.models_in,
    Tool.LMSTUDIO: lmstudio.models_in,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AdoptedModel:
    """What became of a model that was found.

    `taken` says how its files are here, or would be (linked, borrowed, or stored when they were before); None
    for a model that was refused, whose `problem` says why. `digest` is its manifest's, None where it is not
    known yet. `runs` is whether an engine here takes it, `why_not` the engines' sentence. `present`: it was
    here before, as it is. `size` in bytes.
    """

    name: str
    place: Place
    size: int
    digest: Digest | None = None
    taken: str | None = None
    present: bool = False
    runs: bool = False
    why_not: str | None = None
    problem: str | None = None
    notes: tuple[str, ...] = ()


def adopt(
    store: Store,
    places: Sequence[Place],
    *,
    now: str,
    dry_run: bool = False,
    on_event: OnEvent = ignore,
) -> Iterator[AdoptedModel]:
    """Take in all models in `places`, one after the other, and say of each what became of it.

    Raises StoreUnusable and NoSpace for our own store; what is wrong with another tool's is said.
    """
    adopting = _Adopting(store, now, dry_run, on_event)
    for place in places:
        if place.problem is not None:
            continue
        try:
            for found in _FINDERS[place.tool](place):
                yield adopting.adopt(found)
        except OSError as error:
            problem = f"{shown(error.filename or place.root)} cannot be read ({reason(error)})."
            yield AdoptedModel(name=shown(place.root), place=place, size=0, problem=problem)


class _Adopting:
    """One run: what was here at its start, and which names it gave away."""

    def __init__(self, store: Store, now: str, dry_run: bool, on_event: OnEvent) -> None:
        self._store = store
        self._now = now
        self._dry_run = dry_run
        self._on_event = on_event
        self._names = store.names()
        self._noted = {note.path: (digest, note) for digest, note in notes.all_borrowed(store.layout)}
        self._is_settled = False
        self._put_aside = in_quarantine(store.layout)
        self._given: dict[str, tuple[str, Digest | None]] = {}

    def adopt(self, found: FoundModel) -> AdoptedModel:
        outcome = AdoptedModel(name=found.name, place=found.place, size=found.size, notes=found.notes)
        if found.problem is not None:
            return replace(outcome, problem=found.problem)
        try:
            looked = look_at(found, self._noted).doubting(self._store, self._put_aside)
            why_not = _why_not(found.model_format, looked.facts)
            return self._take(looked, replace(outcome, runs=why_not is None, why_not=why_not))
        except (StoreUnusable, NoSpace):
            raise
        except SlmctlError as error:
            return replace(outcome, problem=error.message, runs=False)
        except OSError as error:  # their disk's
            what = shown(error.filename) if error.filename else "It"
            return replace(outcome, problem=f"{what} cannot be read ({reason(error)}).", runs=False)

    def _take(self, looked: LookedAt, outcome: AdoptedModel) -> AdoptedModel:
        found = looked.found
        old = self._names.find(found.name)
        manifest = looked.manifest_digest
        twin = self._check_name(found, old, manifest)
        if twin is not None:
            outcome = replace(outcome, notes=(*found.notes, f"It is the model from {shown(twin)}."))
        present = twin is not None or self._is_here(old, looked)
        if present and not self._dry_run:
            self._settle()
        if present or self._dry_run:
            self._given.setdefault(found.name.casefold(), (found.place.source, manifest))
            taken = _in_words(looked.how_in(self._store))
            if (why := _why_hashed(looked, "will be")) and not present:
                outcome = replace(outcome, notes=(*outcome.notes, why))
            return replace(outcome, digest=manifest, taken=taken, present=present)
        if (why := _why_hashed(looked, "was")) is not None:
            outcome = replace(outcome, notes=(*found.notes, why))
            looked = looked.hashed(self._on_event)
        self._check_name(found, old, looked.manifest_digest)
        with self._store.session(f"adopt {found.name}") as session:
            kinds = looked.take(session)
            descriptor = looked.write_manifest(session)
            entry = Entry(name=found.name, descriptor=descriptor, source=found.place.source, linked=self._now)
            entry = self._store.link_all([entry], _check_may_move)[0]
        if looked.facts is not None and found.manifest is not None:
            remember_facts(self._store, descriptor.digest, looked.facts)
        self._given[found.name.casefold()] = (found.place.source, descriptor.digest)
        return replace(outcome, name=entry.name, digest=descriptor.digest, taken=_in_words(kinds))

    def _settle(self) -> None:
        if not self._is_settled:
            self._store.settle_names()
            self._is_settled = True

    def _is_here(self, old: Entry | None, looked: LookedAt) -> bool:
        """Whether the store has the model under its name, as far as anybody can tell without hashing."""
        if old is None or not self._has(old, looked.manifest_digest) or looked.is_doubted:
            return False
        return self._store.has(old.descriptor.digest) and looked.is_in(self._store)

    def _has(self, old: Entry, manifest: Digest | None) -> bool:
        """Whether the name's model is this one, with variants that were made here of it or without."""
        if old.descriptor.digest == manifest or not old.made:
            return old.descriptor.digest == manifest
        with suppress(SlmctlError):
            return any(variant.digest == manifest for variant in Package.of(self._store, old).variants)
        return False

    def _check_name(self, found: FoundModel, old: Entry | None, manifest: Digest | None) -> str | None:
        """Raise when the name belongs to another model: of this run, or of another source.

        Gives the place where this run has found the very same model, if it has.
        """
        given, digest = self._given.get(found.name.casefold(), (None, None))
        if given is not None:
            if manifest is not None and manifest == digest:
                return given
            raise OperationFailed(f"The name is taken by the model from {shown(given)}.")
        if old is not None and not self._has(old, manifest):
            stand_in = Entry(name=old.name, descriptor=old.descriptor, source=found.place.source, linked=None)
            check_replaceable(old, stand_in, Replace.SAME_SOURCE)
        return None


def _check_may_move(old: Entry, new: Entry) -> None:
    """A name may move with its source; and where its model stays the same, to another source: people move
    the folders of their tools."""
    if old.descriptor.digest != new.descriptor.digest:
        check_replaceable(old, new, Replace.SAME_SOURCE)


def _why_hashed(looked: LookedAt, when: str) -> str | None:
    """Why all of a model is read; None where its digest is known and believed."""
    tool = looked.found.place.tool.shown
    if looked.manifest_digest is None:
        return f"{tool} keeps no digest of it, so it {when} hashed, which takes reading all of it."
    if looked.is_doubted:
        return f"It was changed or damaged since it was adopted, so it {when} hashed."
    return None


def _why_not(model_format: str, facts: ModelFacts | None) -> str | None:
    try:
        engine_for(model_format, facts.architecture if facts else None)
    except EngineUnavailable as error:
        return error.message
    return None


def _in_words(kinds: set[Taken]) -> str:
    """How a model is here: what needs the other tool most counts."""
    if Taken.BORROWED in kinds:
        return "borrowed"
    return "linked" if Taken.LINKED in kinds else "stored"
