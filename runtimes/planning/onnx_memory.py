"""What ONNX Runtime GenAI takes to hold a model (fit.md 1.4, 2.3).

Its builder keeps the cache in the type of the graph's inputs, F32 on a CPU and F16 on a device, and
allocates it for the whole context at once (`past_present_share_buffer`). Not measured here.
"""

from __future__ import annotations

from dataclasses import replace

from runtimes.planning.compute import compute_bytes
from runtimes.planning.kv_cache import total_remembered
from runtimes.planning.memory import HOST, PARAMETERS_MARGIN, process_bytes
from runtimes.planning.values import Build, Need, Part, Shape


def onnx_need(build: Build, shape: Shape, *, device_pool: str | None) -> Need:
    """What `build` takes on a device of its own, or of the host's memory where `device_pool` is None.

    Raises MalformedFile for facts that lack a size.
    """
    facts = build.facts
    pool, kind = (HOST, "anon") if device_pool is None else (device_pool, "device")
    wide = "f32" if device_pool is None and shape.type_k == "f32" else "f16"
    memory = total_remembered(facts, replace(shape, type_k=wide, type_v=wide))
    compute = compute_bytes(facts, shape)
    parts = (
        Part(
            name="weights", pool=pool, bytes=facts.tensor_bytes or build.size, kind=kind, source="onnx.data"
        ),
        Part(
            name="kv",
            pool=pool,
            bytes=memory.kv + memory.state,
            kind=kind,
            source=f"the whole context in {wide}",
        ),
        Part(name="compute", pool=pool, bytes=compute, kind=kind, source="as llama.cpp's"),
        Part(name="process", pool=HOST, bytes=process_bytes(facts), kind="anon", source="as llama.cpp's"),
    )
    return Need(parts=parts, method="parameters", margin=PARAMETERS_MARGIN)
