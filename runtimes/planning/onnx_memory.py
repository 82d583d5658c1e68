"""What ONNX Runtime GenAI takes: the files, and a cache of the whole context in the graph's own type.

On a CPU an int4 graph keeps inputs and outputs in 32 bits, so that its cache is twice llama.cpp's; the
embedding stays in 32 bits too, and is in the size of the files (fit.md 1.4, 2.3).
"""

from __future__ import annotations

from runtimes.planning.compute import compute_bytes
from runtimes.planning.kv_cache import remembered
from runtimes.planning.memory import HOST, PARAMETERS_MARGIN, process_bytes
from runtimes.planning.values import Build, Need, Part, Shape


def onnx_need(build: Build, shape: Shape, *, device_pool: str | None) -> Need:
    """What `build` takes; `device_pool` is a device with memory of its own, None for the host's.

    Raises MalformedFile for facts that lack a size of the cache.
    """
    facts, pool = build.facts, device_pool or HOST
    kind = "anon" if pool == HOST else "device"
    cache = sum(layer.kv + layer.state for layer in remembered(facts, shape))
    words = f"{shape.context} tokens in {shape.type_k}, allocated at once"
    parts = (
        Part(name="weights", pool=pool, bytes=build.size, kind=kind, source="size of the files"),
        Part(name="kv", pool=pool, bytes=cache, kind=kind, source=words),
        Part(
            name="compute",
            pool=pool,
            bytes=compute_bytes(facts, shape) if facts.hidden else 0,
            kind=kind,
            source="as llama.cpp's",
        ),
        Part(name="process", pool=HOST, bytes=process_bytes(facts), kind="anon", source="as llama.cpp's"),
    )
    return Need(parts=parts, method="parameters", margin=PARAMETERS_MARGIN)
