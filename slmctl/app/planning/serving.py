"""A plan for a worker of the server: how many requests it answers at once, and whether it fits at all.

How many slots, where nobody said: the largest of 4 (llama-server's own number), 2 and 1 that changes nothing
else, as the variant, the context of each request or the type of its cache, and that takes at most half of
what one slot would leave free, because other models want to be loaded too.
"""

from __future__ import annotations

import dataclasses

from registry.errors import DoesNotFit
from registry.store.reader import StoreReader
from slmctl.app.load import LoadRequest, Serving
from slmctl.app.package import check_unpacked
from slmctl.app.planning.running import RunPlan, plan_run
from slmctl.app.planning.wishes import ServingPlan
from slmctl.config import Settings

_MANY = (4, 2)
_SHARE = 0.5


def plan_served(
    store: StoreReader, settings: Settings, request: LoadRequest, serving: Serving, *, room: int = 0
) -> RunPlan:
    """Choose the variant, the slots and the flags. With `room`, as if so many bytes more were free.

    Raises as `plan_run` does, and DoesNotFit for a variant whose files lie where nothing can use them.
    """

    def planned(parallel: int) -> RunPlan:
        return plan_run(
            store,
            settings,
            request.package,
            variant=request.variant,
            parameters=request.parameters,
            wishes=request.wishes,
            serving=ServingPlan(parallel=parallel, embedding=serving.purpose != "text", room=room),
        )

    one = planned(serving.parallel or 1)
    check_unpacked(request.package, one.variant)
    if serving.parallel is not None or one.chosen is None:
        return one
    for parallel in _MANY:
        try:
            several = planned(parallel)
        except DoesNotFit:
            continue
        if _is_good(several, one):
            return several
    return one


def need_of(decided: RunPlan) -> tuple[int, int]:
    """Bytes that the plan takes in all, and those of them that are on a device: with the margin."""
    chosen = decided.chosen
    if chosen is None:  # no plan could be made: the weights are the least
        return decided.variant.size, 0
    need = chosen.need
    device = sum(part.bytes for part in need.parts if part.kind == "device")
    return int(need.total * need.margin), int(device * need.margin)


def _is_good(several: RunPlan, one: RunPlan) -> bool:
    """Whether several slots leave all else as it is, and enough room."""
    wide, narrow = several.chosen, one.chosen
    if wide is None or narrow is None:
        return False
    alike = dataclasses.replace(wide.candidate.shape, parallel=narrow.candidate.shape.parallel)
    if alike != narrow.candidate.shape or wide.candidate.build != narrow.candidate.build:
        return False
    for pool, budget in narrow.budget.items():
        more = (wide.need.of(pool) - narrow.need.of(pool)) * wide.need.margin
        if more > _SHARE * (budget - narrow.need.of(pool) * narrow.need.margin):
            return False
    return True
