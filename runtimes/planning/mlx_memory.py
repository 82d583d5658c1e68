"""What MLX takes: the weights as they are, a cache in 16 bits, and its buffers (fit.md 1.4, 2.3)."""

from __future__ import annotations

from runtimes.planning.kv_cache import remembered
from runtimes.planning.memory import HOST, PARAMETERS_MARGIN, process_bytes
from runtimes.planning.values import Build, Need, Part, Shape

_BUFFERS, _HIDDEN = 1_000_000_000, 2560
"""Peak less weights of Qwen3-4B at benchmark prompts, 0.98 to 1.09 GB in every width (fit.md 2.3), its cache
included; other models by their width."""


def mlx_need(build: Build, shape: Shape, *, device_pool: str | None) -> Need:
    """What `build` takes in MLX; `device_pool` is a device with memory of its own, None for the host's.

    Raises MalformedFile for facts that lack a size of the cache.
    """
    facts, pool = build.facts, device_pool or HOST
    kind = "anon" if pool == HOST else "device"
    cache = sum(layer.kv + layer.state for layer in remembered(facts, shape))
    buffers = _BUFFERS * (facts.hidden or _HIDDEN) // _HIDDEN
    process = process_bytes(facts)
    parts = (
        Part(
            name="weights",
            pool=pool,
            bytes=facts.tensor_bytes or build.size,
            kind=kind,
            source="tensor table" if facts.tensors else "size of the files",
        ),
        Part(name="kv", pool=pool, bytes=cache, kind=kind, source=f"{shape.context} tokens in 16 bits"),
        Part(name="compute", pool=pool, bytes=buffers, kind=kind, source="measured for Qwen3-4B, by width"),
        Part(name="process", pool=HOST, bytes=process, kind="anon", source="as llama.cpp's"),
    )
    return Need(parts=parts, method="parameters", margin=PARAMETERS_MARGIN)
