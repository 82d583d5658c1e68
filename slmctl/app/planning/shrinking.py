"""What became of the memory since a plan was made: before a pull, or for another machine."""

from __future__ import annotations

from collections.abc import Iterator

from registry.errors import DoesNotFit
from runtimes.hardware.machine import Hardware
from runtimes.planning.budget import HOST, Budget, device_budget, host_budget
from runtimes.planning.values import Evaluated, Plan
from slmctl.app.planning.planner import Planner
from slmctl.app.planning.wishes import RunWishes
from slmctl.app.planning.words import mib
from slmctl.config import Settings

_WORTH_SAYING = 64 << 20
"""Less free memory than planned is told from this difference on, if the model still fits."""


def less(before: int, now: int) -> str:
    """By how much memory has shrunk, as a sentence."""
    return f"{mib(before - now)} less is free than when it was planned."


def shrunk(found: Plan, settings: Settings, name: str, wishes: RunWishes) -> Iterator[str]:
    """What became of the free memory since the plan was made: by a profile, or before a pull."""
    assert found.chosen is not None
    if wishes.profile is not None:
        here = Planner(settings, quick=True).hardware
        for pool, need, budget in _needs(found.chosen, here):
            if need > budget.bytes:
                there = f"it needs {mib(need)}, and {mib(budget.bytes)} are there ({budget.source})"
                smaller = less(found.chosen.budget[pool], budget.bytes)
                text = f"{name} was planned for another machine: {there}: {smaller}"
                if not wishes.force:
                    raise DoesNotFit(text, hint="Leave out --for; --force loads it all the same.")
                yield text
        return
    if wishes.planned is None or wishes.planned.chosen is None:
        return
    for pool, before in wishes.planned.chosen.budget.items():
        now = found.chosen.budget.get(pool)
        if now is not None and before - now >= _WORTH_SAYING and found.launch != wishes.planned.launch:
            context = found.chosen.candidate.shape.context
            yield f"{less(before, now)} It runs with {context:,} tokens of context."


def _needs(chosen: Evaluated, hardware: Hardware) -> Iterator[tuple[str, int, Budget]]:
    """What each pool must hold, and what this machine has for it."""
    need = chosen.need
    if need.of(HOST):
        yield HOST, int(need.of(HOST) * need.margin), host_budget(hardware)
    for device in hardware.devices:
        if not device.unified and need.of(device.id):
            yield device.id, int(need.of(device.id) * need.margin), device_budget(device, hardware)
    here = {HOST, *(device.id for device in hardware.devices)}
    for pool in chosen.budget:
        if pool not in here and need.of(pool):
            source = f"there is no {pool} here"
            nothing = Budget(pool=pool, bytes=0, free=0, reserve=0, code="MEM_DEVICE", source=source)
            yield pool, int(need.of(pool) * need.margin), nothing
