"""Qwen2 and Qwen2.5, Qwen3 without experts, and embedding models made of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gguf import MODEL_ARCH

from runtimes.convert.architectures.family import WINDOW_NOTE, Family, Model, Shape
from runtimes.convert.architectures.pooling import pooling_keys
from runtimes.convert.config import ModelConfig
from runtimes.convert.values import Key

_QWEN3_HEAD = 128


class Qwen2(Family):
    """Query, key and value have biases."""

    arch = MODEL_ARCH.QWEN2
    classes = frozenset({"Qwen2ForCausalLM", "Qwen2Model"})
    model_types = frozenset({"qwen2"})
    context = 32_768

    def notes(self, model: Model) -> Iterator[str]:
        window = model.config.whole_or_none("sliding_window")
        if window is not None and model.config.flag("use_sliding_window", False):
            yield WINDOW_NOTE.format(window)

    def keys(self, model: Model) -> Iterator[Key]:
        yield from super().keys(model)
        yield from pooling_keys(self.name, model.files)

    def stem(self, name: str) -> str | None:
        """The model without its head has its tensors one level higher."""
        if name.startswith(("embed_tokens.", "layers.", "norm.")):
            name = f"model.{name}"
        return super().stem(name)

    def shapes(self, model: Model) -> Mapping[str, Shape]:
        shapes = dict(super().shapes(model))
        for part in ("attn_q", "attn_k", "attn_v"):
            shapes[f"{part}.bias"] = shapes[f"{part}.weight"][:1]
        return self._with_head(model, shapes)

    def _with_head(self, model: Model, shapes: dict[str, Shape]) -> dict[str, Shape]:
        """A model without a head has no output matrix."""
        if "lm_head.weight" not in model.source.tensors and "embed_tokens.weight" in model.source.tensors:
            shapes.pop("output.weight", None)
        return shapes


class Qwen3(Qwen2):
    """Heads of a size of their own, queries and keys are normalised, no biases."""

    arch = MODEL_ARCH.QWEN3
    classes = frozenset({"Qwen3ForCausalLM", "Qwen3Model"})
    model_types = frozenset({"qwen3"})
    says_head_size = True

    def head_size(self, config: ModelConfig) -> int:
        return config.whole("head_dim", _QWEN3_HEAD)

    def shapes(self, model: Model) -> Mapping[str, Shape]:
        shapes = dict(Family.shapes(self, model))
        head = self.head_size(model.config)
        return self._with_head(model, shapes | {"attn_q_norm.weight": (head,), "attn_k_norm.weight": (head,)})
