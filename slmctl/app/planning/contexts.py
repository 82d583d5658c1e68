"""A context that was asked for, held against what a model was trained for: `plan` says what `run` does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from runtimes.planning.values import Build, PlanRequest


def capped(request: PlanRequest, builds: Sequence[Build], name: str) -> tuple[PlanRequest, tuple[str, ...]]:
    """The request with no more context than any of the builds was trained for, and a sentence where that is
    less than was asked. Of several sizes those that were trained for less are left to the plan."""
    trained = [each.facts.trained_context for each in builds]
    most = max((each for each in trained if each is not None), default=None)
    asked = request.context if request.context_is_pinned else None
    if asked is None or most is None or None in trained or asked <= most or request.rope_scaling:
        return request, ()
    said = f"{name} was trained for {most} tokens of context; it gets no more."
    return replace(request, context=most), (said,)
