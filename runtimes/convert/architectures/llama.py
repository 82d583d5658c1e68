"""Llama 2 and 3, and what is built like them: SmolLM2, Mistral, hello."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from gguf import MODEL_ARCH

from registry.errors import MalformedFile
from runtimes.convert import keys
from runtimes.convert.architectures.family import WINDOW_NOTE, Family, Model
from runtimes.convert.config import Rope
from runtimes.convert.rows import Floats, Rows, made
from runtimes.convert.values import Key


class Llama(Family):
    arch = MODEL_ARCH.LLAMA
    classes = frozenset({"LlamaForCausalLM", "LLaMAForCausalLM", "MistralForCausalLM"})
    model_types = frozenset({"llama", "mistral"})
    says_head_size = True

    def notes(self, model: Model) -> Iterator[str]:
        window = model.config.whole_or_none("sliding_window")
        if window is not None and window < model.config.whole("max_position_embeddings", window):
            yield WINDOW_NOTE.format(window)

    def keys(self, model: Model) -> Iterator[Key]:
        yield from super().keys(model)
        yield keys.whole(f"{self.name}.vocab_size", model.config.whole("vocab_size"))
        yield keys.whole(f"{self.name}.rope.dimension_count", model.config.head_size)

    def generated(self, model: Model) -> Iterator[tuple[str, Rows]]:
        rope = model.config.rope(self.rope_base)
        if rope.kind == "llama3":
            factors = llama3_factors(rope, model.config.head_size)
            yield "rope_freqs.weight", made("rope_freqs.weight", factors)

    def ordered(self, model: Model, name: str, rows: Rows) -> Rows:
        """llama.cpp rotates numbers that lie beside each other, Transformers those half a head apart."""
        part = name.rsplit(".", 2)[-2]
        if part not in ("attn_q", "attn_k"):
            return rows
        heads = model.config.heads if part == "attn_q" else model.config.kv_heads
        if not rows.shape or rows.shape[0] != heads * model.config.head_size or model.config.head_size % 2:
            raise MalformedFile(
                f"The tensor {rows.name} has {rows.shape[0] if rows.shape else 0} rows, not {heads} heads of "
                f"{model.config.head_size}."
            )
        return rows.interleaved(heads)


def llama3_factors(rope: Rope, head_size: int) -> Floats:
    """What each frequency is divided by: nothing for short wavelengths, `factor` for long ones, something
    between for those between. Source: `_compute_llama3_parameters` in Transformers' modeling_rope_utils.py.

    Raises MalformedFile for settings from which nothing can be worked out.
    """
    settings = rope.settings
    factor = settings.real("factor", 8.0)
    low, high = settings.real("low_freq_factor", 1.0), settings.real("high_freq_factor", 4.0)
    trained = settings.whole("original_max_position_embeddings", 8192)
    if min(factor, low, high, rope.base) <= 0 or low == high:
        raise MalformedFile(f"The {settings.shown} cannot be: a factor is not above 0, or two are one.")
    exponents = np.arange(0, head_size, 2, dtype=np.float32) / np.float32(head_size)
    # each step in F32, as Transformers and llama.cpp's converter do it
    frequencies = np.float32(1) / np.power(rope.base, exponents.astype(np.float64)).astype(np.float32)
    wavelengths = np.float32(2 * math.pi) / frequencies
    smooth = (np.float32(trained) / wavelengths - np.float32(low)) / np.float32(high - low)
    between = np.float32(1) / ((np.float32(1) - smooth) / np.float32(factor) + smooth)
    long = np.where(wavelengths > np.float32(trained / low), np.float32(factor), between)
    return np.where(wavelengths < np.float32(trained / high), np.float32(1), long)
