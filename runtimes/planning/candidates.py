"""Which builds could run on which engines at which places here, and what speaks against the others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from runtimes.engines.llamacpp_paper import LLAMA_CPP_ON_PAPER
from runtimes.engines.mlx import MLX_ON_PAPER
from runtimes.engines.onnx import ONNX_ON_PAPER
from runtimes.engines.paper import PaperEngine, Placement, Refusal
from runtimes.engines.vllm import VLLM_ON_PAPER
from runtimes.hardware.machine import Hardware
from runtimes.planning.assess import Option
from runtimes.planning.choose import contexts
from runtimes.planning.values import Build, PlanRequest, Rejection

PAPER_ENGINES: tuple[PaperEngine, ...] = (
    LLAMA_CPP_ON_PAPER,
    MLX_ON_PAPER,
    VLLM_ON_PAPER,
    ONNX_ON_PAPER,
)
"""The engines that a plan weighs, in order of preference."""

_WHOLE, _CACHE_BLOCK = ("f16", "bf16", "f32"), 32  # llama.cpp makes no context for other heads
_DISK_SPARE = 2**30  # what stays free on the disk (fit.md 6.2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """What is left to choose from, and what was turned down before any number was looked at."""

    options: tuple[Option, ...]
    refused: tuple[Rejection, ...]


def field_of(builds: Sequence[Build], hardware: Hardware, request: PlanRequest) -> Field:
    """The options among `builds`, in an order that does not depend on theirs."""
    options: list[Option] = []
    refused: dict[Rejection, None] = {}
    engines = [engine for engine in PAPER_ENGINES if is_runtime(engine.name, request.runtime)]
    gates = {engine.name: engine.gate(hardware) for engine in engines}
    for build in _sorted(builds):
        own = _against(build, hardware, request)
        if own is not None:
            refused[_rejection(own, build, None)] = None
            continue
        for engine in engines:
            against = gates[engine.name] or engine.refuses(build)
            if against is not None:
                refused[_rejection(against, build, engine.name)] = None
                continue
            there = hardware.engine(engine.name)
            for placement in engine.placements(build, hardware):
                against = _refusal(placement, engine, build, request)
                if against is not None:
                    refused[_rejection(against, build, engine.name)] = None
                elif isinstance(placement, Placement) and _is_wanted(placement.place, request):
                    installed = there is not None and there.installed
                    options.append(
                        Option(build=build, engine=engine, placement=placement, installed=installed)
                    )
    return Field(options=tuple(_without_pinned_cpu(options, request)), refused=tuple(refused))


def is_variant(build: Build, asked: str | None) -> bool:
    """Whether the build's id is the variant asked for, or has it in it, in any case (DESIGN.md 5)."""
    return asked is None or asked.lower() in build.variant.lower()


def of_variant(builds: Iterable[Build], asked: str | None) -> tuple[Build, ...]:
    """The builds of a variant: an exact id counts alone, else a whole last part, else any part."""
    found = [build for build in builds if is_variant(build, asked)]
    word = (asked or "").lower()
    for exact in (
        [build for build in found if build.variant.lower() == word],
        [build for build in found if build.variant.lower().endswith(f"-{word}")],
    ):
        if asked is not None and exact:
            return tuple(exact)
    return tuple(found)


def is_runtime(name: str, asked: str | None) -> bool:
    """Whether an engine is the one asked for; `onnx` is enough for `onnxruntime-genai`."""
    return asked is None or name == asked or (len(asked) > 2 and name.startswith(asked.lower()))


def _sorted(builds: Iterable[Build]) -> list[Build]:
    return sorted(builds, key=_identity)


def _identity(build: Build) -> tuple[object, ...]:
    """What tells builds apart, in an order that is always the same."""
    name = (build.model, build.variant, build.digest or "", build.size, build.quantization or "")
    made = (build.producer or "", build.divergence or -1.0, build.importance_matrix is True)
    return (*name, *made, build.stored, build.made, build.facts.tensor_bytes)


def _against(build: Build, hardware: Hardware, request: PlanRequest) -> Refusal | None:
    """What speaks against a build on any engine."""
    trained = build.facts.trained_context
    asked = request.context if request.context_is_pinned else None
    if asked is not None and trained is not None and asked > trained and not request.rope_scaling:
        return Refusal(
            code="CTX_EXCEEDS_TRAIN",
            detail=f"A context of {asked:,} was asked for; the model was trained on {trained:,}.",
        )
    head = build.facts.head_size_k
    if request.kv_type not in (None, *_WHOLE) and head is not None and head % _CACHE_BLOCK:
        return Refusal(
            code="KV_QUANT_UNSAFE",
            detail=f"Heads of {head} do not divide into the blocks of {_CACHE_BLOCK} of a quantized cache.",
        )
    if build.stored:
        return None
    if request.offline:
        return Refusal(code="OFFLINE_NOT_CACHED", detail="It is not stored, and nothing may be fetched.")
    free = hardware.disk_free
    if free is not None and build.size + _DISK_SPARE > free:
        return Refusal(
            code="DISK",
            detail=f"It takes {build.size:,} bytes and 1 GiB to spare; the disk has {free:,} free.",
        )
    return None


def _refusal(
    placement: Placement | Refusal, engine: PaperEngine, build: Build, request: PlanRequest
) -> Refusal | None:
    """Why not there: the engine's own reason, or a graph compiled for less than is wanted."""
    if isinstance(placement, Refusal):
        return placement
    most = engine.most_context(placement)
    least = contexts(request, build.facts.trained_context).least
    if most is None or least <= most:
        return None
    return Refusal(
        code="CTX_EXCEEDS_STATIC",
        detail=f"A context of {least:,} is the least; this graph is compiled for {most:,}.",
        place=placement.place,
    )


def _is_wanted(place: str, request: PlanRequest) -> bool:
    return request.gpu_layers != 0 or place == "cpu"


def _without_pinned_cpu(options: Sequence[Option], request: PlanRequest) -> Iterator[Option]:
    """A pinned number of layers on the GPU speaks for a device, where there is one that will do."""
    devices = {option.build.variant for option in options if option.place != "cpu"}
    pinned = request.gpu_layers is not None and request.gpu_layers != 0
    for option in options:
        if not (pinned and option.place == "cpu" and option.build.variant in devices):
            yield option


def _rejection(refusal: Refusal, build: Build, runtime: str | None) -> Rejection:
    return Rejection(
        code=refusal.code,
        detail=refusal.detail,
        model=build.model,
        variant=build.variant,
        runtime=runtime,
    )
