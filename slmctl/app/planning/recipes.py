"""What a model is in other formats than GGUF, from its unquantized facts, by the formats' own recipes.

Sources: fit.md 1.4. mlx-lm's affine quantization: so many bits, and for each group a 16-bit scale and bias.
The builder of onnxruntime-genai: int4 in blocks of 32 with a scale of each MatMul, and the embedding in F32.
BitNet's I2_S: two bits a weight.
"""

from __future__ import annotations

import re
from dataclasses import replace

from registry.formats.facts import ModelFacts, TensorRow

_BITS = re.compile(r"[-_](?P<bits>[234568])[-_]?bit", re.IGNORECASE)
_MLX_GROUP = 64
_INT4_BITS = 4.5
_KEPT = frozenset({"norm", "bias", "position_embd", "token_types", "other", "ffn_gate_inp"})
_EMBEDDINGS = frozenset({"token_embd"})


def folder_facts(facts: ModelFacts, model_format: str, repository: str, selector: str) -> ModelFacts | None:
    """The facts of a build that is a folder; None for one whose names do not say what it is."""
    if model_format == "safetensors":
        return replace(facts, format="safetensors")
    if model_format == "mlx":
        found = _BITS.search(repository)
        if found is None:
            return replace(facts, format="mlx")
        bits = int(found["bits"])
        per_weight = bits + 32 / _MLX_GROUP
        rows = tuple(_as(row, f"q{bits}-g{_MLX_GROUP}", per_weight, _MLX_GROUP) for row in facts.tensors)
        return replace(facts, format="mlx", quantization=f"q{bits}-g{_MLX_GROUP}", tensors=rows)
    if model_format == "onnx" and re.search(r"int4|q4", f"{repository} {selector}", re.IGNORECASE):
        rows = tuple(
            _as(row, "F32", 32.0, 1) if row.tensor_class in _EMBEDDINGS else _as(row, "int4", _INT4_BITS, 32)
            for row in facts.tensors
        )
        return replace(facts, format="onnx", quantization="int4", tensors=rows)
    return None


def as_i2_s(facts: ModelFacts) -> ModelFacts:
    """The facts of microsoft/BitNet's own file: its ternary matrices as I2_S, the embedding as F16."""
    rows = tuple(
        row if row.tensor_class in _EMBEDDINGS else _as(row, "I2_S", 2.0, 1) for row in facts.tensors
    )
    return replace(facts, quantization="I2_S", tensors=rows)


def _as(row: TensorRow, kind: str, bits: float, group: int) -> TensorRow:
    if row.tensor_class in _KEPT or row.columns is None or row.columns % group:
        return row
    return replace(row, type=kind, bytes=int(row.elements * bits / 8))
