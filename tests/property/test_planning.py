"""What holds for every plan, whatever the machine and the builds: the properties of fit.md 6.7."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from registry.formats.facts import ModelFacts
from runtimes.engines.llamacpp_paper import LLAMA_CPP_ON_PAPER
from runtimes.engines.paper import Placement
from runtimes.hardware.machine import (
    Cpu,
    Device,
    EngineBuild,
    Hardware,
    Memory,
    MemoryLimit,
    SpeedFigure,
)
from runtimes.planning.candidates import PAPER_ENGINES
from runtimes.planning.document import from_json, to_json
from runtimes.planning.plan import plan
from runtimes.planning.quality import NO_TIER, TIERS, limit, quality
from runtimes.planning.values import Build, Need, Plan, PlanRequest, Shape
from tests.runtimes.planning.library import LABELS, folder, ggufs, plan_schema

MODELS = ("smollm2:135m", "smollm2:360m", "gemma3:1b", "qwen3:0.6b", "qwen3:4b", "llama3.1:8b")
ORDER = (*TIERS, NO_TIER, None)
GIB = 2**30

common = settings(deadline=None, max_examples=40)


@st.composite
def some_builds(draw: st.DrawFn, model: str | None = None, least: int = 1) -> list[Build]:
    """Builds of one model: GGUFs, some measured, some stored, now and then a folder for another engine."""
    name = model or draw(st.sampled_from(MODELS))
    labels = draw(st.lists(st.sampled_from(LABELS), min_size=least, max_size=6, unique=True))
    found = []
    for build in ggufs(name, labels=labels):
        measured = draw(st.none() | st.floats(0.0001, 0.6))
        found.append(
            dataclasses.replace(
                build,
                divergence=measured,
                stored=draw(st.booleans()),
                importance_matrix=draw(st.sampled_from([True, False, None])),
                digest=f"sha256:{build.variant}",
            )
        )
    size = found[0].facts.parameters or 0
    if draw(st.booleans()):
        found.append(folder(name, "mlx", draw(st.sampled_from(["q4-g64", "q8-g64"])), size))
    if draw(st.booleans()):
        found.append(folder(name, "safetensors", "bf16", 2 * size))
    if draw(st.booleans()):
        found.append(folder(name, "onnx", "int4-cpu", size))
    return found


# as many small machines as large ones: a plan that has too much of everything is no test
memories = st.builds(lambda power, part: int(2**power * (1 + part)), st.integers(28, 35), st.floats(0, 1))
shares = st.sampled_from([0.2, 0.5, 0.8, 0.95, 1.0])


@st.composite
def machines(draw: st.DrawFn) -> Hardware:
    total = draw(memories)
    cpu = Cpu(
        model=None,
        architecture="x86_64",
        features=tuple(sorted(draw(st.sampled_from([("sse42",), ("sse42", "avx2", "fma"), ("neon",)])))),
        logical=draw(st.integers(1, 64)),
        quota=draw(st.none() | st.floats(0.5, 16)),
        source="made up",
    )
    limits = tuple(
        MemoryLimit(limit=size, usage=size // 20, source="/sys/fs/cgroup/memory.max")
        for size in draw(st.just([]) | st.lists(memories, max_size=2))
    )
    memory = Memory(
        total=total,
        available=int(total * draw(shares)),
        limits=limits,
        bandwidth=draw(st.none() | st.integers(2 * 10**9, 4 * 10**11)),
        bandwidth_measured=draw(st.booleans()),
        source="made up",
    )
    devices = draw(st.lists(graphics_cards(), max_size=2, unique_by=lambda device: device.id))
    apis = ("cpu", "cuda", "vulkan") if draw(st.booleans()) else ("cpu",)
    engines = [EngineBuild(name="llama.cpp", installed=True, apis=apis, source="made up")]
    others = draw(st.sets(st.sampled_from(["mlx", "onnxruntime-genai", "vllm"])))
    engines += [
        EngineBuild(name=name, installed=True, apis=("cuda",), source="made up") for name in sorted(others)
    ]
    figure = SpeedFigure(
        engine="llama.cpp", place="cpu", overhead=1e-4, efficiency=0.5, basis="measured", source="made up"
    )
    return Hardware(
        system="linux",
        cpu=cpu,
        memory=memory,
        devices=tuple(devices),
        engines=tuple(engines),
        speeds=(figure,) if draw(st.booleans()) else (),
        disk_free=draw(st.none() | st.integers(GIB, 64 * GIB)),
    )


@st.composite
def graphics_cards(draw: st.DrawFn) -> Device:
    unified = draw(st.booleans())
    total = draw(memories)
    return Device(
        id=draw(st.sampled_from(["gpu0", "gpu1"])),
        kind="gpu",
        vendor="nvidia",
        name="NVIDIA GeForce RTX 3060",
        apis=("cuda", "vulkan"),
        total=None if unified else total,
        free=None if unified else int(total * draw(shares)),
        unified=unified,
        working_set=draw(st.none() | st.integers(GIB, 32 * GIB)) if unified else None,
        bandwidth=draw(st.none() | st.integers(10**10, 10**12)),
        capability="8.9",
        source="made up",
    )


@st.composite
def requests(draw: st.DrawFn) -> PlanRequest:
    context = draw(st.none() | st.sampled_from([512, 4096, 8192, 20_000, 32_768]))
    return PlanRequest(
        context=context,
        context_is_pinned=context is not None and draw(st.booleans()),
        parallel=draw(st.sampled_from([1, 1, 2, 8])),
        prefer=draw(st.sampled_from(["balanced", "quality", "speed", "smallest"])),
        kv_type=draw(st.sampled_from([None, None, "q8_0"])),
        min_speed=draw(st.sampled_from([0.5, 6.0, 30.0])),
        speed_is_pinned=draw(st.booleans()),
        force=draw(st.booleans()),
    )


def tight(hardware: Hardware, build: Build, share: float) -> Hardware:
    """The machine without devices and with about as much memory as this build needs for 4,096 tokens."""
    if LLAMA_CPP_ON_PAPER.refuses(build) is not None:
        return hardware
    shape = Shape(context=4096)
    need = LLAMA_CPP_ON_PAPER.need(build, shape, Placement(device=None, api="cpu"), frozenset())
    total = 64 * GIB
    available = int(need.total * share) + total // 10
    memory = dataclasses.replace(hardware.memory, total=total, available=available, limits=())
    return dataclasses.replace(hardware, memory=memory, devices=())


def rank(result: Plan) -> tuple[bool, bool, int]:
    """Lower is better: what can run as it is before what must be installed, a better tier before a worse."""
    return (result.verdict != "ok", "NOT_INSTALLED" in result.flags, ORDER.index(result.tier))


def with_more(hardware: Hardware, host: int, device: int) -> Hardware:
    """The machine with so much more memory in every pool."""
    memory = hardware.memory
    grown = dataclasses.replace(
        memory,
        total=memory.total + host,
        available=memory.available + host,
        limits=tuple(dataclasses.replace(each, limit=each.limit + host) for each in memory.limits),
    )
    devices = tuple(
        each
        if each.unified
        else dataclasses.replace(each, total=(each.total or 0) + device, free=(each.free or 0) + device)
        for each in hardware.devices
    )
    return dataclasses.replace(hardware, memory=grown, devices=devices)


@common
@given(some_builds(), machines(), requests(), memories, st.just(0) | memories)
def test_more_memory_never_lowers_the_tier(
    builds: list[Build], hardware: Hardware, request: PlanRequest, host: int, device: int
) -> None:
    before = plan(builds, hardware, request)
    after = plan(builds, with_more(hardware, host, device), request)
    assert rank(after) <= rank(before)


@st.composite
def loads(draw: st.DrawFn) -> tuple[Any, Build, Shape, Placement]:
    """An engine, a build that it can run, how, and where."""
    build = draw(st.sampled_from(draw(some_builds())))
    kind = build.facts.format
    engine = next(each for each in PAPER_ENGINES if each.refuses(build) is None)
    device = draw(graphics_cards())
    placement = Placement(device=device, api="cuda")
    if kind != "safetensors" and draw(st.booleans()):
        placement = Placement(device=None, api="cpu")
    cache_type = draw(st.sampled_from(engine.cache_types(placement)))
    shape = Shape(
        context=draw(st.integers(256, 40_000)),
        parallel=draw(st.integers(1, 8)),
        type_k=cache_type,
        type_v=cache_type,
        gpu_layers=0 if placement.device is None else draw(st.integers(0, 40)),
        repack=draw(st.booleans()),
    )
    return engine, build, shape, placement


def needs(load: tuple[Any, Build, Shape, Placement], *, context: int = 0, parallel: int = 0) -> Need:
    """What the load takes, with so much more context and so many more slots."""
    engine, build, shape, placement = load
    shape = dataclasses.replace(shape, context=shape.context + context, parallel=shape.parallel + parallel)
    found: Need = engine.need(build, shape, placement, frozenset({"avx2"}))
    return found


@common
@given(loads(), st.integers(0, 40_000))
def test_a_larger_context_never_needs_less(load: tuple[Any, Build, Shape, Placement], more: int) -> None:
    less, much = needs(load), needs(load, context=more)
    for pool in {part.pool for part in less.parts}:
        assert much.of(pool) >= less.of(pool)


@common
@given(loads(), st.integers(1, 4))
def test_more_slots_never_need_less(load: tuple[Any, Build, Shape, Placement], more: int) -> None:
    less, much = needs(load), needs(load, parallel=more)
    for pool in {part.pool for part in less.parts}:
        assert much.of(pool) >= less.of(pool)


@common
@given(st.data(), machines(), requests())
def test_another_build_never_makes_it_worse(
    data: st.DataObject, hardware: Hardware, request: PlanRequest
) -> None:
    # who prefers quality loses no more by it; who prefers balance stays in the tier, and may take fewer bytes
    request = dataclasses.replace(request, force=True)
    builds = data.draw(some_builds(least=2))
    fewer = [each for each in builds if each is not builds[0]]
    before, after = plan(fewer, hardware, request), plan(builds, hardware, request)
    assert (after.verdict == "ok") >= (before.verdict == "ok")
    assume(before.chosen is not None and after.chosen is not None)
    if request.prefer == "quality":
        old, new = (each.chosen.candidate.build for each in (before, after))  # type: ignore[union-attr]
        assert quality(new).loss <= quality(old).loss
    else:
        assert rank(after) <= rank(before)


@common
@given(some_builds(), machines(), requests(), st.just(0) | memories, shares)
def test_a_limit_of_the_whole_machine_is_none(
    builds: list[Build], hardware: Hardware, request: PlanRequest, above: int, share: float
) -> None:
    free = dataclasses.replace(hardware, memory=dataclasses.replace(hardware.memory, limits=()))
    size = hardware.memory.total + above
    limit_ = MemoryLimit(limit=size, usage=int(size * share), source="/sys/fs/cgroup/memory.max")
    held = dataclasses.replace(hardware, memory=dataclasses.replace(hardware.memory, limits=(limit_,)))
    assert plan(builds, held, request) == plan(builds, free, request)


@common
@given(st.data(), machines(), requests())
def test_the_order_of_enumeration_does_not_matter(
    data: st.DataObject, hardware: Hardware, request: PlanRequest
) -> None:
    models = data.draw(st.lists(st.sampled_from(MODELS), min_size=1, max_size=2, unique=True))
    builds = [build for model in models for build in data.draw(some_builds(model))]
    other = dataclasses.replace(
        hardware,
        devices=tuple(data.draw(st.permutations(hardware.devices))),
        engines=tuple(data.draw(st.permutations(hardware.engines))),
        memory=dataclasses.replace(
            hardware.memory, limits=tuple(data.draw(st.permutations(hardware.memory.limits)))
        ),
    )
    assert plan(data.draw(st.permutations(builds)), other, request) == plan(builds, hardware, request)


@common
@given(some_builds(), machines(), requests(), st.data())
def test_a_nofit_has_alternatives_or_says_that_there_are_none(
    builds: list[Build], hardware: Hardware, request: PlanRequest, data: st.DataObject
) -> None:
    siblings = data.draw(st.just([]) | some_builds("smollm2:135m"))
    result = plan(builds, hardware, request, siblings)
    assume(result.verdict == "nofit")
    assert result.alternatives or result.notes
    assert len(result.alternatives) <= 3
    assert result.binding is not None
    for each in result.alternatives:
        assert each.rejection is None
    if not result.alternatives:
        # then the least that one can ask for does not fit either
        context = min(request.context or 1024, 1024)
        least = PlanRequest(context=context, context_is_pinned=True, force=True)
        assert plan(builds, hardware, least).verdict == "nofit"


@common
@given(some_builds(), machines(), requests())
def test_parts_sum_to_the_need(builds: list[Build], hardware: Hardware, request: PlanRequest) -> None:
    result = plan(builds, hardware, request)
    for each in result.considered:
        assert {part.pool for part in each.need.parts} <= set(each.budget)
        assert sum(each.need.of(pool) for pool in each.budget) == each.need.total
    document: Any = to_json(result)
    for shown in [document, *document["alternatives"]]:
        if shown["memory"] is not None:
            assert sum(part["bytes"] for part in shown["memory"]["parts"]) == shown["memory"]["need_bytes"]


@common
@given(some_builds(), machines(), requests())
def test_a_plan_survives_json(builds: list[Build], hardware: Hardware, request: PlanRequest) -> None:
    result = plan(builds, hardware, request)
    text = json.dumps(to_json(result, hardware_digest="sha256:0"), allow_nan=False)
    plan_schema().validate(json.loads(text))
    assert from_json(json.loads(text), builds) == dataclasses.replace(result, considered=())


@common
@given(some_builds(), machines(), requests(), st.none() | st.floats(0.9, 1.3))
def test_the_choice_passes_its_own_constraints(
    builds: list[Build], hardware: Hardware, request: PlanRequest, share: float | None
) -> None:
    if share is not None:
        hardware = tight(hardware, builds[0], share)
    result = plan(builds, hardware, request)
    assume(result.chosen is not None)
    best = result.chosen
    assert best is not None
    assert best.rejection is None
    build, shape = best.candidate.build, best.candidate.shape
    for pool, budget in best.budget.items():
        assert int(best.need.of(pool) * best.need.margin) <= budget
    assert shape.context <= _trained(build.facts)
    if result.tier in TIERS:
        assert best.quality.loss <= limit(result.tier)
    if request.kv_type is None and shape.type_k not in ("f16", "f32"):
        assert shape.type_k in ("q8_0", "fp8")
        assert (build.facts.parameters or 0) >= 10**9
        assert (build.facts.head_size_k or 1) % 64 == 0
    if request.speed_is_pinned:
        assert best.speed is not None
        assert best.speed.expected >= request.min_speed
    # asked for by name, the same is chosen again
    pinned = dataclasses.replace(
        request,
        variant=build.variant,
        runtime=best.candidate.runtime,
        context=shape.context,
        context_is_pinned=True,
        kv_type=shape.type_k,
        gpu_layers=shape.gpu_layers,
    )
    again = plan(builds, hardware, pinned)
    assert again.chosen is not None
    assert again.chosen.candidate.build is build
    assert again.chosen.candidate.shape == shape


def _trained(facts: ModelFacts) -> int:
    return facts.trained_context or 2**31
