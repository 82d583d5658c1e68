"""Which size of a family: `qwen3` is the largest one that is comfortable here (DESIGN.md, section 3).

Comfortable is a balanced build at the comfortable speed. Where no size is, the largest that reaches the
least speed is taken; where none does, the one that is fastest. Argued in docs/decisions/0025.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from runtimes.planning.choose import Decision
from runtimes.planning.outcome import Outcome
from runtimes.planning.quality import TIERS
from runtimes.planning.values import Evaluated, PlanRequest


def best_size(outcomes: Sequence[Outcome], request: PlanRequest) -> Outcome | None:
    """The model to take, None where none fits."""
    found = [each for each in outcomes if each.decision is not None]
    if len(found) <= 1:
        return found[0] if found else None
    largest = by_parameters(found)
    if request.prefer in ("speed", "smallest"):
        largest.reverse()
    speeds = (
        (request.comfort_speed, request.min_speed) if request.prefer == "balanced" else (request.min_speed,)
    )
    for speed in speeds:
        for each in largest:
            if _is_balanced(each.decision) and _speed(each) >= speed:
                return each
    for each in largest:
        if each.decision is not None and not each.decision.slow:
            return each
    return max(largest, key=lambda each: (_is_balanced(each.decision), _speed(each)))


def by_parameters(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Largest model first."""
    return sorted(outcomes, key=lambda each: (-_parameters(each), each.model))


def neighbours(chosen: Outcome, others: Sequence[Outcome]) -> Iterator[Evaluated]:
    """The next smaller and the next larger size with what they would be here."""
    size = _parameters(chosen)
    known = [each for each in by_parameters(others) if each.decision is not None]
    smaller = [each for each in known if _parameters(each) < size]
    larger = [each for each in known if _parameters(each) >= size]
    for each in (*smaller[:1], *larger[-1:]):
        if each.decision is not None:
            yield each.decision.evaluated


def _parameters(result: Outcome) -> int:
    return max((option.build.facts.parameters or 0 for option in result.field.options), default=0)


def _is_balanced(decision: Decision | None) -> bool:
    return decision is not None and decision.tier in TIERS[:2]


def _speed(result: Outcome) -> float:
    return result.decision.speed if result.decision is not None else 0.0
