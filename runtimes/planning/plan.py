"""The plan: which build of a model, on which engine, at which place, with what context and cache, and why.

Pure and deterministic: the same input gives the same plan, whatever order it is enumerated in.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence

from runtimes.hardware.machine import Hardware
from runtimes.planning import explain, report
from runtimes.planning.assess import Assessor
from runtimes.planning.candidates import field_of, is_runtime, of_variant
from runtimes.planning.choose import Decision, contexts
from runtimes.planning.launch import launch_of
from runtimes.planning.outcome import Outcome, outcome
from runtimes.planning.quality import TIERS, limit
from runtimes.planning.sizes import best_size, by_parameters, neighbours
from runtimes.planning.values import (
    MIN_CONTEXT,
    Build,
    Evaluated,
    Learned,
    Plan,
    PlanRequest,
    Rejection,
)

_MOST_ALTERNATIVES = 3
_MOST_NAMES = 8
_SHORT = (2048, 1024)
"""Contexts that nobody is given unasked, but may ask for where nothing else fits."""


def plan(
    builds: Sequence[Build],
    hardware: Hardware,
    request: PlanRequest,
    siblings: Sequence[Build] = (),
    *,
    learned: Learned | None = None,
) -> Plan:
    """Choose among `builds` for this machine; several `model` names among them are sizes to choose from too.

    `siblings` are builds of other models, such as a family's smaller sizes: never chosen, only offered
    where the choice is slow, worse than balanced, or none. `learned` is what earlier loads have shown.
    """
    shown = learned if learned is not None else Learned()
    assessor = Assessor(hardware, request, shown)
    outcomes = _outcomes(builds, assessor)
    chosen = best_size(outcomes, request)
    if chosen is None or chosen.decision is None:
        return _nofit(builds, outcomes, siblings, assessor)
    others = [each for each in outcomes if each is not chosen]
    return _ok(chosen, others, siblings, assessor)


def _outcomes(builds: Iterable[Build], assessor: Assessor) -> list[Outcome]:
    """What each model comes to, by name."""
    models: dict[str, list[Build]] = {}
    for build in builds:
        models.setdefault(build.model, []).append(build)
    request = assessor.request
    found = []
    for model in sorted(models):
        wanted = of_variant(models[model], request.variant)
        found.append(outcome(model, field_of(wanted, assessor.hardware, request), assessor))
    return found


def _ok(chosen: Outcome, others: Sequence[Outcome], siblings: Sequence[Build], assessor: Assessor) -> Plan:
    decision = chosen.decision
    assert decision is not None
    alternatives = list(neighbours(chosen, others))
    if decision.slow or decision.tier not in TIERS[:2]:
        faster = (each for each in _siblings(siblings, assessor) if _is_better(each, decision))
        alternatives += faster
    return Plan(
        verdict="ok",
        flags=tuple(_flags(chosen, assessor)),
        chosen=decision.evaluated,
        launch=launch_of(decision, assessor),
        binding=explain.binding(chosen, assessor),
        rejected=report.rejections(chosen, assessor),
        alternatives=_distinct(alternatives),
        would_change=explain.would_change(chosen, assessor),
        notes=tuple(_notes(chosen, assessor)),
        tier=decision.tier,
        considered=report.considered(chosen, assessor),
    )


def _nofit(
    builds: Sequence[Build], outcomes: Sequence[Outcome], siblings: Sequence[Build], assessor: Assessor
) -> Plan:
    alternatives = _distinct(
        itertools.chain(
            _relaxed(builds, assessor),
            _siblings(siblings, assessor),
            _shortened(siblings, assessor),
            _last_resorts(builds, assessor),
        )
    )
    nearest = by_parameters(outcomes)[0] if outcomes else None
    rejected = [each for result in outcomes for each in report.rejections(result, assessor)]
    conflict = _pin_conflict(builds, outcomes, assessor.request)
    bound = conflict or (explain.binding(nearest, assessor) if nearest is not None else None)
    notes = [] if alternatives else ["Nothing that was offered fits here, with a smaller context neither."]
    return Plan(
        verdict="nofit",
        flags=(),
        chosen=None,
        launch=None,
        binding=bound,
        rejected=tuple(rejected),
        alternatives=alternatives,
        would_change=explain.would_change(nearest, assessor) if nearest is not None else (),
        notes=tuple(notes),
        considered=tuple(each for result in outcomes for each in report.considered(result, assessor)),
    )


def _flags(chosen: Outcome, assessor: Assessor) -> Iterator[str]:
    decision = chosen.decision
    assert decision is not None
    option, shape = decision.option, decision.evaluated.candidate.shape
    every = (option.build.facts.layers or 0) + 1
    flags = {
        "SLOW": decision.slow,
        "KV_Q8": shape.type_k not in ("f16", "bf16", "f32"),
        "CTX_REDUCED": shape.context < contexts(assessor.request, option.build.facts.trained_context).wanted,
        "GPU_SPLIT": 0 < shape.gpu_layers < every,
        "NOT_INSTALLED": not option.installed,
        "NOT_MADE": not option.build.made,
        "FLOOR": decision.tier not in TIERS[:3] or decision.evaluated.quality.tier not in TIERS[:3],
    }
    return (name for name, holds in flags.items() if holds)


def _notes(chosen: Outcome, assessor: Assessor) -> Iterator[str]:
    decision, hardware = chosen.decision, assessor.hardware
    assert decision is not None
    if not decision.option.installed:
        engine = hardware.engine(decision.option.engine.name)
        command = engine.install if engine is not None else None
        yield f"{decision.option.engine.name} is not installed here{f': {command}' if command else ''}."
    if hardware.emulated is not None:
        yield f"This process is translated ({hardware.emulated}): use a native Python."
    if hardware.system == "linux" and "apple" in (hardware.cpu.model or "").lower() and not hardware.devices:
        yield "A Linux guest on a Mac has no Metal: run slmctl on macOS itself to use the GPU."
    if decision.evaluated.need.method == "parameters":
        yield "The need is a rough estimate: the formulas are not verified for such a model."
    if hardware.cpu.numa_nodes > 1 and decision.option.placement.device is None:
        yield "The machine has several memory nodes; binding to one of them is faster than using all."


def _relaxed(builds: Sequence[Build], assessor: Assessor) -> Iterator[Evaluated]:
    """The same model with less asked of it: one wish given up at a time, then all of them, then context."""
    request = assessor.request
    softer = (
        dataclasses.replace(request, context_is_pinned=False),
        dataclasses.replace(request, parallel=1),
        dataclasses.replace(request, variant=None),
        dataclasses.replace(request, kv_type=None),
        dataclasses.replace(request, runtime=None, gpu_layers=None),
        dataclasses.replace(request, speed_is_pinned=False),
        _without_wishes(request),
    )
    shorter = (_with_context(request, context) for context in _SHORT)
    for each in (*softer, *shorter):
        if each != request:
            yield from _planned(builds, each, assessor)


def _last_resorts(builds: Sequence[Build], assessor: Assessor) -> Iterator[Evaluated]:
    """A build that loses much, else the least that one can ask for."""
    forced = dataclasses.replace(assessor.request, force=True)
    found = list(_planned(builds, forced, assessor))
    yield from found or _planned(builds, _with_context(_without_wishes(forced), _SHORT[-1]), assessor)


def _without_wishes(request: PlanRequest) -> PlanRequest:
    return dataclasses.replace(
        request,
        context_is_pinned=False,
        parallel=1,
        variant=None,
        kv_type=None,
        runtime=None,
        gpu_layers=None,
        speed_is_pinned=False,
    )


def _with_context(request: PlanRequest, context: int) -> PlanRequest:
    """The request with so much context, or with what was asked for where that is less."""
    return dataclasses.replace(
        request, context=min(request.context or MIN_CONTEXT, context), context_is_pinned=True
    )


def _siblings(siblings: Sequence[Build], assessor: Assessor) -> Iterator[Evaluated]:
    """Other models with the same request, largest first, those that are neither slow nor worse than balanced
    before the rest."""
    if not siblings:
        return
    request = dataclasses.replace(assessor.request, variant=None)
    other = Assessor(assessor.hardware, request, assessor.learned)
    found = [each for each in by_parameters(_outcomes(siblings, other)) if each.decision is not None]
    for good in (True, False):
        for each in found:
            decision = each.decision
            assert decision is not None
            if (decision.tier in TIERS[:2] and not decision.slow) == good:
                yield decision.evaluated


def _shortened(siblings: Sequence[Build], assessor: Assessor) -> Iterator[Evaluated]:
    """Another model with less context than one would choose: what the smallest boards can run."""
    for context in _SHORT:
        yield from _planned(siblings, _with_context(_without_wishes(assessor.request), context), assessor)


def _is_better(other: Evaluated, decision: Decision) -> bool:
    """Whether another model is worth a word beside a choice that is slow or compact."""
    speed = other.speed.expected if other.speed is not None else 0.0
    return other.quality.loss <= limit("balanced") and (not decision.slow or speed > decision.speed)


def _planned(builds: Sequence[Build], request: PlanRequest, assessor: Assessor) -> Iterator[Evaluated]:
    other = Assessor(assessor.hardware, request, assessor.learned)
    best = best_size(_outcomes(builds, other), request)
    if best is not None and best.decision is not None:
        yield best.decision.evaluated


def _distinct(found: Iterable[Evaluated]) -> tuple[Evaluated, ...]:
    kept: list[Evaluated] = []
    for each in found:
        if not any(each.candidate == other.candidate for other in kept):
            kept.append(each)
        if len(kept) == _MOST_ALTERNATIVES:
            break
    return tuple(kept)


def _pin_conflict(
    builds: Sequence[Build], outcomes: Sequence[Outcome], request: PlanRequest
) -> Rejection | None:
    """What was pinned, where that alone leaves nothing to choose from."""
    if any(result.field.options for result in outcomes):
        return None
    if request.variant is not None and not of_variant(builds, request.variant):
        names = sorted({build.variant for build in builds})
        more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
        there = f"{', '.join(names[:_MOST_NAMES]) or 'none'}{more}"
        detail = f"No build is {request.variant!r:.60}; there are {there}."
        return Rejection(code="PIN_CONFLICT", detail=detail, variant=request.variant)
    if request.runtime is not None:
        known = [each for result in outcomes for each in result.field.refused]
        reason = next(
            (each.detail for each in known if is_runtime(each.runtime or "", request.runtime)), None
        )
        detail = f"The runtime {request.runtime!r:.60} cannot run it here. {reason or 'It is not known.'}"
        return Rejection(code="PIN_CONFLICT", detail=detail, runtime=request.runtime)
    return None
