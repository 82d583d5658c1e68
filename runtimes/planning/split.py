"""Sharing a model out between a device's own memory and the CPU, in whole layers (llama.cpp's -ngl)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from runtimes.engines.paper import CPU
from runtimes.planning.assess import Assessor, Option, needed
from runtimes.planning.choose import (
    Decision,
    Found,
    contexts,
    decision_of,
    is_near,
    least_loss,
    size,
)
from runtimes.planning.quality import NO_TIER, is_cache_safe, limit
from runtimes.planning.values import Evaluated

WORTH = 1.5
"""How much faster than the CPU alone a split must be (fit.md 6.4, step 8)."""


def split(options: Sequence[Option], assessor: Assessor, *, floor: bool) -> Decision | None:
    """The best split over a device, None where none fits or none is worth it. `options` are one engine's."""
    alone = {id(each.build): each for each in options if each.place == CPU}
    shared = [each for each in options if _can_be_split(each)]
    if not shared or assessor.request.gpu_layers is not None:
        return None
    for tier in ("balanced", "compact", *(("floor", NO_TIER) if floor else ())):
        for slow in (False, True):
            if slow and assessor.request.speed_is_pinned:
                continue
            for found in _in_tier(shared, tier, alone, assessor):
                option, evaluated = found
                speed = evaluated.speed
                if (speed is not None and speed.expected < assessor.request.min_speed) == slow:
                    return decision_of(option, evaluated, tier, assessor.request.prefer, slow=slow)
    return None


def _in_tier(
    shared: Sequence[Option], tier: str, alone: dict[int, Option], assessor: Assessor
) -> list[Found]:
    """What can be split and is worth it, at most one for each cache and context, the best of those first."""
    by_loss = tier != "balanced"
    order = sorted(
        shared, key=lambda each: (_loss(each, "f16", assessor) if by_loss else 0, size(each), each.key)
    )
    pinned = assessor.request.kv_type
    found = []
    for shrunk in (False, True):
        for cache_type in (pinned,) if pinned else order[0].engine.cache_types(order[0].placement):
            fitting = _fitting(order, tier, cache_type, alone, assessor, shrunk=shrunk)
            found += _best_first(fitting, near=not by_loss)
    return found


def _best_first(fitting: Iterator[Found], *, near: bool) -> list[Found]:
    """The first, and before it what loses less and is hardly larger, where that is asked for."""
    first = next(fitting, None)
    if first is None:
        return []
    alike = itertools.takewhile(lambda each: near and is_near(each[0], first[0]), fitting)
    best = least_loss([first, *alike])
    return [first] if best is first else [best, first]


def _fitting(
    order: Sequence[Option],
    tier: str,
    cache_type: str,
    alone: dict[int, Option],
    assessor: Assessor,
    *,
    shrunk: bool,
) -> Iterator[Found]:
    """What of a tier can be split and is worth it, in this order; `shrunk` with the least context."""
    most = float("inf") if tier == NO_TIER else limit(tier)
    for option in order:
        span = contexts(assessor.request, option.build.facts.trained_context)
        unsafe = assessor.request.kv_type is None and not is_cache_safe(option.build, cache_type)
        useless = shrunk and span.least == span.wanted
        if unsafe or useless or _loss(option, cache_type, assessor) > most:
            continue
        evaluated = _best_split(option, span.least if shrunk else span.wanted, cache_type, assessor)
        if evaluated is not None and _is_worth_it(evaluated, alone.get(id(option.build)), assessor):
            yield option, evaluated


def _best_split(option: Option, context: int, cache_type: str, assessor: Assessor) -> Evaluated | None:
    """As many layers on the device as it holds; None where the rest does not fit or none would be there."""
    low, high = 0, (option.build.facts.layers or 0) + 1
    while high - low > 1:
        middle = (low + high) // 2
        tried = assessor.assess(option, context, cache_type, middle)
        if needed(tried, option.place) <= tried.budget[option.place]:
            low = middle
        else:
            high = middle
    if low == 0:
        return None
    evaluated = assessor.assess(option, context, cache_type, low)
    return evaluated if evaluated.rejection is None else None


def _is_worth_it(evaluated: Evaluated, alone: Option | None, assessor: Assessor) -> bool:
    """Whether it gains enough over the CPU alone, where the CPU alone could do it."""
    if alone is None:
        return True
    shape = evaluated.candidate.shape
    cpu = assessor.assess(alone, shape.context, shape.type_k)
    if cpu.rejection is not None or cpu.speed is None or evaluated.speed is None:
        return True
    return evaluated.speed.expected >= WORTH * cpu.speed.expected


def _can_be_split(option: Option) -> bool:
    device = option.placement.device
    return option.engine.splits and device is not None and not device.unified


def _loss(option: Option, cache_type: str, assessor: Assessor) -> float:
    return assessor.quality(option.build, cache_type).loss
