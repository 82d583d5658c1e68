"""What a loaded model remembers: the KV cache of its attention, the state of its recurrent layers.

Formulas: fit.md 2.2, from llama.cpp's src/llama-kv-cache.cpp, llama-kv-cache-iswa.cpp and
llama-memory-recurrent.cpp; verified against the engine in tests/runtimes/planning. The cache is allocated
whole at load. slmctl's worker asks for slots of their own (`kv_unified` off): every slot has `Shape.context`
cells, rounded up to 256.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from registry.errors import MalformedFile
from registry.formats.facts import ModelFacts, Pattern, PerLayer, Recurrent
from registry.formats.ggml_types import GGML_TYPES_BY_NAME
from runtimes.planning.values import Shape

CELLS_STEP = 256
_F32 = 4


@dataclass(frozen=True, slots=True)
class Remembered:
    """Bytes that one layer keeps: of attention's cache, and of recurrent state. `cells` are of its cache."""

    kv: int
    state: int


def cells(context: int) -> int:
    """Cells of one slot."""
    return -(-context // CELLS_STEP) * CELLS_STEP


def window_cells(context: int, window: int, micro_batch: int) -> int:
    """Cells of one slot of a cache that only keeps the window, with room for the tokens on their way in."""
    return cells(min(cells(context), window + micro_batch))


def remembered(facts: ModelFacts, shape: Shape) -> tuple[Remembered, ...]:
    """What each layer keeps, first to last. Raises MalformedFile for facts that lack a size it needs."""
    return _remembered(_without_weights(facts), shape)


def total_remembered(facts: ModelFacts, shape: Shape) -> Remembered:
    """What all layers keep together. Raises as `remembered`."""
    return _total(_without_weights(facts), shape)


def checkpoint_bytes(facts: ModelFacts, shape: Shape) -> int:
    """Bytes of one context checkpoint of one slot: llama-server copies what it could not cut back, which is
    recurrent state and the caches of windows, and keeps up to `ctx_checkpoints` copies on the host."""
    one = replace(shape, parallel=1)
    layers = remembered(facts, one)
    windows = (layer.kv for number, layer in enumerate(layers) if is_windowed(facts, number))
    return sum(layer.state for layer in layers) + sum(windows)


def _without_weights(facts: ModelFacts) -> ModelFacts:
    """The facts that memory of the context depends on: the same for every quantization of a model."""
    return replace(facts, tensors=(), quantization=None, format="gguf")


# a plan asks the same of every quantization and every split, and it takes a loop over all layers
@lru_cache(maxsize=1024)
def _remembered(facts: ModelFacts, shape: Shape) -> tuple[Remembered, ...]:
    layers = cache_layers(facts)
    return tuple(
        Remembered(_kv(facts, shape, layer) if has_kv(facts, layer) else 0, _state(facts, shape, layer))
        for layer in range(layers)
    )


@lru_cache(maxsize=1024)
def _total(facts: ModelFacts, shape: Shape) -> Remembered:
    layers = _remembered(facts, shape)
    return Remembered(sum(layer.kv for layer in layers), sum(layer.state for layer in layers))


def cache_layers(facts: ModelFacts) -> int:
    if facts.layers is None:
        raise MalformedFile("These facts do not say how many layers the model has.")
    return facts.layers


def has_kv(facts: ModelFacts, layer: int) -> bool:
    """Whether this layer has a cache of its own."""
    owners = cache_layers(facts) - (facts.shared_kv_layers or 0)
    return layer < owners and (facts.kv_layers is None or _at(facts.kv_layers, layer))


def is_windowed(facts: ModelFacts, layer: int) -> bool:
    window = facts.window
    return window is not None and window.layers is not None and _at(window.layers, layer)


def cache_cells(facts: ModelFacts, shape: Shape) -> tuple[int, ...]:
    """The cells of each cache that there is, all slots together: the whole context's, the windows'."""
    return _cache_cells(_without_weights(facts), shape)


@lru_cache(maxsize=1024)
def _cache_cells(facts: ModelFacts, shape: Shape) -> tuple[int, ...]:
    layers = [layer for layer in range(cache_layers(facts)) if has_kv(facts, layer)]
    kinds = sorted({is_windowed(facts, layer) for layer in layers})
    return tuple(_cells(facts, shape, windowed=windowed) * shape.parallel for windowed in kinds)


def _cells(facts: ModelFacts, shape: Shape, *, windowed: bool) -> int:
    if windowed and facts.window is not None:
        return window_cells(shape.context, facts.window.size, shape.micro_batch)
    return cells(shape.context)


def _kv(facts: ModelFacts, shape: Shape, layer: int) -> int:
    windowed = is_windowed(facts, layer)
    heads = per_layer(facts.kv_heads, layer)
    head_k, head_v = facts.head_size_k, facts.head_size_v
    if windowed and facts.window is not None:
        head_k = facts.window.head_size_k or head_k
        head_v = facts.window.head_size_v or head_v
    if facts.latent is not None:
        heads, head_v = 1, 0
    if heads is None or head_k is None or head_v is None:
        raise MalformedFile("These facts do not say how large the heads of the KV cache are.")
    row = row_bytes(shape.type_k, heads * head_k) + row_bytes(shape.type_v, heads * head_v)
    return row * _cells(facts, shape, windowed=windowed) * shape.parallel


def row_bytes(kind: str, elements: int) -> int:
    """Bytes of one row of a cache of this type (`f16`, `q8_0`), whose blocks are whole."""
    entry = GGML_TYPES_BY_NAME[kind.upper()]
    return -(-elements // entry.block_size) * entry.block_bytes


def _state(facts: ModelFacts, shape: Shape, layer: int) -> int:
    """State of a recurrent layer, F32, one for each slot: what convolution and recurrence look back on."""
    recurrent = facts.recurrent
    if recurrent is None or recurrent.layers is None or not _at(recurrent.layers, layer):
        return 0
    return _F32 * shape.parallel * (_convolution(facts, recurrent) + _recurrence(facts, recurrent))


def _convolution(facts: ModelFacts, recurrent: Recurrent) -> int:
    if recurrent.wkv_head_size:
        return (recurrent.token_shift or 2) * (facts.hidden or 0)
    if recurrent.conv_cache:
        return (recurrent.conv_cache - 1) * (facts.hidden or 0)
    if recurrent.kda_head_size and recurrent.conv_kernel:
        width = (per_layer(facts.heads, 0) or 0) * recurrent.kda_head_size
        return 3 * (recurrent.conv_kernel - 1) * width
    if not recurrent.conv_kernel:
        return 0
    width = (recurrent.inner_size or 0) + 2 * (recurrent.group_count or 0) * (recurrent.state_size or 0)
    return (recurrent.conv_kernel - 1) * width


def _recurrence(facts: ModelFacts, recurrent: Recurrent) -> int:
    if recurrent.wkv_head_size:
        return recurrent.wkv_head_size * (facts.hidden or 0)
    if recurrent.conv_cache:
        return 0
    if recurrent.kda_head_size:
        return (per_layer(facts.heads, 0) or 0) * recurrent.kda_head_size**2
    return (recurrent.state_size or 0) * (recurrent.inner_size or 0)


def per_layer(value: PerLayer | None, layer: int) -> int | None:
    """The layer's own value of a fact that may differ from layer to layer."""
    return value[layer % len(value)] if isinstance(value, tuple) else value


def _at(pattern: Pattern, layer: int) -> bool:
    return pattern[layer % len(pattern)]
