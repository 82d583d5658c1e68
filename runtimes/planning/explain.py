"""What bound the choice, and what would change it: sentences with the number that decided."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator

from runtimes.hardware.unused import what_is_unused
from runtimes.planning.assess import Assessor, Option, needed, rejected
from runtimes.planning.budget import HOST, MIB, Budget, host_budget
from runtimes.planning.choose import Decision, contexts, size
from runtimes.planning.outcome import Outcome, admits_floor, as_asked
from runtimes.planning.quality import TIERS, is_cache_safe, limit
from runtimes.planning.speed import device_rate, weight_bytes_read
from runtimes.planning.values import Evaluated, Rejection

_CGROUP_LEAST, _CGROUP_SHARE = 128 * MIB, 0.10  # the reserve in a cgroup, as in `budget`


def binding(result: Outcome, assessor: Assessor) -> Rejection | None:
    """What kept the plan from something better; None where there is nothing better."""
    decision = result.decision
    if decision is None:
        return _nearest(result, assessor)
    for better in _better(decision, result, assessor):
        if better.rejection is not None:
            return better.rejection
    candidate = decision.evaluated.candidate
    if decision.slow:
        floor = assessor.request.min_speed
        detail = f"{decision.speed:.1f} tokens/s are expected; {as_asked(floor)} would not be slow."
        return rejected(candidate, "SPEED_FLOOR", detail)
    return _no_upgrade(decision, result, assessor)


def would_change(result: Outcome, assessor: Assessor) -> tuple[tuple[str, str], ...]:
    """Pairs of a condition and what it would bring."""
    found: dict[tuple[str, str], None] = {}
    decision = result.decision
    if decision is None:
        found.update(dict.fromkeys(_for_nothing(result, assessor)))
        return tuple(found)
    for better in _better(decision, result, assessor):
        if _lack(better) is not None:
            found[_more(better, assessor), _named(better, decision)] = None
    found.update(dict.fromkeys(_unused_devices(decision, assessor)))
    found.update(dict.fromkeys(_unused_instructions(decision, assessor)))
    return tuple(found)


def _better(decision: Decision, result: Outcome, assessor: Assessor) -> Iterator[Evaluated]:
    """What the next steps up would have been, at the same place: the cache, the context, the tier."""
    option, shape = decision.option, decision.evaluated.candidate.shape
    wanted = contexts(assessor.request, option.build.facts.trained_context).wanted
    if shape.context < wanted:
        yield assessor.assess(option, wanted, shape.type_k, shape.gpu_layers or None)
    plain = option.engine.cache_types(option.placement)[0]
    if shape.type_k != plain and assessor.request.kv_type is None:
        yield assessor.assess(option, shape.context, plain, shape.gpu_layers or None)
    if shape.gpu_layers and shape.gpu_layers <= (option.build.facts.layers or 0):
        yield assessor.assess(option, shape.context, shape.type_k)
    better = _next_tier(decision, result, assessor)
    if better is not None:
        yield assessor.assess(better, shape.context, plain)


def _next_tier(decision: Decision, result: Outcome, assessor: Assessor) -> Option | None:
    """The smallest build that does not fit here and would be of the next better tier."""
    tier = TIERS.index(decision.tier) if decision.tier in TIERS else len(TIERS)
    if tier == 0 or assessor.request.prefer != "balanced":
        return None
    most = limit(TIERS[tier - 1])
    shape = decision.evaluated.candidate.shape
    own = [
        each
        for each in result.field.options
        if each.place == decision.option.place
        and each.engine is decision.option.engine
        and each.build.made == decision.option.build.made
        and assessor.quality(each.build, "f16").loss <= most
    ]
    plain = decision.option.engine.cache_types(decision.option.placement)[0]
    failing = [each for each in own if assessor.assess(each, shape.context, plain).rejection is not None]
    if len(failing) < len(own):
        return None
    return min(failing, key=lambda each: (size(each), each.key), default=None)


def _no_upgrade(decision: Decision, result: Outcome, assessor: Assessor) -> Rejection | None:
    """Why a near-lossless build was not taken although it fits: comfort, or room."""
    if decision.tier != "balanced" or assessor.request.prefer != "balanced":
        return None
    most = limit("near-lossless")
    own = [
        each
        for each in result.field.options
        if each.place == decision.option.place
        and each.engine is decision.option.engine
        and assessor.quality(each.build, "f16").loss <= most
    ]
    if not own:
        return None
    option = min(own, key=lambda each: (size(each), each.key))
    shape = decision.evaluated.candidate.shape
    plain = option.engine.cache_types(option.placement)[0]
    evaluated = assessor.assess(option, shape.context, plain)
    comfort = assessor.request.comfort_speed
    expected = evaluated.speed.expected if evaluated.speed is not None else 0.0
    if expected < comfort:
        would = f"{option.build.variant} would give {expected:.1f} tokens/s"
        detail = f"{would}; an upgrade keeps {as_asked(comfort)}."
        return rejected(evaluated.candidate, "SPEED_FLOOR", detail)
    if evaluated.rejection is not None:
        return evaluated.rejection
    budget = assessor.budgets(option)[-1]
    need = evaluated.need.of(budget.pool)
    detail = (
        f"{option.build.variant} would fit, but take {_mib(need)} of {_mib(budget.bytes)},"
        " more than an upgrade may."
    )
    return rejected(evaluated.candidate, budget.code, detail, need=need, budget=budget.bytes)


def _nearest(result: Outcome, assessor: Assessor) -> Rejection | None:
    """For a NOFIT: what came closest, at the least context that would do."""
    tries = list(_smallest_tries(result, assessor))
    slow = _fastest_of_the_slow(tries, result, assessor)
    if slow is not None:
        return slow
    tried = [each for each in tries if each.rejection is not None]
    if tried:
        closest = min(tried, key=lambda each: (_lack(each) or 0, each.candidate.build.variant))
        return closest.rejection
    return result.field.refused[0] if result.field.refused else None


def _fastest_of_the_slow(tries: Iterable[Evaluated], result: Outcome, assessor: Assessor) -> Rejection | None:
    """Where a speed was asked for: what fits, and comes closest to it."""
    request, floor = assessor.request, admits_floor(result.field.options, assessor)
    found = [
        (each.speed.expected, each.candidate)
        for each in tries
        if each.rejection is None and each.speed is not None
        if floor or each.quality.loss <= limit("compact")
    ]
    if not request.speed_is_pinned or not found:
        return None
    speed, candidate = max(found, key=lambda each: (each[0], each[1].build.variant))
    if speed >= request.min_speed:
        return None
    detail = f"{speed:.1f} tokens/s are expected, {as_asked(request.min_speed)} were asked for."
    return rejected(candidate, "SPEED_FLOOR", detail)


def _is_too_slow(evaluated: Evaluated, assessor: Assessor) -> bool:
    request, speed = assessor.request, evaluated.speed
    return request.speed_is_pinned and speed is not None and speed.expected < request.min_speed


def _smallest_tries(result: Outcome, assessor: Assessor) -> Iterator[Evaluated]:
    pinned = assessor.request.kv_type
    for option in result.field.options:
        least = contexts(assessor.request, option.build.facts.trained_context).least
        for cache_type in (pinned,) if pinned else option.engine.cache_types(option.placement):
            if pinned or is_cache_safe(option.build, cache_type):
                yield assessor.assess(option, least, cache_type)


def _for_nothing(result: Outcome, assessor: Assessor) -> Iterator[tuple[str, str]]:
    """What would make something fit: the least that is lacking for a tier that is chosen unasked."""
    tried = [
        each
        for each in _smallest_tries(result, assessor)
        if each.rejection is not None and each.quality.loss <= limit("compact")
        if not _is_too_slow(each, assessor)
    ]
    for tier in ("balanced", "compact"):
        own = [each for each in tried if each.quality.loss <= limit(tier) and _lack(each) is not None]
        if not own:
            continue
        best = min(own, key=lambda each: (_lack(each) or 0, each.candidate.build.variant))
        yield _more(best, assessor), _named(best, None)


def _limit_for(need: int, budget: Budget) -> int:
    """The limit of the cgroup that would leave `need` after its reserve, with the same use by others."""
    used = max(0, int(budget.source.rpartition(" = ")[2] or 0) - budget.free)
    wanted = need + used
    return max(wanted + _CGROUP_LEAST, math.ceil(wanted / (1 - _CGROUP_SHARE)))


def _unused_devices(decision: Decision, assessor: Assessor) -> Iterator[tuple[str, str]]:
    """Devices that the installed build of the engine cannot drive, and what they would bring."""
    engine = assessor.hardware.engine(decision.option.engine.name)
    if engine is None or not engine.installed or decision.option.placement.device is not None:
        return
    for device in sorted(assessor.hardware.devices, key=lambda each: each.id):
        unseen = not set(device.apis) & set(engine.apis)
        if device.kind != "gpu" or not unseen or not device.apis:
            continue
        facts = decision.evaluated.candidate.build.facts
        rate = device_rate(
            dataclasses.replace(assessor.hardware, speeds=()), engine.name, device, device.apis[0]
        )
        read = weight_bytes_read(facts, decision.evaluated.candidate.build.size, cpu=False)
        speed = 1 / ((facts.layers or 0) * rate.overhead + read / rate.bandwidth)
        if speed > decision.speed:
            gain = (
                f"about {speed:.0f} tokens/s on {device.name} where all layers fit,"
                f" instead of {decision.speed:.0f}"
            )
            api = next((api for api in ("cuda", "rocm", "vulkan") if api in device.apis), device.apis[0])
            yield f"a build of {engine.name} for {api}", gain


def _unused_instructions(decision: Decision, assessor: Assessor) -> Iterator[tuple[str, str]]:
    """What a build of the engine that uses all of this CPU would bring."""
    hardware, engine = assessor.hardware, decision.option.engine
    speed = decision.evaluated.speed
    spare = what_is_unused(hardware.cpu, assessor.features(engine))
    if decision.option.placement.device is not None or spare is None or speed is None:
        return
    if speed.basis == "prior" and spare.decode < 1:
        gain = f"about {speed.expected / spare.decode:.1f} tokens/s instead of {speed.expected:.1f}"
        yield f"a build of {engine.name} that uses {', '.join(spare.features)}", gain


def _more(evaluated: Evaluated, assessor: Assessor) -> str:
    """What is lacking, and where if that is a device's own memory; under a cgroup's limit free memory of the
    host helps nobody, but a higher limit does."""
    lacks = {pool: needed(evaluated, pool) - budget for pool, budget in evaluated.budget.items()}
    pool = max(lacks, key=lambda pool: lacks[pool])
    more = f"+{_mib(max(0, lacks[pool]))}"
    if evaluated.budget[pool] == assessor.request.max_memory:
        return f"{more} in --max-memory"
    host = host_budget(assessor.hardware)
    if pool == HOST and host.code == "MEM_CGROUP" and host.bytes == evaluated.budget[pool]:
        return f"a memory limit of {_gib(_limit_for(needed(evaluated, pool), host))}"
    return f"{more} free{'' if pool == HOST else f' on {pool}'}"


def _lack(evaluated: Evaluated) -> int | None:
    """Bytes that are missing in the pool that lacks most; None where nothing is."""
    lacks = [needed(evaluated, pool) - budget for pool, budget in evaluated.budget.items()]
    most = max(lacks, default=0)
    return most if most > 0 else None


def _named(evaluated: Evaluated, decision: Decision | None) -> str:
    """What it would be, as far as it differs from the choice."""
    candidate = evaluated.candidate
    shape = candidate.shape
    if decision is None:
        return (
            f"{candidate.build.model} {candidate.build.variant}, context {shape.context:,}, {shape.type_k} KV"
        )
    own = decision.evaluated.candidate
    if candidate.build is not own.build:
        return candidate.build.variant
    if shape.context != own.shape.context:
        return f"context {shape.context:,}"
    if shape.type_k != own.shape.type_k:
        return f"{shape.type_k} KV cache"
    return "all layers on the device"


def _mib(size_: int) -> str:
    return f"{math.ceil(size_ / MIB):,} MiB"


def _gib(size_: int) -> str:
    return f"{math.ceil(size_ * 10 / 2**30) / 10:.1f} GiB"
