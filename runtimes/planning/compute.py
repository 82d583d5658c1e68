"""llama.cpp's compute and output buffers: what one step of the graph needs at its widest place.

Formulas: fit.md 2.3, verified against the engine in tests/runtimes/planning. They hold for dense
transformers on the CPU; for other graphs `is_covered` is False and the oracle measures (runtimes/oracle.py).
"""

from __future__ import annotations

from registry.errors import MalformedFile
from registry.formats.facts import ModelFacts
from runtimes.planning.kv_cache import cache_cells, per_layer
from runtimes.planning.values import Shape

COVERED = frozenset({"llama", "qwen2", "qwen3", "phi3", "gemma2", "gemma3", "bitnet"})
_F32, _F16 = 4, 2


def is_covered(facts: ModelFacts) -> bool:
    """Whether the closed form is known to hold for this model's graph."""
    plain = facts.experts is None and facts.recurrent is None and facts.latent is None
    return facts.architecture in COVERED and plain


def compute_bytes(facts: ModelFacts, shape: Shape) -> int:
    """Bytes of the compute buffer. Raises MalformedFile for facts that lack a size it needs."""
    hidden, widest = facts.hidden, _widest(facts.feed_forward)
    if hidden is None:
        raise MalformedFile("These facts do not say how wide the model is.")
    tokens = min(shape.micro_batch, max(shape.context * shape.parallel, 1))
    cells = sum(cache_cells(facts, shape)) // shape.parallel
    layer = tokens * _F32 * (5 * hidden + 3 * (widest or 0))
    if shape.flash_attention:
        return layer + tokens * _F16 * cells
    heads, kv_heads = per_layer(facts.heads, 0) or 0, per_layer(facts.kv_heads, 0) or 0
    size = facts.head_size_k or 0
    scores = 3 * hidden + 3 * heads * size + 2 * kv_heads * size + heads * cells
    return max(layer, tokens * _F32 * scores) + tokens * _F32 * cells


def output_bytes(facts: ModelFacts, shape: Shape) -> int:
    """Bytes of the buffer of logits: a row for each slot and each drafted token."""
    return (facts.vocabulary or 0) * shape.parallel * (1 + shape.draft_tokens) * _F32


def _widest(feed_forward: int | tuple[int, ...] | None) -> int | None:
    return max(feed_forward) if isinstance(feed_forward, tuple) else feed_forward
