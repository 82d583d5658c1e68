"""Taking in what other tools have: each model where it lies, by a link or by a note, and never by a copy.

places -> models found (slmctl.app.foreign) -> looked at -> files linked or borrowed -> manifest -> name

Models are independent of each other: what is wrong with one is said of it. Nothing of the other tool's is
changed, and with `dry_run` nothing here either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from registry.digest import Digest
from registry.errors import NoSpace, OperationFailed, SlmctlError, StoreUnusable
from registry.formats.facts import ModelFacts
from registry.store import notes
from registry.store.adoption import Taken
from registry.store.index import Entry
from registry.store.store import Replace, Store, check_replaceable
from runtimes.engines.catalog import engine_for
from runtimes.errors import EngineUnavailable
from slmctl.app.adopting import LookedAt, look_at
from slmctl.app.derived_facts import remember_facts
from slmctl.app.events import OnEvent, ignore
from slmctl.app.foreign import huggingface, lmstudio, ollama
from slmctl.app.foreign.found import FoundModel, Place, Tool, reason, shown

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
    if adopting.found_present and not dry_run:
        store.settle()


class _Adopting:
    """One run: what was here at its start, and which names it gave away."""

    def __init__(self, store: Store, now: str, dry_run: bool, on_event: OnEvent) -> None:
        self._store = store
        self._now = now
        self._dry_run = dry_run
        self._on_event = on_event
        self._names = store.names()
        self._noted = {note.path: (digest, note) for digest, note in notes.all_borrowed(store.layout)}
        self._given: dict[str, str] = {}
        self.found_present = False

    def adopt(self, found: FoundModel) -> AdoptedModel:
        outcome = AdoptedModel(name=found.name, place=found.place, size=found.size, notes=found.notes)
        if found.problem is not None:
            return replace(outcome, problem=found.problem)
        try:
            looked = look_at(found, self._noted)
            why_not = _why_not(found.model_format, looked.facts)
            return self._take(looked, replace(outcome, runs=why_not is None, why_not=why_not))
        except (StoreUnusable, NoSpace):
            raise
        except SlmctlError as error:
            return replace(outcome, problem=error.message, runs=False)

    def _take(self, looked: LookedAt, outcome: AdoptedModel) -> AdoptedModel:
        found = looked.found
        old = self._names.find(found.name)
        manifest = looked.manifest_digest
        self._check_name(found, old, manifest)
        same = old is not None and old.descriptor.digest == manifest
        present = same and manifest is not None and self._store.has(manifest) and looked.is_in(self._store)
        if present or self._dry_run:
            self._given[found.name.casefold()] = found.place.source
            self.found_present = self.found_present or present
            taken = _in_words(looked.how_in(self._store))
            if manifest is None:
                outcome = replace(outcome, notes=(*found.notes, _without_digest(found, "will be")))
            return replace(outcome, digest=manifest, taken=taken, present=present)
        if manifest is None:
            outcome = replace(outcome, notes=(*found.notes, _without_digest(found, "was")))
            looked = looked.hashed(self._on_event)
        self._check_name(found, old, looked.manifest_digest)
        with self._store.session(f"adopt {found.name}") as session:
            kinds = looked.take(session)
            descriptor = looked.write_manifest(session)
            entry = self._store.link(
                found.name,
                descriptor,
                source=found.place.source,
                linked=self._now,
                replace_rule=Replace.SAME_SOURCE,
            )
        if looked.facts is not None and found.manifest is not None:
            remember_facts(self._store, descriptor.digest, looked.facts)
        self._given[found.name.casefold()] = found.place.source
        return replace(outcome, name=entry.name, digest=descriptor.digest, taken=_in_words(kinds))

    def _check_name(self, found: FoundModel, old: Entry | None, manifest: Digest | None) -> None:
        """Raise when the name belongs to another model: of this run, or of another source."""
        given = self._given.get(found.name.casefold())
        if given is not None:
            raise OperationFailed(f"The name is taken by another model, from {shown(given)}.")
        if old is None or old.descriptor.digest == manifest:
            return
        stand_in = Entry(name=old.name, descriptor=old.descriptor, source=found.place.source, linked=None)
        check_replaceable(old, stand_in, Replace.SAME_SOURCE)


def _without_digest(found: FoundModel, when: str) -> str:
    return (
        f"{found.place.tool.shown} keeps no digest of it, so it {when} hashed, which takes reading all of it."
    )


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
