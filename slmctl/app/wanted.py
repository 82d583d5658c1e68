"""What is wanted of weights that are converted or quantized. Apart from what does it, which imports numpy."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

GGUF, SAFETENSORS = "gguf", "safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How to quantize, beside the type: as the options of `slmctl quantize`. `tensor_types` are pairs of a
    pattern of tensors' names and a type; `threads` None takes all cores."""

    importance_matrix: Path | None = None
    tensor_types: tuple[tuple[str, str], ...] = ()
    output_type: str | None = None
    embedding_type: str | None = None
    pure: bool = False
    allow_requantize: bool = False
    threads: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be made: `only` one of the formats, None for both; `labels` are quantizations to make in the
    place of the GGUF that has the weights as they are; `out_type` is what that one has them as."""

    only: str | None = None
    labels: tuple[str, ...] = ()
    out_type: str | None = None
    recipe: Recipe = field(default_factory=Recipe)
