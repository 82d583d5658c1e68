"""Phi-3, Phi-3.5, Phi-4 and their minis: query, key and value in one matrix, gate and up in another.

Positions rotate only a part of each head in some (`partial_rotary_factor`), and beyond the context that the
model was first trained on each frequency is divided by a factor of its own (longrope): short ones up to
there, long ones beyond. Source: `_compute_longrope_parameters` in Transformers' modeling_rope_utils.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np
from gguf import MODEL_ARCH

from registry.errors import DoesNotFit, MalformedFile
from registry.formats.quote import quoted
from runtimes.convert import keys
from runtimes.convert.architectures.family import Family, Model, Shape
from runtimes.convert.config import ModelConfig, Rope
from runtimes.convert.rows import Rows, made
from runtimes.convert.values import Key

_ORIGINAL_CONTEXT = 4096
_LONG_KINDS = frozenset({"longrope", "su", "yarn"})


class Phi3(Family):
    arch = MODEL_ARCH.PHI3
    classes = frozenset({"Phi3ForCausalLM"})
    model_types = frozenset({"phi3"})
    taken_in = True
    rotates_partly = True
    context = 4096
    norm_epsilon = 1e-5

    def keys(self, model: Model) -> Iterator[Key]:
        config, name = model.config, self.name
        yield from super().keys(model)
        yield keys.whole(f"{name}.rope.scaling.original_context_length", _original_context(config))
        yield keys.whole(f"{name}.rope.dimension_count", _rotated(config))
        # 0 tells Phi-4, which has no window, from the others of this architecture
        yield keys.whole(f"{name}.attention.sliding_window", config.whole_or_none("sliding_window") or 0)
        factors = _factors(config, config.rope(self.rope_base))
        if factors is not None:
            yield keys.real(f"{name}.rope.scaling.attn_factor", _attention_factor(config, factors[0]))

    def rope_keys(self, rope: Rope) -> Iterator[Key]:
        yield keys.real(f"{self.name}.rope.freq_base", rope.base)

    def generated(self, model: Model) -> Iterator[tuple[str, Rows]]:
        factors = _factors(model.config, model.config.rope(self.rope_base))
        if factors is not None:
            _, long, short = factors
            for name, values in (("long", long), ("short", short)):
                full = f"rope_factors_{name}.weight"
                yield full, made(full, np.asarray(values, np.float32))

    def shapes(self, model: Model) -> Mapping[str, Shape]:
        shapes = dict(super().shapes(model))
        query, key, value = (shapes.pop(f"attn_{part}.weight") for part in ("q", "k", "v"))
        gate, up = shapes.pop("ffn_gate.weight"), shapes["ffn_up.weight"]
        return shapes | {
            "attn_qkv.weight": (query[0] + key[0] + value[0], query[1]),
            "ffn_up.weight": (gate[0] + up[0], up[1]),
        }


def _original_context(config: ModelConfig) -> int:
    """The context that the model was first trained on: beside the rotary settings, or in them."""
    beside = config.whole_or_none("original_max_position_embeddings")
    return beside or config.rope(Phi3.rope_base).settings.whole(
        "original_max_position_embeddings", _ORIGINAL_CONTEXT
    )


def _rotated(config: ModelConfig) -> int:
    """How many numbers of a head are rotated."""
    share = config.rope(Phi3.rope_base).settings.real("partial_rotary_factor", 1.0)
    if not 0 < share <= 1:
        raise MalformedFile(f"The config.json has {share} as partial_rotary_factor.")
    return int(share * config.hidden) // config.heads


def _factors(config: ModelConfig, rope: Rope) -> tuple[str, tuple[float, ...], tuple[float, ...]] | None:
    """The kind of scaling with its long and its short factors; None where there is none."""
    long, short = rope.settings.reals("long_factor"), rope.settings.reals("short_factor")
    if long is None and rope.kind == "default":
        return None
    if rope.kind not in _LONG_KINDS:
        raise DoesNotFit(
            f"The model scales its positions by {quoted(rope.kind)}, which llama.cpp does not do."
        )
    wanted = _rotated(config) / 2
    if long is None or short is None or len(long) != wanted or len(short) != wanted:
        raise MalformedFile(f"The {rope.settings.shown} takes {wanted:g} long and as many short factors.")
    return rope.kind, long, short


def _attention_factor(config: ModelConfig, kind: str) -> float:
    """What the attention's values are multiplied by in a context longer than the original one."""
    original = _original_context(config)
    scale = config.whole("max_position_embeddings", 4096) / original
    if scale <= 1:
        return 1.0
    if kind == "yarn":
        return 0.1 * math.log(scale) + 1.0
    return math.sqrt(1 + math.log(scale) / math.log(original))
