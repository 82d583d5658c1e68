"""Gemma 3 models of text, and the language part of those that see.

Norms multiply by one more than their weights say; most layers see a window only, and rotate by another base.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gguf import MODEL_ARCH

from registry.errors import DoesNotFit, MalformedFile
from runtimes.convert import keys
from runtimes.convert.architectures.family import Family, Model, Shape
from runtimes.convert.config import ModelConfig, Rope
from runtimes.convert.rows import Rows
from runtimes.convert.source import SourceTensor
from runtimes.convert.values import Key

_PERIOD = 6
_OTHER_ENGINE = "Run it with an engine that runs safetensors."
_QUERY_SCALAR = 256.0
_LARGEST = 62  # layers of the 27B, which llama.cpp knows by them


class Gemma3(Family):
    arch = MODEL_ARCH.GEMMA3
    classes = frozenset({"Gemma3ForCausalLM", "Gemma3ForConditionalGeneration"})
    model_types = frozenset({"gemma3_text", "gemma3"})
    rope_base = 1_000_000.0
    says_head_size = True
    tied = True
    context = 131_072
    activations = frozenset({"gelu_pytorch_tanh"})
    activation = "gelu_pytorch_tanh"
    dropped = (
        "vision_tower.",
        "multi_modal_projector.",
        "model.vision_tower.",
        "model.multi_modal_projector.",
    )

    def check(self, model: Model) -> None:
        super().check(model)
        if model.config.flag("use_bidirectional_attention", False):
            raise DoesNotFit(
                "The model's tokens see those after them too, which those of Gemma 3 in llama.cpp do not.",
                hint=_OTHER_ENGINE,
            )
        if model.config.real_or_none("attn_logit_softcapping"):
            raise DoesNotFit(
                "The model caps what its queries find, which those of Gemma 3 in llama.cpp do not.",
                hint=_OTHER_ENGINE,
            )

    def notes(self, model: Model) -> Iterator[str]:
        config = model.config
        scalar = config.real("query_pre_attn_scalar", _QUERY_SCALAR)
        taken = config.hidden // self.heads(config) if config.layers == _LARGEST else self.head_size(config)
        if scalar != taken:
            yield (
                f"The model divides what its queries find by the root of {scalar:g}, llama.cpp by that of"
                f" {taken}: it says something else there than the original."
            )

    def keys(self, model: Model) -> Iterator[Key]:
        config, name = model.config, self.name
        yield from super().keys(model)
        softcap = config.real_or_none("final_logit_softcapping")
        if softcap:
            yield keys.real(f"{name}.final_logit_softcapping", softcap)
        windowed = _windowed(config)
        if any(windowed):
            yield keys.whole(f"{name}.attention.sliding_window", config.whole("sliding_window", 4096))
            if windowed != _every_but(_PERIOD, config.layers):  # what llama.cpp takes for granted
                yield keys.flags(f"{name}.attention.sliding_window_pattern", windowed)

    def rope_keys(self, rope: Rope) -> Iterator[Key]:
        yield from super().rope_keys(rope)
        yield keys.real(f"{self.name}.rope.freq_base_swa", rope.windowed_base or 10_000.0)

    def heads(self, config: ModelConfig) -> int:
        return config.whole("num_attention_heads", 8)

    def kv_heads(self, config: ModelConfig) -> int:
        return config.whole("num_key_value_heads", 4)

    def head_size(self, config: ModelConfig) -> int:
        return config.whole("head_dim", 256)

    def stem(self, name: str) -> str | None:
        """The language part of a model that sees, in the names of either version of Transformers."""
        return super().stem(name.replace("language_model.", "", 1))

    def rows(self, model: Model, name: str, tensor: SourceTensor) -> Rows:
        rows = tensor.rows()
        if name.endswith("norm.weight"):
            return rows.plus(1.0)
        return rows.first(self.vocabulary(model)) if name == "token_embd.weight" else rows

    def vocabulary(self, model: Model) -> int:
        """Rows of the embedding beyond the tokenizer's (those of images) are left out."""
        return min(model.config.whole("vocab_size", 262_208), model.vocabulary)

    def shapes(self, model: Model) -> Mapping[str, Shape]:
        hidden, head = model.config.hidden, self.head_size(model.config)
        return dict(super().shapes(model)) | {
            "attn_q_norm.weight": (head,),
            "attn_k_norm.weight": (head,),
            "post_attention_norm.weight": (hidden,),
            "post_ffw_norm.weight": (hidden,),
        }


def _windowed(config: ModelConfig) -> list[bool]:
    """Which layers see a window only: said layer by layer, or that every so many do not."""
    kinds = config.fields.get("layer_types")
    if kinds is None:
        return _every_but(config.whole("sliding_window_pattern", _PERIOD), config.layers)
    if not isinstance(kinds, list) or len(kinds) != config.layers:
        raise MalformedFile("The layer_types of the config.json are not one for each layer.")
    return [kind == "sliding_attention" for kind in kinds]


def _every_but(period: int, layers: int) -> list[bool]:
    return [(at + 1) % period != 0 for at in range(layers)]
