"""What each quantization of a model costs: bytes on the disk, memory in use, tokens per second, quality.

What there is was measured, or is asked of the engine; the rest is worked out from the tensor table by the
recipes of llama-quantize (`runtimes.planning.mix`) and the formulas of the plan, and marked as estimated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from registry.errors import BadContent, DoesNotFit, UsageError
from registry.formats.facts import ModelFacts
from runtimes.engines.paper import CPU
from runtimes.planning.assess import Assessor, Option
from runtimes.planning.candidates import field_of
from runtimes.planning.choose import contexts
from runtimes.planning.dominance import without_dominated
from runtimes.planning.mix import quantized_bytes
from runtimes.planning.outcome import outcome
from runtimes.planning.values import Build, Evaluated, Learned, Need, PlanRequest, Quality, Speed
from slmctl.app.planning.builds import builds_of_facts
from slmctl.app.planning.files import file_of_builds
from slmctl.app.planning.made_of import gguf_facts
from slmctl.app.planning.package_builds import drafting, is_embedding, is_sane
from slmctl.app.planning.planner import FileOf, Planner
from slmctl.app.planning.subject import Subject

REFERENCE = "F16"
"""What reductions are measured against."""

_PLAIN = "f16"
_SIXTEEN_BITS = (REFERENCE, "BF16")
_WEIGHTS = ("weights", "tied embedding")
_CACHE = frozenset({"kv", "state"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One quantization. Sizes are bytes.

    `present` says that the build is here. `size` is its file's, which `size_basis` `file` says was looked at;
    with `tensors` it is worked out, but for the last kilobytes of a header. `memory` is what is in use with a
    full context, of which `weights`, `cache` and `other` are the parts; `memory_basis` is `engine`
    (asked), `header` (formulas on the tensor table) or `parameters` (a rough estimate). `reduction` is the
    share of the reference's size that is saved. `place` is `cpu` or a device's id, `budget` what its pools
    have. `chosen` is the one that a plan takes, `beaten_by` a variant that is no larger and better.
    """

    variant: str
    quantization: str
    present: bool
    size: int
    size_basis: str
    reduction: float
    memory: int
    weights: int
    cache: int
    other: int
    memory_basis: str
    speed: Speed | None
    quality: Quality
    runtime: str
    place: str
    budget: Mapping[str, int]
    fits: bool
    chosen: bool = False
    beaten_by: str | None = None

    @property
    def is_quality_measured(self) -> bool:
        return self.quality.basis == "measured"

    @property
    def is_speed_measured(self) -> bool:
        return self.speed is not None and self.speed.basis == "measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """All rows, largest file first. `reference_size` is that of the model's file in F16."""

    name: str
    context: int
    cache_type: str
    reference_size: int
    rows: tuple[Row, ...]
    notes: tuple[str, ...]


def footprint(
    planner: Planner, subject: Subject, *, context: int | None = None, cache_type: str | None = None
) -> Footprint:
    """Every quantization of the subject at one context with one type of cache: None for what a plan takes.

    Raises UsageError where the name means several models, DoesNotFit where nothing is known of its tensors
    or no engine can run any of it.
    """
    if subject.sizes:
        names = sorted({build.model for build in subject.builds})
        raise UsageError(
            f"{subject.name} is a family of {len(names)} models.",
            hint=f"Name one of them: {', '.join(names[:8])}.",
        )
    facts = gguf_facts(subject.builds, subject.reader, subject.package)
    if facts is None or not is_sane(facts):
        raise DoesNotFit(
            f"The tensors of {subject.name} are not known as llama.cpp would have them.",
            hint="A GGUF build, or unquantized safetensors with a config.json, says what they are.",
        )
    builds = _builds(subject, facts)
    # as if all were here: what is compared is running them
    every = [replace(build, stored=True, made=True) for build in builds]
    asked = PlanRequest(
        context=context or planner.settings.context_length,
        context_is_pinned=context is not None,
        kv_type=cache_type,
        embedding=is_embedding(builds),
        rope_scaling=context is not None,
    )
    chosen = planner.plan(every, asked).chosen
    if chosen is not None:
        shape = chosen.candidate.shape
        asked = replace(asked, context=shape.context, kv_type=shape.type_k)
    request = replace(
        asked,
        context=asked.context if chosen is not None else contexts(asked, facts.trained_context).wanted,
        context_is_pinned=True,
        kv_type=asked.kv_type or _PLAIN,
        force=True,
        rope_scaling=True,
    )
    table = _Table(planner, request, file_of_builds(subject.reader, subject.package))
    found = [each for build in every if (each := table.evaluated(build)) is not None]
    if not found:
        raise DoesNotFit(
            f"No engine that slmctl knows runs {subject.name} here.",
            hint=f"'slmctl plan {subject.name} --all' says why not.",
        )
    size = _reference_size(builds, facts)
    is_looked_at = subject.origin != "library"
    beaten = table.beaten(found)
    rows = []
    for _, evaluated in found:
        build = next(each for each in builds if each.variant == evaluated.candidate.build.variant)
        seen = build.stored or (build.made and is_looked_at)
        row = table.row(evaluated, size, is_present=build.stored, is_seen=seen)
        is_chosen = chosen is not None and chosen.candidate.build.variant == build.variant
        rows.append(replace(row, chosen=is_chosen, beaten_by=beaten.get(build.variant)))
    return Footprint(
        name=subject.name,
        context=request.context or 0,
        cache_type=request.kv_type or _PLAIN,
        reference_size=size,
        rows=tuple(rows),
        notes=subject.notes,
    )


def _builds(subject: Subject, facts: ModelFacts) -> tuple[Build, ...]:
    """What there is, and what could be made of it, each quantization once; the largest first."""
    sizes = _weights_here(subject)
    there = [
        replace(build, size=sizes.get(build.digest or "", build.size))
        for build in subject.builds
        if build.facts.format == "gguf" and build.made
    ]
    beside = _header_bytes(there)
    found = {build.quantization or build.variant: build for build in there}
    guessed = any(build.guessed for build in subject.builds)
    for build in builds_of_facts(subject.name, facts, guessed=guessed):
        if beside is not None:
            build = replace(build, size=build.facts.tensor_bytes + beside)
        found.setdefault(build.quantization or build.variant, build)
    whole = [label for label in _SIXTEEN_BITS if label in found]
    if len(whole) > 1 and not found["BF16"].made:
        del found["BF16"]
    builds, _ = drafting(found.values(), {"draft_num_predict": 0})
    return tuple(sorted(builds, key=lambda build: (-build.size, build.variant)))


def _weights_here(subject: Subject) -> Mapping[str, int]:
    """Bytes of the weights of each stored variant, by its digest: without what a package has beside them."""
    variants = () if subject.package is None else subject.package.variants
    return {str(each.digest): sum(file.size for file in each.weights) for each in variants}


def _reference_size(builds: Sequence[Build], facts: ModelFacts) -> int:
    """Bytes of the file in F16: of one that is here, or of one in BF16, which is as large."""
    found = {build.quantization: build.size for build in builds}
    return next(
        (found[label] for label in _SIXTEEN_BITS if label in found), quantized_bytes(facts, REFERENCE)
    )


def _header_bytes(builds: Sequence[Build]) -> int | None:
    """What a file of this model has beside its tensors, by one that is here."""
    found = [build.size - build.facts.tensor_bytes for build in builds if build.stored]
    return min((each for each in found if each >= 0), default=None)


class _Table:
    """Works the rows out, all for one request; its context and cache are pinned."""

    def __init__(self, planner: Planner, request: PlanRequest, file_of: FileOf | None) -> None:
        self._planner = planner
        self._request = request
        self._file_of = file_of if planner.profile is None else None
        self._assessor = Assessor(planner.hardware, request, Learned())

    def evaluated(self, build: Build) -> tuple[Option, Evaluated] | None:
        """The build at the place where it runs best, else, where it does not fit, on the CPU; None where no
        engine runs it."""
        field = field_of([build], self._planner.hardware, self._request)
        if not field.options:
            return None
        try:
            decision = outcome(build.model, field, self._assessor).decision
            if decision is not None:
                return decision.option, decision.evaluated
            option = min(field.options, key=lambda each: (not each.installed, each.place != CPU, each.key))
            context, cache_type = self._request.context or 0, self._request.kv_type or _PLAIN
            return option, self._assessor.assess(option, context, cache_type)
        except BadContent:  # facts without what an estimate needs
            return None

    def beaten(self, found: Sequence[tuple[Option, Evaluated]]) -> Mapping[str, str]:
        """The variants that another one beats, and which."""
        _, beaten = without_dominated([option for option, _ in found], self._assessor)
        # an estimate is not held against a measurement: F16 would lose more than a Q8_0 measured against it
        return {
            each.option.build.variant: each.by.build.variant
            for each in beaten
            if (each.option.build.divergence is None) == (each.by.build.divergence is None)
        }

    def row(self, evaluated: Evaluated, reference: int, *, is_present: bool, is_seen: bool) -> Row:
        build = evaluated.candidate.build
        need, basis = self._need(evaluated) if is_present else (evaluated.need, evaluated.need.method)
        weights = sum(part.bytes for part in need.parts if part.name.startswith(_WEIGHTS))
        cache = sum(part.bytes for part in need.parts if part.name in _CACHE)
        return Row(
            variant=build.variant,
            quantization=build.quantization or build.variant,
            present=is_present,
            size=build.size,
            size_basis="file" if is_seen else "tensors",
            reduction=1 - build.size / reference,
            memory=need.total,
            weights=weights,
            cache=cache,
            other=need.total - weights - cache,
            memory_basis=basis,
            speed=evaluated.speed,
            quality=evaluated.quality,
            runtime=evaluated.candidate.runtime,
            place=evaluated.candidate.place,
            budget=evaluated.budget,
            fits=evaluated.rejection is None,
        )

    def _need(self, evaluated: Evaluated) -> tuple[Need, str]:
        """What a build that is here takes: in the engine's own words, where it can be asked."""
        model = None if self._file_of is None else self._file_of(evaluated.candidate.build)
        said = None if model is None else self._planner.engine_says(evaluated, model)
        return (evaluated.need, evaluated.need.method) if said is None else (said, "engine")
