"""What vLLM needs to hold a model for so many requests (fit.md 2.3).

It takes `gpu_memory_utilization` of a device's whole memory whatever the model is: the budget is that
reservation, and the need is what must find room in it.
"""

from __future__ import annotations

from registry.errors import MalformedFile
from registry.formats.facts import ModelFacts
from runtimes.planning.kv_cache import cache_layers, has_kv, per_layer
from runtimes.planning.memory import HEADER_MARGIN, HOST, process_bytes
from runtimes.planning.values import Build, Need, Part, Shape

_OVERHEAD = 1536 * 2**20  # activations, CUDA graphs and context: 1.5 to 2 GiB
_ELEMENT = {"f32": 4, "f16": 2, "bf16": 2, "fp8": 1, "q8_0": 1}
_BLOCK = 16  # tokens that its cache hands out together


def vllm_need(build: Build, shape: Shape, *, device_pool: str) -> Need:
    """What `build` takes on the device for `shape.parallel` requests of `shape.context` tokens each.

    The cache's type may be `fp8` beside the usual 16 bits. Raises MalformedFile for facts that lack a size.
    """
    facts = build.facts
    size = facts.tensor_bytes or build.size
    tokens = -(-shape.context // _BLOCK) * _BLOCK * shape.parallel
    kv = tokens * bytes_per_token(facts, shape.type_k)
    parts = (
        Part(name="weights", pool=device_pool, bytes=size, kind="device", source="tensor table"),
        Part(name="kv", pool=device_pool, bytes=kv, kind="device", source=f"{tokens} tokens, {shape.type_k}"),
        Part(
            name="compute", pool=device_pool, bytes=_OVERHEAD, kind="device", source="reported, 1.5 to 2 GiB"
        ),
        Part(name="process", pool=HOST, bytes=process_bytes(facts), kind="anon", source="as llama.cpp's"),
    )
    return Need(parts=parts, method="header", margin=HEADER_MARGIN)


def bytes_per_token(facts: ModelFacts, kind: str) -> int:
    """Bytes of the cache for one token in all layers. Raises MalformedFile for facts that lack a size."""
    element = _ELEMENT.get(kind, 2)
    if facts.head_size_k is None or facts.head_size_v is None or facts.kv_heads is None:
        raise MalformedFile("These facts do not say how large the heads of the KV cache are.")
    width = facts.head_size_k if facts.latent is not None else facts.head_size_k + facts.head_size_v
    heads = (
        1 if facts.latent is not None else per_layer(facts.kv_heads, layer) or 0
        for layer in range(cache_layers(facts))
        if has_kv(facts, layer)
    )
    return sum(heads) * width * element
