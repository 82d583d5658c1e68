"""llama.cpp's compute and output buffers: what one step of the graph needs at its widest place.

Formulas: fit.md 2.3 for graphs with gated feed-forward layers, our own for those without a gate and for
logits; measured against the engine in tests/runtimes/planning/test_ground_truth.py. They say where ggml's
allocator has its peak, which is in the feed-forward part as long as that is wider than the attention: for
narrower ones, for experts and for recurrent layers `is_covered` is False, and the oracle measures instead
(runtimes/oracle.py).
"""

from __future__ import annotations

from registry.errors import MalformedFile
from registry.formats.facts import ModelFacts
from runtimes.planning.kv_cache import cache_cells, per_layer
from runtimes.planning.values import Shape

GATED = frozenset(
    {
        *(
            "llama",
            "qwen2",
            "qwen2vl",
            "qwen3",
            "phi3",
            "gemma",
            "gemma2",
            "gemma3",
            "bitnet",
            "granite",
            "smollm3",
        ),
        *(
            "exaone",
            "exaone4",
            "olmo2",
            "lfm2",
            "minicpm",
            "mistral3",
            "seed_oss",
            "hunyuan-dense",
            "maincoder",
        ),
        *("internlm2", "ernie4_5", "xverse"),
    }
)
UNGATED = frozenset({"starcoder2", "gptneox", "bert"})
"""The architectures whose graphs were measured."""

WITHOUT_FLASH_ATTENTION = frozenset(
    {
        *(
            "llama",
            "qwen2",
            "qwen2vl",
            "qwen3",
            "bitnet",
            "granite",
            "smollm3",
            "exaone",
            "minicpm",
            "seed_oss",
        ),
        *("hunyuan-dense", "maincoder", "internlm2", "ernie4_5", "xverse"),
    }
)
"""Those of them that keep to the formula without flash attention too."""

_F32, _F16 = 4, 2
_INPUTS_PER_TOKEN = 40  # positions, tokens, where to write K and V


def is_covered(facts: ModelFacts, shape: Shape) -> bool:
    """Whether the closed form is known to hold for this model's graph, loaded like this."""
    hidden, wide, query = facts.hidden, _widest(facts.feed_forward), _query(facts)
    if facts.experts is not None or facts.latent is not None or not hidden or not wide or wide <= 2 * hidden:
        return False
    if _logits(facts, shape, hidden) > _layer(facts, shape, hidden):
        return False
    if shape.flash_attention:
        return facts.architecture in GATED | UNGATED and query <= 2 * hidden
    return facts.architecture in WITHOUT_FLASH_ATTENTION and hidden <= query <= 2 * hidden


def compute_bytes(facts: ModelFacts, shape: Shape) -> int:
    """Bytes of the compute buffer, on the host or on the device. Raises MalformedFile where a size is
    unknown.

    For models that `is_covered` does not know it is the same, widened for experts and recurrence: a guess.
    """
    hidden = facts.hidden
    if hidden is None:
        raise MalformedFile("These facts do not say how wide the model is.")
    widest = max(_layer(facts, shape, hidden), _logits(facts, shape, hidden))
    mask = _tokens(shape) * (_F16 if shape.flash_attention else _F32) * _mask_cells(facts, shape)
    if not shape.flash_attention:
        widest = max(widest, _scores(facts, shape, hidden))
    return widest + mask + _tokens(shape) * _INPUTS_PER_TOKEN + _rotation(facts, shape)


def output_bytes(facts: ModelFacts, shape: Shape) -> int:
    """Bytes of the buffer of results: a row of logits, or of both, for each slot and drafted token."""
    row = (facts.vocabulary or 0) + (facts.hidden or 0 if shape.embedding else 0)
    return row * shape.parallel * (1 + shape.draft_tokens) * _F32


def _tokens(shape: Shape) -> int:
    return min(shape.micro_batch, shape.context * shape.parallel)


def _mask_cells(facts: ModelFacts, shape: Shape) -> int:
    """What a token may look at: the cells of one slot in each cache; without a cache the tokens beside it."""
    return sum(cache_cells(facts, shape)) // shape.parallel if has_cache(facts) else _tokens(shape)


def has_cache(facts: ModelFacts) -> bool:
    """Whether the model remembers anything: encoders do not."""
    return facts.recurrent is not None or facts.kv_layers is None or any(facts.kv_layers)


def _layer(facts: ModelFacts, shape: Shape, hidden: int) -> int:
    """The widest place of a layer, without the mask."""
    wide = _widest(facts.feed_forward)
    width = 5 * hidden + (wide if facts.architecture in UNGATED else 3 * wide)
    if facts.experts is not None:
        used = facts.experts.used or 1
        width = max(width, 2 * used * (hidden + (facts.experts.feed_forward or wide)))
    if facts.recurrent is not None and facts.recurrent.inner_size:
        width = max(width, 5 * hidden + 5 * facts.recurrent.inner_size)
    return _tokens(shape) * _F32 * width


def _scores(facts: ModelFacts, shape: Shape, hidden: int) -> int:
    """The scores of all heads at once, which flash attention does without."""
    heads = per_layer(facts.heads, 0) or 0
    keys = (per_layer(facts.kv_heads, 0) or 0) * (facts.head_size_k or 0)
    cells = max(cache_cells(facts, shape), default=0) // shape.parallel
    return _tokens(shape) * _F32 * (3 * hidden + 3 * _query(facts) + 2 * keys + heads * cells)


def _logits(facts: ModelFacts, shape: Shape, hidden: int) -> int:
    """The end of the graph: asked for embeddings, a model with an output makes a row of it for each token."""
    if not has_cache(facts):
        return 0
    outputs = _tokens(shape) if shape.embedding else shape.parallel * (1 + shape.draft_tokens)
    return outputs * (facts.vocabulary or 0) * _F32 + _tokens(shape) * 6 * hidden * _F32


def _rotation(facts: ModelFacts, shape: Shape) -> int:
    """The matrix that quantized K and V are rotated with before they are stored, one for each cache."""
    size = facts.head_size_k or 0
    if shape.type_k.upper() in {"F16", "F32", "BF16"} or size % 64 or facts.latent is not None:
        return 0
    return len(cache_cells(facts, shape)) * size * size * _F32


def _query(facts: ModelFacts) -> int:
    return (per_layer(facts.heads, 0) or 0) * (facts.head_size_k or 0)


def _widest(feed_forward: int | tuple[int, ...] | None) -> int:
    return max(feed_forward) if isinstance(feed_forward, tuple) else feed_forward or 0
