"""How large a model is as a Q4_K_M GGUF, from the facts of any other build of it.

Q4_K_M is a mixture: most matrices become Q4_K, the output and some layers' values and down projections Q6_K.
The rules are llama.cpp's (src/llama-quant.cpp, `llama_tensor_get_type_impl`) for dense models below 70B.
"""

from __future__ import annotations

from registry.errors import MalformedFile
from registry.formats.facts import ModelFacts, TensorRow
from registry.formats.ggml_types import GGML_TYPES_BY_NAME, fallback_type

_MOSTLY, _FINER = "Q4_K", "Q6_K"
_FINER_IN_SOME_LAYERS = frozenset({"attn_v", "attn_qkv", "ffn_down"})
_KEPT = frozenset({"norm", "bias", "position_embd", "token_types", "other"})


def q4_k_m_bytes(facts: ModelFacts) -> int:
    """Bytes of the tensors after quantization, without the header; a file has a few MB more.

    Raises MalformedFile for facts that do not say what the rules need: layers, rows, or their columns.
    """
    if not facts.layers or not facts.tensors:
        raise MalformedFile("These facts have no layers or no tensors, and so no size after quantization.")
    return sum(_row_bytes(row, facts.layers, tied=bool(facts.tied_embeddings)) for row in facts.tensors)


def _row_bytes(row: TensorRow, layers: int, *, tied: bool) -> int:
    if row.tensor_class in _KEPT:
        return row.bytes
    if row.tensor_class == "output" or (row.tensor_class == "token_embd" and tied):
        return _as(_FINER, row, row.elements)
    finer = row.elements // layers * _finer_layers(layers) if row.tensor_class in _FINER_IN_SOME_LAYERS else 0
    return _as(_FINER, row, finer) + _as(_MOSTLY, row, row.elements - finer)


def _finer_layers(layers: int) -> int:
    """How many layers get more bits: the first and the last eighth, and every third between."""
    eighth = layers // 8
    return sum(
        layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2 for layer in range(layers)
    )


def _as(name: str, row: TensorRow, elements: int) -> int:
    """Bytes of so many elements as this type, or as the one that stands in where it does not divide rows."""
    kind = GGML_TYPES_BY_NAME[name]
    if row.columns is None:
        raise MalformedFile(f"These facts do not say how long the rows of {row.tensor_class} are.")
    if row.columns % kind.block_size:
        kind = GGML_TYPES_BY_NAME[fallback_type(name) or "F16"]
    return elements // kind.block_size * kind.block_bytes
