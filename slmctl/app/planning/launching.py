"""What a plan for `run` tells the engine, and what its load and its answers are held against."""

from __future__ import annotations

from typing import Any

from registry.names import short_name
from runtimes.planning.budget import HOST, device_budget, host_budget
from runtimes.planning.kv_cache import remembered
from runtimes.planning.speed import cache_bytes_read, waits_for_threads, weight_bytes_read
from runtimes.planning.values import CONTEXT_STEP, Shape
from slmctl.app.planning.hardware import CPU, machine_of
from slmctl.app.planning.learn import Lesson, Pace
from slmctl.app.planning.planner import Planner, main_gpu
from slmctl.app.planning.running import RunPlan
from slmctl.config import Settings


def planned_flags(decided: RunPlan) -> dict[str, Any]:
    """The fields of a `LaunchRequest` that the plan decided."""
    launch = decided.launch
    assert launch is not None
    assert decided.hardware is not None
    chosen = decided.chosen
    runtime = chosen.candidate.runtime if chosen is not None else ""
    return {
        "parallel": launch.parallel,
        "threads": launch.threads,
        "batch_threads": launch.batch_threads,
        "batch": launch.batch,
        "micro_batch": launch.micro_batch,
        "gpu_layers": launch.gpu_layers,
        "main_gpu": None if launch.device is None else main_gpu(decided.hardware, runtime, launch.device),
        "cache_type_k": launch.type_k,
        "cache_type_v": launch.type_v,
        "flash_attention": launch.flash_attention,
        "cache_ram_mib": launch.cache_ram >> 20,
        "context_checkpoints": launch.context_checkpoints,
        "mmap": launch.mmap,
        "repack": launch.repack,
    }


def pace_of(decided: RunPlan) -> Pace | None:
    """What the answers' times are held against; None where a GPU and the CPU share the work."""
    chosen, hardware = decided.chosen, decided.hardware
    if chosen is None or chosen.speed is None or hardware is None or decided.foreign:
        return None
    candidate, shape = chosen.candidate, chosen.candidate.shape
    facts, engine = candidate.build.facts, hardware.engine(candidate.runtime)
    whole_model = shape.gpu_layers in (0, (facts.layers or 0) + 1)
    if engine is None or engine.version is None or not facts.layers or not whole_model:
        return None
    assert decided.launch is not None
    cpu = candidate.place == CPU
    few = cpu and waits_for_threads(hardware)
    cached = Shape(context=CONTEXT_STEP, type_k=shape.type_k, type_v=shape.type_v, micro_batch=1)
    state = sum(each.state for each in remembered(facts, cached))
    return Pace(
        engine=candidate.runtime,
        build=engine.version,
        place=candidate.place,
        machine=machine_of(hardware, candidate.place),
        threads=decided.launch.threads if cpu else 0,
        layers=facts.layers,
        bytes=int(weight_bytes_read(facts, candidate.build.size, cpu=cpu, few_threads=few)),
        cache=(cache_bytes_read(facts, cached, few_threads=few) - state) // CONTEXT_STEP,
        overhead=chosen.speed.overhead,
        bandwidth=chosen.speed.bandwidth,
    )


def lesson_of(decided: RunPlan, settings: Settings, name: str) -> Lesson | None:
    """What the load is held against; None where no plan was made."""
    chosen, hardware = decided.chosen, decided.hardware
    if chosen is None or hardware is None:
        return None
    if decided.foreign:
        hardware = Planner(settings, quick=True).hardware
    engine = hardware.engine(chosen.candidate.runtime)
    if engine is None or engine.version is None:
        return None
    free = {HOST: host_budget(hardware).free}
    free |= {each.id: device_budget(each, hardware).free for each in hardware.devices if not each.unified}
    return Lesson(model=short_name(name), chosen=chosen, build=engine.version, free=free)
