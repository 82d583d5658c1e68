"""What MLX takes to hold a model (fit.md 2.3): weights, cache, and what it works with.

Low confidence: there is one source for the last part, the peak less the weights of Qwen3-4B on an M4 Max
(0.98 to 1.09 GB at bf16, q8 and q4). It is taken to grow with the width of a layer.
"""

from __future__ import annotations

from registry.errors import MalformedFile
from registry.formats.facts import ModelFacts
from runtimes.planning.kv_cache import total_remembered
from runtimes.planning.memory import HOST, PARAMETERS_MARGIN, process_bytes
from runtimes.planning.values import Build, Need, Part, Shape

_WORKING = 1_000_000_000
_WORKING_WIDTH = 5 * 2560 + 3 * 9728  # of Qwen3-4B, as in compute.py
_STEP = 256  # tokens by which its cache grows


def mlx_need(build: Build, shape: Shape, *, device_pool: str | None) -> Need:
    """What `build` takes on a device of its own, or of the host's memory where `device_pool` is None.

    The cache is in 16 bits, or in 8 where the type is `q8_0`: groups of 64 with scale and bias are 8.5 bits
    too. Raises MalformedFile for facts that lack a size.
    """
    facts = build.facts
    pool, kind = (HOST, "anon") if device_pool is None else (device_pool, "device")
    memory = total_remembered(facts, shape)
    parts = (
        Part(
            name="weights",
            pool=pool,
            bytes=facts.tensor_bytes or build.size,
            kind=kind,
            source="tensor table",
        ),
        Part(
            name="kv",
            pool=pool,
            bytes=memory.kv + memory.state,
            kind=kind,
            source=f"steps of {_STEP} tokens, {shape.type_k}",
        ),
        Part(name="compute", pool=pool, bytes=_working(facts), kind=kind, source="measured on Qwen3-4B"),
        Part(name="process", pool=HOST, bytes=process_bytes(facts), kind="anon", source="as llama.cpp's"),
    )
    return Need(parts=parts, method="parameters", margin=PARAMETERS_MARGIN)


def _working(facts: ModelFacts) -> int:
    if facts.hidden is None:
        raise MalformedFile("These facts do not say how wide the model is.")
    wide = max(facts.feed_forward) if isinstance(facts.feed_forward, tuple) else facts.feed_forward or 0
    return _WORKING * (5 * facts.hidden + 3 * wide) // _WORKING_WIDTH
