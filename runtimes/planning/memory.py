"""What llama.cpp takes to hold a model: weights, cache, buffers, the process itself (fit.md section 2)."""

from __future__ import annotations

from collections.abc import Iterator

from registry.formats.facts import ModelFacts
from runtimes.planning.compute import compute_bytes, is_covered, output_bytes
from runtimes.planning.kv_cache import remembered, total_remembered
from runtimes.planning.values import Build, Need, Part, Shape
from runtimes.planning.weights import layers_on_device, placed

HOST = "host"

ORACLE_MARGIN, HEADER_MARGIN, PARAMETERS_MARGIN = 1.02, 1.03, 1.12
"""By how much the need may be off, by the way it is known (fit.md 6.2)."""

_PROCESS = 32 * 2**20
_PER_TOKEN, _PER_TOKEN_WITHOUT_MERGES = 0.42 * 1024, 0.22 * 1024  # bytes for each entry of the vocabulary
_LARGEST_WITHOUT_MERGES = 33_000
"""What the worker takes beside the engine's buffers, measured after answers: 30.4 MiB, and 0.42 KiB a token
with merges, 0.16 without (xllamacpp 2026.10; fit.md 2.3 says 60 MiB and 0.35 KiB: docs/decisions/0024).
SentencePiece vocabularies have no merges: those of about 32,000 tokens, and Gemma's."""


def llamacpp_need(
    build: Build,
    shape: Shape,
    *,
    device_pool: str | None,
    unified: bool,
    features: frozenset[str],
    api: str = "cpu",
) -> Need:
    """What `build` takes when llama.cpp loads it as `shape` says.

    `device_pool` is the id of the device that `shape.gpu_layers` are put on, None for the CPU alone, and
    `api` how llama.cpp computes there. On a `unified` device all is of the pool `host`; Metal moreover reads
    the mapped file itself, so that nothing is held twice. `features` are the instruction sets that both the
    CPU and the engine's build have. Raises MalformedFile for facts that lack a size.
    """
    facts = build.facts
    gpu_layers = shape.gpu_layers if device_pool is not None else 0
    device = HOST if device_pool is None or unified else device_pool
    parts = [
        *(
            _shared_weights(facts)
            if api == "metal" and unified
            else _weights(facts, shape, gpu_layers, device, features)
        ),
        *_memory(facts, shape, gpu_layers, device),
        *_buffers(facts, shape, gpu_layers, device),
        *_beside(build, shape, gpu_layers, device),
    ]
    covered = is_covered(facts, shape) and not build.guessed
    return Need(
        parts=tuple(part for part in parts if part.bytes),
        method="header" if covered else "parameters",
        margin=HEADER_MARGIN if covered else PARAMETERS_MARGIN,
    )


def process_bytes(facts: ModelFacts) -> int:
    """What the process takes beside the engine's buffers: code, tokenizer, threads."""
    tokens = facts.vocabulary or 0
    without_merges = tokens <= _LARGEST_WITHOUT_MERGES or facts.architecture.startswith("gemma")
    return _PROCESS + int(tokens * (_PER_TOKEN_WITHOUT_MERGES if without_merges else _PER_TOKEN))


def _weights(
    facts: ModelFacts, shape: Shape, gpu_layers: int, device: str, features: frozenset[str]
) -> Iterator[Part]:
    where = placed(facts, gpu_layers, repack=shape.repack, features=features)
    source = "tensor table"
    yield Part(name="weights", pool=HOST, bytes=where.mapped, kind="file", source=source)
    yield Part(
        name="weights, rearranged",
        pool=HOST,
        bytes=where.repacked,
        kind="anon",
        source="types that this CPU repacks",
    )
    yield Part(
        name="tied embedding, rearranged",
        pool=HOST,
        bytes=where.doubled,
        kind="anon",
        source="as the output, beside the one that is looked up",
    )
    yield Part(name="weights on the device", pool=device, bytes=where.device, kind="device", source=source)


def _shared_weights(facts: ModelFacts) -> Iterator[Part]:
    yield Part(name="weights", pool=HOST, bytes=facts.tensor_bytes, kind="file", source="tensor table")


def _memory(facts: ModelFacts, shape: Shape, gpu_layers: int, device: str) -> Iterator[Part]:
    layers = remembered(facts, shape)
    first = len(layers) - layers_on_device(len(layers), gpu_layers)
    for pool, some in ((HOST, layers[:first]), (device, layers[first:])):
        kind = "anon" if pool == HOST else "device"
        kv, state = sum(layer.kv for layer in some), sum(layer.state for layer in some)
        yield Part(
            name="kv", pool=pool, bytes=kv, kind=kind, source=f"{shape.context} cells of {shape.type_k}"
        )
        yield Part(name="state", pool=pool, bytes=state, kind=kind, source="recurrent layers")


def _buffers(facts: ModelFacts, shape: Shape, gpu_layers: int, device: str) -> Iterator[Part]:
    where = device if gpu_layers else HOST
    kind = "anon" if where == HOST else "device"
    yield Part(
        name="compute", pool=where, bytes=compute_bytes(facts, shape), kind=kind, source="formula of 2.3"
    )
    yield Part(
        name="output", pool=HOST, bytes=output_bytes(facts, shape), kind="anon", source="vocabulary * slots"
    )
    yield Part(
        name="process", pool=HOST, bytes=process_bytes(facts), kind="anon", source="measured, by vocabulary"
    )


def _beside(build: Build, shape: Shape, gpu_layers: int, device: str) -> Iterator[Part]:
    where = device if gpu_layers else HOST
    kind = "anon" if where == HOST else "device"
    yield Part(name="projector", pool=where, bytes=build.projector_bytes, kind=kind, source="file size")
    yield Part(name="adapters", pool=where, bytes=build.adapter_bytes, kind=kind, source="file size")
    draft = build.draft
    if draft is not None:
        memory = total_remembered(draft, shape)
        kv = memory.kv + memory.state
        size = draft.tensor_bytes + kv + compute_bytes(draft, shape) + output_bytes(draft, shape)
        yield Part(name="draft", pool=where, bytes=size, kind=kind, source="the draft model's own header")
