"""Builds that another one beats in everything: larger, no better, no faster (fit.md 1.3).

Gemma 3 1B's Q2_K is larger than its Q3_K_S, because its rows do not divide into blocks of 256.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from runtimes.planning.assess import Assessor, Option
from runtimes.planning.choose import contexts, size
from runtimes.planning.values import Evaluated


@dataclass(frozen=True, slots=True, kw_only=True)
class Dominated:
    """An option, and the one that beats it."""

    option: Option
    by: Option


def without_dominated(options: Sequence[Option], assessor: Assessor) -> tuple[list[Option], list[Dominated]]:
    """Split the options of one model into those worth a look and those that another one beats."""
    kept: list[Option] = []
    beaten: list[Dominated] = []
    ordered = sorted(options, key=lambda option: (option.engine.name, option.place, size(option), option.key))
    for _, group in itertools.groupby(ordered, key=lambda option: (option.engine.name, option.place)):
        ahead: list[tuple[Option, Evaluated]] = []
        for option in sorted(group, key=lambda option: (size(option), _loss(option, assessor), option.key)):
            own = _assessed(option, assessor)
            by = next((other for other, its in ahead if _beats(its, own)), None)
            if by is None:
                ahead.append((option, own))
                kept.append(option)
            else:
                beaten.append(Dominated(option=option, by=by))
    return kept, beaten


def _beats(one: Evaluated, other: Evaluated) -> bool:
    """Whether `one`, which is no larger, is as good in all else and better in something."""
    if one.quality.loss > other.quality.loss:
        return False
    if any(one.need.of(pool) > other.need.of(pool) for pool in one.budget):
        return False
    if one.rejection is not None and other.rejection is None:
        return False
    if one.candidate.build.stored < other.candidate.build.stored:
        return False
    fast, slow = one.speed, other.speed
    return fast is None or slow is None or fast.expected >= slow.expected


def _loss(option: Option, assessor: Assessor) -> float:
    return assessor.quality(option.build, "f16").loss


def _assessed(option: Option, assessor: Assessor) -> Evaluated:
    wanted = contexts(assessor.request, option.build.facts.trained_context).wanted
    return assessor.assess(option, wanted, option.engine.cache_types(option.placement)[0])
