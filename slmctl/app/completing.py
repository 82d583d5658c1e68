"""Whether an adapter or a draft is made for a model, from the headers alone.

llama.cpp refuses a wrong adapter when the model is loaded, and does without a wrong draft in silence; the
author is told when the model is made. Sources: llama.cpp, src/llama-adapter.cpp (an adapter has `X.lora_a`,
`X.lora_b` for a tensor X), common/speculative.cpp (what two vocabularies must have in common).
"""

from __future__ import annotations

from collections.abc import Sequence

from registry.errors import UsageError
from registry.formats.gguf import GgufHeader

MOST_VOCABULARY_DIFFERENCE = 128
"""By so many tokens may a draft's vocabulary be larger or smaller."""

_EMBEDDING = "token_embd.weight"  # its two parts are stored the other way round


def check_adapter(shown: str, adapter: GgufHeader, model: Sequence[GgufHeader]) -> None:
    """Raise UsageError unless the LoRA `adapter` fits the tensors of the model; `shown` is its name."""
    kind = adapter.metadata.get("adapter.type")
    if kind != "lora":
        raise UsageError(
            f"The adapter {shown} is of the kind {str(kind)[:40]!r}.", hint="Use a LoRA adapter in GGUF."
        )
    architecture = model[0].architecture
    if adapter.architecture != architecture:
        raise _wrong_adapter(shown, f"it is for {adapter.architecture}, and the model is {architecture}")
    shapes = {tensor.name: tensor.dims for header in model for tensor in header.tensors}
    parts = {tensor.name: tensor.dims for tensor in adapter.tensors}
    if not parts:
        raise _wrong_adapter(shown, "it changes nothing")
    for name, dims in parts.items():
        base, _, part = name.rpartition(".")
        shape = shapes.get(base)
        if part not in ("lora_a", "lora_b") or shape is None:
            raise _wrong_adapter(shown, f"its tensor {name[:80]} belongs to none of the model's")
        if base == _EMBEDDING or len(dims) < 2 or len(shape) < 2:
            continue
        fits = dims[0] == shape[0] if part == "lora_a" else dims[1] == shape[1]
        if not fits:
            raise _wrong_adapter(shown, f"its tensor {name[:80]} has another shape")


def check_draft(shown: str, draft: Sequence[GgufHeader], model: Sequence[GgufHeader]) -> None:
    """Raise UsageError unless a draft speaks the model's vocabulary."""
    kinds = [headers[0].metadata.get("tokenizer.ggml.model") for headers in (draft, model)]
    sizes = [_vocabulary(headers) for headers in (draft, model)]
    differs = kinds[0] != kinds[1]
    if None not in sizes:
        differs = differs or abs((sizes[0] or 0) - (sizes[1] or 0)) > MOST_VOCABULARY_DIFFERENCE
    if differs:
        raise UsageError(
            f"The draft {shown} has another vocabulary than the model.",
            hint="Use a smaller model of the same family.",
        )


def _vocabulary(headers: Sequence[GgufHeader]) -> int | None:
    """The rows of the token embedding."""
    rows = (tensor.dims for header in headers for tensor in header.tensors if tensor.name == _EMBEDDING)
    return next((dims[1] for dims in rows if len(dims) > 1), None)


def _wrong_adapter(shown: str, why: str) -> UsageError:
    return UsageError(
        f"The adapter {shown} does not fit the model: {why}.",
        hint="Use an adapter that was made for this model.",
    )
