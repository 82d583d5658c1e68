"""What a GGUF made of a Transformers model will hold, from its config.json alone.

Sources: the configuration classes of Transformers, with the defaults that a config.json may leave out
(`LlamaConfig`, `Qwen2Config`, `Qwen3Config`, `Phi3Config`, `Gemma3TextConfig`, `BitNetConfig`), and what
llama.cpp's convert_hf_to_gguf.py makes of them: one pair of factors for positions beyond the first training
context (llama3, longrope), and no rows of Gemma 3's embedding beyond its tokenizer's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

from registry.errors import MalformedFile
from registry.formats.expert_rows import with_experts
from registry.formats.facts import ModelFacts
from registry.formats.facts_json import MAX_PER_LAYER
from registry.formats.hf_config import HfConfig
from registry.formats.model_shapes import Dimensions, facts_of

_GGUF_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "bitnet": "bitnet",
        "gemma3": "gemma3",
        "gemma3_text": "gemma3",
        "llama": "llama",
        "mistral": "llama",
        "phi3": "phi3",
        "qwen2": "qwen2",
        "qwen3": "qwen3",
    }
)
"""`model_type` -> GGUF's architecture, of those whose tensors are known one by one."""

_DEFAULTS: Mapping[str, Mapping[str, int]] = MappingProxyType(
    {
        "gemma3": MappingProxyType(
            {
                "heads": 8,
                "kv_heads": 4,
                "head_size": 256,
                "context": 131_072,
                "vocabulary": 262_208,
                "window_period": 6,
            }
        ),
        "qwen3": MappingProxyType({"head_size": 128}),
    }
)
_TIED = frozenset({"gemma3"})
_GEMMA3_TOKENS = 262_144


def gguf_architecture(model_type: str) -> str:
    """GGUF's name of an architecture; `model_type` itself where none is known."""
    return _GGUF_NAMES.get(model_type, model_type)


def facts_from_config(config: Mapping[str, object]) -> tuple[ModelFacts, bool]:
    """The facts of a BF16 GGUF of the model, and whether its tensors are known exactly.

    For an architecture that is not known the rows are those of a Llama of these dimensions, with as many
    experts as it says. Raises MalformedFile for a config.json that has not even the dimensions.
    """
    read = HfConfig(config)
    known = _GGUF_NAMES.get(read.architecture)
    exact = known is not None and not _has_surprises(read, known)
    dimensions = _dimensions(read, known or "llama")
    facts = facts_of(dimensions)
    if known is not None:
        return facts, exact
    shape = read.facts("gguf")
    beyond = {
        name: getattr(shape, name)
        for name in ("nextn_layers", "kv_layers", "window", "latent", "experts")
        if getattr(shape, name) is not None
    }
    values = {name: getattr(facts, name) for name in facts.__slots__} | beyond
    if shape.experts is not None:
        dense = min(read.number("first_k_dense_replace") or 0, dimensions.layers)
        rows = tuple(with_experts(facts.tensors, dimensions, shape.experts, dense_layers=dense))
        values |= {"tensors": rows, "parameters": sum(row.elements for row in rows)}
    return ModelFacts(**values | {"architecture": read.architecture}), False


def _dimensions(config: HfConfig, architecture: str) -> Dimensions:
    default = _DEFAULTS.get(architecture, {})
    layers = _needed(config, "num_hidden_layers", "n_layer")
    if layers > MAX_PER_LAYER:
        raise MalformedFile(f"The config.json has {layers} as num_hidden_layers: more than any model has.")
    hidden = _needed(config, "hidden_size", "n_embd", "d_model")
    heads = config.number("num_attention_heads", "n_head") or default.get("heads")
    if not heads:
        raise MalformedFile("The config.json has no num_attention_heads.")
    head_size = config.number("head_dim") or default.get("head_size") or hidden // heads
    vocabulary = config.number("vocab_size") or default.get("vocabulary")
    if not vocabulary:
        raise MalformedFile("The config.json has no vocab_size.")
    if architecture == "gemma3":
        vocabulary = min(vocabulary, _GEMMA3_TOKENS)
    context = config.number("max_position_embeddings", "n_positions") or default.get("context")
    tied = config.text.get("tie_word_embeddings", architecture in _TIED)
    window = _window(config, architecture)
    return Dimensions(
        architecture=architecture,
        layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=config.number("num_key_value_heads") or default.get("kv_heads") or heads,
        head_size=head_size,
        feed_forward=_needed(config, "intermediate_size", "n_inner", "ffn_dim"),
        vocabulary=vocabulary,
        context=context or 0,
        tied=tied is True,
        rotary=_rotary(config, head_size),
        window=window,
        windowed_layers=_windowed(config, default) if window and architecture == "gemma3" else None,
    )


def _needed(config: HfConfig, *names: str) -> int:
    value = config.number(*names)
    if not value:
        raise MalformedFile(f"The config.json has no {names[0]}.")
    return value


def _window(config: HfConfig, architecture: str) -> int | None:
    """Only these two architectures keep the window in GGUF; the others' models do not use it."""
    return config.number("sliding_window") or None if architecture in {"gemma3", "phi3"} else None


def _windowed(config: HfConfig, default: Mapping[str, int]) -> tuple[bool, ...]:
    shape = config.facts("gguf").window
    if shape is not None and shape.layers is not None:
        layers = shape.layers
        period = next((at + 1 for at, windowed in enumerate(layers) if not windowed), len(layers))
        regular = all(windowed == ((at + 1) % period != 0) for at, windowed in enumerate(layers))
        return (True,) * (period - 1) + (False,) if regular else layers
    return (True,) * (default["window_period"] - 1) + (False,)


def _rotary(config: HfConfig, head_size: int) -> tuple[tuple[str, int], ...]:
    scaling = config.text.get("rope_scaling") or config.text.get("rope_parameters")
    if not isinstance(scaling, dict):
        return ()
    kind = scaling.get("rope_type", scaling.get("type"))
    if kind == "llama3":
        return (("rope_freqs.weight", head_size // 2),)
    if kind == "longrope":
        partial = config.text.get("partial_rotary_factor", 1.0)
        share = float(partial) if isinstance(partial, int | float) and 0 < partial <= 1 else 1.0
        size = math.floor(head_size * share) // 2
        return (("rope_factors_long.weight", size), ("rope_factors_short.weight", size))
    return ()


def _has_surprises(config: HfConfig, architecture: str) -> bool:
    """What the class can be told to have beside the usual tensors."""
    text = config.text
    if architecture in {"llama", "qwen3"} and text.get("attention_bias") is True:
        return True
    return text.get("mlp_bias") is True
