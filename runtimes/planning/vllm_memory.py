"""What vLLM must find in its share of a device: the weights, its own overhead, and every request's cache.

It takes `gpu_memory_utilization` of the device whatever the model (fit.md 2.3); what of that is left after
weights and overhead is the pool of the caches.
"""

from __future__ import annotations

from runtimes.planning.kv_cache import remembered
from runtimes.planning.memory import HOST
from runtimes.planning.values import Build, Need, Part, Shape

_OVERHEAD, _LARGE_OVERHEAD, _LARGE = 1536 * 2**20, 2048 * 2**20, 40 * 2**30  # fit.md 6.8 (22) and (23)
_PROCESS = 4 * 2**30  # Python, torch and CUDA's host side: a guess
_TYPES = {"fp8": "i8"}  # a byte each, whatever its bits mean


def vllm_need(build: Build, shape: Shape, *, device_pool: str, device_total: int | None) -> Need:
    """What `build` takes on the device of that id for `shape.parallel` requests of `shape.context` tokens.

    Exact but for the overhead: what vLLM does not find, it serves in turn, so there is no margin. Raises
    MalformedFile for facts that lack a size of the cache.
    """
    facts = build.facts
    kind = _TYPES.get(shape.type_k, shape.type_k)
    one = Shape(context=shape.context, type_k=kind, type_v=kind, micro_batch=shape.micro_batch)
    each = sum(layer.kv + layer.state for layer in remembered(facts, one))
    overhead = _LARGE_OVERHEAD if (device_total or 0) >= _LARGE else _OVERHEAD
    caches = f"{shape.parallel} requests of {shape.context} tokens in {shape.type_k}"
    parts = (
        Part(
            name="weights",
            pool=device_pool,
            bytes=facts.tensor_bytes or build.size,
            kind="device",
            source="tensor table" if facts.tensors else "size of the files",
        ),
        Part(name="kv", pool=device_pool, bytes=each * shape.parallel, kind="device", source=caches),
        Part(name="compute", pool=device_pool, bytes=overhead, kind="device", source="fit.md 2.3"),
        Part(name="process", pool=HOST, bytes=_PROCESS, kind="anon", source="a guess"),
    )
    return Need(parts=parts, method="parameters", margin=1.0)
