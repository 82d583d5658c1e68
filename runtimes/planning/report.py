"""Why not the others: a code of fit.md 6.3 with its number for every build, engine and cache turned down."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from runtimes.planning.assess import Assessor, Option, rejected
from runtimes.planning.budget import MIB
from runtimes.planning.choose import contexts
from runtimes.planning.outcome import Outcome, admits_floor, as_asked
from runtimes.planning.quality import is_cache_safe, limit
from runtimes.planning.values import Evaluated, Rejection

_GATES = frozenset({"EP_MISSING", "DRIVER_OLD", "ISA_MISSING", "CTX_EXCEEDS_STATIC"})


def considered(result: Outcome, assessor: Assessor) -> tuple[Evaluated, ...]:
    """Every option with every cache that it may have, at the context that is wanted; where nothing fits, at
    the least that would do."""
    least = result.decision is None
    return tuple(evaluated for _, evaluated in _all(result.field.options, assessor, least=least))


def rejections(result: Outcome, assessor: Assessor) -> tuple[Rejection, ...]:
    """What was turned down, one line for each build, engine and cache: the place that came nearest."""
    found = [
        *_refused(result.field.refused, result.field.options),
        *_other_engines(result, assessor),
        *_dominated(result),
    ]
    beaten = {(each.option.build.variant, each.option.engine.name) for each in result.dominated}
    places: dict[tuple[str, str, str], list[Evaluated]] = {}
    for option, evaluated in _all(result.field.options, assessor, least=result.decision is None):
        key = (option.build.variant, option.engine.name, evaluated.candidate.shape.type_k)
        if key[:2] not in beaten:
            places.setdefault(key, []).append(evaluated)
    floor = admits_floor(result.field.options, assessor)
    for _, tried in sorted(places.items()):
        own = _why_not(tried, assessor, floor=floor)
        if own is not None:
            found.append(own)
    return tuple(found)


def _other_engines(result: Outcome, assessor: Assessor) -> Iterator[Rejection]:
    """Engines that could run it too: not here yet, or no better than the one that was taken."""
    decision = result.decision
    if decision is None:
        return
    own = decision.option.engine.name
    told = {own}
    for offer in result.offers:
        candidate, name = offer.evaluated.candidate, offer.option.engine.name
        if name in told:
            continue
        told.add(name)
        if offer.option.engine.reserves:
            share = offer.evaluated.budget[offer.option.place] // MIB
            need, many = decision.evaluated.need.total // MIB, candidate.shape.parallel
            detail = (
                f"It takes {share:,} MiB whatever the model; for {many} at once {own} does with {need:,}."
            )
        else:
            detail = f"{offer.speed:.0f} tokens/s are expected, with {own} {decision.speed:.0f}."
        yield rejected(candidate, "DOMINATED", detail)
    for option in result.field.options:
        name = option.engine.name
        if option.installed or name in told:
            continue
        told.add(name)
        engine = assessor.hardware.engine(name)
        command = f": {engine.install}" if engine is not None and engine.install else ""
        yield Rejection(
            code="NOT_INSTALLED",
            detail=f"{name} is not installed here{command}.",
            model=option.build.model,
            variant=option.build.variant,
            runtime=name,
        )


def _why_not(tried: Sequence[Evaluated], assessor: Assessor, *, floor: bool) -> Rejection | None:
    first, request = tried[0], assessor.request
    candidate, loss = first.candidate, first.quality.loss
    refused = [each.rejection for each in tried if each.rejection is not None]
    if len(refused) == len(tried):
        return min(refused, key=lambda each: ((each.need or 0) - (each.budget or 0), each.code))
    if not floor and loss > limit("compact"):
        detail = f"It loses {loss:.3f}, more than {limit('compact')}; --force takes it all the same."
        return rejected(candidate, "QUALITY_FLOOR", detail)
    if request.kv_type is None and not is_cache_safe(candidate.build, candidate.shape.type_k):
        detail = "A quantized KV cache is safe only from 1B parameters and with heads of whole 64."
        return rejected(candidate, "KV_QUANT_UNSAFE", detail)
    fastest = max((each.speed.expected for each in tried if each.speed is not None), default=None)
    if fastest is not None and fastest < request.min_speed and request.speed_is_pinned:
        detail = f"{fastest:.1f} tokens/s are expected, {as_asked(request.min_speed)} were asked for."
        return rejected(candidate, "SPEED_FLOOR", detail)
    return None


def _all(options: Iterable[Option], assessor: Assessor, *, least: bool) -> Iterator[tuple[Option, Evaluated]]:
    pinned = assessor.request.kv_type
    for option in sorted(options, key=lambda option: option.key):
        span = contexts(assessor.request, option.build.facts.trained_context)
        for cache_type in (pinned,) if pinned else option.engine.cache_types(option.placement):
            yield option, assessor.assess(option, span.least if least else span.wanted, cache_type)


def _refused(refused: Iterable[Rejection], options: Sequence[Option]) -> Iterator[Rejection]:
    """What was turned down at once, what concerns a whole engine said once.

    That an engine has another format is worth a word only where it has nothing to run here, or where a build
    has no engine at all.
    """
    found = list(refused)
    running = {option.engine.name for option in options}
    reasons: dict[str | None, set[str]] = {}
    for each in found:
        reasons.setdefault(each.runtime, set()).add(each.code)
    same = Counter(map(_reason, found))
    told: set[tuple[str | None, str, str]] = set()
    for each in found:
        other_format = each.code == "FORMAT_NO_RUNTIME"
        if other_format and (each.runtime in running or reasons[each.runtime] != {each.code}):
            continue
        whole = each.runtime is not None and (other_format or each.code in _GATES)
        if whole and _reason(each) in told:
            continue
        told.add(_reason(each))
        for_all = whole and (other_format or same[_reason(each)] > 1)
        yield dataclasses.replace(each, variant=None) if for_all else each
    yield from _homeless(found, options)


def _homeless(found: Sequence[Rejection], options: Sequence[Option]) -> Iterator[Rejection]:
    """Builds that no engine reads."""
    read = {option.build.variant for option in options}
    read |= {each.variant or "" for each in found if each.code != "FORMAT_NO_RUNTIME"}
    for variant, each in {each.variant: each for each in found}.items():
        if variant is not None and variant not in read:
            yield dataclasses.replace(each, runtime=None, detail="No engine that slmctl knows reads it.")


def _reason(rejection: Rejection) -> tuple[str | None, str, str]:
    return (rejection.runtime, rejection.code, rejection.detail)


def _dominated(result: Outcome) -> Iterator[Rejection]:
    told: set[tuple[str, str]] = set()
    survivors = {
        (each.build.variant, each.engine.name)
        for each in result.field.options
        if not any(each is beaten.option for beaten in result.dominated)
    }
    for each in result.dominated:
        key = (each.option.build.variant, each.option.engine.name)
        if key in told or key in survivors:
            continue
        told.add(key)
        yield Rejection(
            code="DOMINATED",
            detail=f"{each.by.build.variant} is no larger, loses no more and is no slower.",
            model=each.option.build.model,
            variant=each.option.build.variant,
            runtime=each.option.engine.name,
        )
