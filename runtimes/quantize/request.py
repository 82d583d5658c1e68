"""What is asked of a quantization, in values that are checked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from registry.errors import UsageError
from registry.formats.ggml_types import GGML_TYPES_BY_NAME, file_type_number
from runtimes.planning.mix import QUANTIZATIONS

LABELS = tuple(label for label in QUANTIZATIONS if label != "NVFP4")
"""Every label that a file can be quantized to. NVFP4 has a file type, and no recipe in llama.cpp."""

TENSOR_TYPES = tuple(
    name for name in GGML_TYPES_BY_NAME if not re.fullmatch(r"I[0-9]+|F64|Q8_1|Q8_K|NVFP4", name)
)
"""Every type that an override may name: those that ggml makes out of floats, and that a file may hold."""

_SHORT = {"Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M"}


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizeRequest:
    """A GGUF model (its shards in order) and what to make of it.

    `quantization` is one of `LABELS`; `tensor_types` are overrides, each a regular expression that is
    searched for in tensors' names and one of `TENSOR_TYPES`, and the first that fits counts. `pure` gives
    every matrix the label's own type, without the recipe. `allow_requantize` lets tensors be quantized that
    already are. `threads` is how many work; None for every core that this process may use.
    """

    sources: tuple[Path, ...]
    quantization: str
    imatrix: Path | None = None
    tensor_types: tuple[tuple[str, str], ...] = ()
    output_tensor_type: str | None = None
    token_embedding_type: str | None = None
    pure: bool = False
    allow_requantize: bool = False
    threads: int | None = None


def quantization_label(text: str) -> str:
    """The label that is meant, in any case; `Q4_K` means Q4_K_M, as for llama-quantize. Raises UsageError."""
    label = text.upper()
    label = _SHORT.get(label, label)
    if label not in LABELS:
        raise UsageError(f"There is no quantization {text}.", hint=f"There are {', '.join(LABELS)}.")
    return label


def tensor_type(text: str) -> str:
    """The tensor type that is meant, in any case. Raises UsageError."""
    name = text.upper()
    if name not in TENSOR_TYPES:
        raise UsageError(f"There is no tensor type {text}.", hint=f"There are {', '.join(TENSOR_TYPES)}.")
    return name


def parse_override(text: str) -> tuple[str, str]:
    """`PATTERN=TYPE`: what is searched for in a tensor's name, and the type it gets. Raises UsageError."""
    pattern, equals, kind = text.rpartition("=")
    if not equals or not pattern:
        raise UsageError(
            f"{text} is no override of a tensor's type.", hint="It is PATTERN=TYPE, such as ffn_down=q6_k."
        )
    compiled(pattern)
    return pattern, tensor_type(kind)


def compiled(pattern: str) -> re.Pattern[str]:
    """The regular expression of an override; names are matched in any case. Raises UsageError."""
    try:
        return re.compile(pattern, re.IGNORECASE)
    except (re.error, RecursionError, OverflowError) as error:
        raise UsageError(f"{pattern} is no regular expression: {error}.") from None


def file_type(label: str) -> int:
    """`general.file_type` of a file of this label."""
    number = file_type_number(label)
    assert number is not None, label
    return number
