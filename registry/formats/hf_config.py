"""What a Transformers config.json says about a model's shape.

Source: the configuration classes of Transformers (`PretrainedConfig` and those of the models); a model of
several networks has its language model's under `text_config`. A value of the wrong type counts as not there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from registry.errors import MalformedFile
from registry.formats.facts import Experts, LatentAttention, ModelFacts, Pattern, Window
from registry.formats.facts_json import MAX_PER_LAYER
from registry.formats.quote import quoted

_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_MAX_NUMBER = 2**63 - 1
_WITH_CACHE = frozenset({"full_attention", "sliding_attention", "chunked_attention", "attention"})
_WINDOWED = frozenset({"sliding_attention", "chunked_attention"})
_DTYPES = {"bfloat16": "BF16", "float16": "F16", "float32": "F32", "half": "F16", "float": "F32"}


@dataclass(frozen=True, slots=True)
class HfConfig:
    """A parsed config.json."""

    fields: Mapping[str, object]

    @property
    def text(self) -> Mapping[str, object]:
        """The part that describes the language model."""
        inner = self.fields.get("text_config")
        return {**self.fields, **inner} if isinstance(inner, dict) else self.fields

    @property
    def architecture(self) -> str:
        """`model_type`. Raises MalformedFile where there is none."""
        value = self.fields.get("model_type")
        if not isinstance(value, str) or not _LABEL.fullmatch(value):
            raise MalformedFile(f"The model_type in config.json is {quoted(value)}, which is no name.")
        return value

    @property
    def dtype(self) -> str | None:
        """The type that the weights were saved in, as safetensors calls it."""
        for name in ("dtype", "torch_dtype"):
            value = self.text.get(name)
            if isinstance(value, str):
                return _DTYPES.get(value.removeprefix("torch."))
        return None

    def number(self, *names: str) -> int | None:
        """The first of `names` that is a whole number."""
        for name in names:
            value = self.text.get(name)
            if type(value) is int and 0 <= value <= _MAX_NUMBER:
                return value
        return None

    def facts(self, model_format: str) -> ModelFacts:
        """The model's shape, without its tensors. Raises MalformedFile."""
        hidden, heads = (
            self.number("hidden_size", "n_embd", "d_model"),
            self.number("num_attention_heads", "n_head"),
        )
        head_size = self.number("head_dim") or (hidden // heads if hidden and heads else None)
        kv_heads = self.number("num_key_value_heads")
        latent = self._latent()
        rope = self.number("qk_rope_head_dim")
        compressed = latent is not None and latent.rank is not None and rope is not None
        tied = self.text.get("tie_word_embeddings")
        return ModelFacts(
            format=model_format,
            architecture=self.architecture,
            layers=self.number("num_hidden_layers", "n_layer"),
            nextn_layers=self.number("num_nextn_predict_layers"),
            hidden=hidden,
            feed_forward=self.number("intermediate_size", "n_inner", "ffn_dim"),
            heads=heads,
            kv_heads=1 if compressed else heads if kv_heads is None else kv_heads,
            head_size_k=latent.rank + rope if compressed and latent and latent.rank and rope else head_size,
            head_size_v=latent.rank if compressed and latent else head_size,
            vocabulary=self.number("vocab_size"),
            trained_context=self.number("max_position_embeddings", "n_positions"),
            tied_embeddings=tied if isinstance(tied, bool) else None,
            kv_layers=self._pattern(_WITH_CACHE),
            window=self._window(),
            latent=latent,
            experts=self._experts(),
        )

    def _layer_types(self) -> list[str] | None:
        types = self.text.get("layer_types")
        if not isinstance(types, list) or not 1 <= len(types) <= MAX_PER_LAYER:
            return None
        return [text if isinstance(text, str) else "" for text in types]

    def _pattern(self, kinds: frozenset[str]) -> Pattern | None:
        types = self._layer_types()
        return None if types is None else tuple(text in kinds for text in types)

    def _window(self) -> Window | None:
        size = self.number("sliding_window", "attention_chunk_size")
        if not size or self.text.get("use_sliding_window") is False:
            return None
        layers = self._pattern(_WINDOWED)
        period = self.number("sliding_window_pattern")
        if layers is None and period is not None and 1 <= period <= MAX_PER_LAYER:
            layers = (True,) * (period - 1) + (False,)
        if layers is not None and not any(layers):
            return None
        return Window(size=size, layers=layers, head_size_k=None, head_size_v=None)

    def _latent(self) -> LatentAttention | None:
        rank, nope = self.number("kv_lora_rank"), self.number("qk_nope_head_dim")
        rope, value = self.number("qk_rope_head_dim"), self.number("v_head_dim")
        if not rank or nope is None or rope is None or value is None:
            return None
        return LatentAttention(rank=rank, head_size_k=nope + rope, head_size_v=value)

    def _experts(self) -> Experts | None:
        count = self.number("num_local_experts", "num_experts", "n_routed_experts")
        if not count:
            return None
        return Experts(
            count=count,
            used=self.number("num_experts_per_tok", "experts_per_token"),
            shared=self.number("n_shared_experts"),
            feed_forward=self.number("moe_intermediate_size"),
            shared_feed_forward=self.number("shared_expert_intermediate_size"),
        )


def declared_quantization(config: Mapping[str, object]) -> str | None:
    """What a config.json says its weights are stored as: `awq-q4-g128`, `fp8`, `mxfp4`, or the plain type."""
    declared = config.get("quantization_config")
    if not isinstance(declared, dict):
        return HfConfig(config).dtype
    method = declared.get("quant_method")
    if not isinstance(method, str) or not _LABEL.fullmatch(method):
        return None
    if method == "bitsandbytes":
        kind = declared.get("bnb_4bit_quant_type") if declared.get("load_in_4bit") is True else "int8"
        return f"bnb-{kind}" if kind in ("nf4", "fp4", "int8") else "bnb"
    bits, group = declared.get("bits"), declared.get("group_size")
    words = [method.lower()]
    if type(bits) is int and 0 < bits <= 64:
        words.append(f"q{bits}")
    if type(group) is int and 0 < group <= 65_536:
        words.append(f"g{group}")
    return "-".join(words)
