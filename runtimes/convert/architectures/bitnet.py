"""BitNet b1.58: matrices of -1, 0 and 1 with one scale each, packed or still as they were trained.

Sources: "The Era of 1-bit LLMs" (arXiv 2402.17764), equations 1 to 3, and Transformers'
integrations/bitnet.py: four values in a byte, those of the lowest bits being the first quarter of the rows; a
layer of the class `bitlinear` divides by its scale, one of `autobitlinear` multiplies by it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from gguf import MODEL_ARCH, RopeScalingType

from registry.errors import DoesNotFit, MalformedFile
from registry.formats.quote import quoted
from runtimes.convert import keys
from runtimes.convert.architectures.family import Family, Model, Shape
from runtimes.convert.config import ModelConfig, Section
from runtimes.convert.rows import Array, Rows, floats
from runtimes.convert.source import SourceTensor
from runtimes.convert.values import Key

_TERNARY = frozenset({"attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"})
_SMALLEST_SCALE = np.float32(1e-5)
_IN_A_BYTE = 4


class BitNet(Family):
    arch = MODEL_ARCH.BITNET
    classes = frozenset({"BitNetForCausalLM", "BitnetForCausalLM"})
    model_types = frozenset({"bitnet"})
    taken_in = True
    rope_base = 500_000.0
    norm_epsilon = 1e-5
    context = 2048
    activations = frozenset({"silu", "swish", "relu2"})

    def reads_quantized(self, config: ModelConfig) -> bool:
        return config.section("quantization_config").fields.get("quant_method") == "bitnet"

    def check(self, model: Model) -> None:
        super().check(model)
        packing = model.config.section("quantization_config")
        if packing.flag("use_rms_norm", False):
            raise DoesNotFit(
                "Each matrix of the model has a norm of its own, which BitNet models in llama.cpp have not.",
                hint="Run it with an engine that runs safetensors.",
            )

    def notes(self, model: Model) -> Iterator[str]:
        if model.config.word("hidden_act", "silu") == "relu2":
            yield (
                "The model's feed-forward layers square a ReLU; those of llama.cpp's BitNet models use SiLU, "
                "so what it says there is not what the original says."
            )
        if not self.is_tied(model.config):
            yield "The model has an output matrix of its own; llama.cpp loads BitNet models without one only."

    def keys(self, model: Model) -> Iterator[Key]:
        yield from super().keys(model)
        if model.config.rope(self.rope_base).kind != "linear":
            yield keys.text(f"{self.name}.rope.scaling.type", RopeScalingType.LINEAR.value)
            yield keys.real(f"{self.name}.rope.scaling.factor", 1.0)

    def stem(self, name: str) -> str | None:
        """GGUF's table knows the two norms by the names of the first BitNet models."""
        if name.endswith(".weight_scale"):
            return None
        name = name.replace(".self_attn.attn_sub_norm.", ".self_attn.inner_attn_ln.")
        return super().stem(name.replace(".mlp.ffn_sub_norm.", ".mlp.ffn_layernorm."))

    def rows(self, model: Model, name: str, tensor: SourceTensor) -> Rows:
        if name.rsplit(".", 2)[-2] not in _TERNARY:
            return tensor.rows()
        scale = model.source.tensors.get(f"{tensor.name}_scale")
        if scale is None:
            return _rounded(tensor)
        if scale.elements != 1 or len(tensor.shape) != 2:
            raise MalformedFile(f"The tensor {quoted(tensor.name)} is not packed with one scale.")
        divides = _divides(model.config.section("quantization_config"))
        return _unpacked(tensor, scale, divides)

    def shapes(self, model: Model) -> Mapping[str, Shape]:
        config = model.config
        return dict(super().shapes(model)) | {
            "attn_sub_norm.weight": (config.hidden,),
            "ffn_sub_norm.weight": (config.whole("intermediate_size"),),
        }


def _divides(packing: Section) -> bool:
    """Whether what is stored as the scale divides; the class is `bitlinear` where none is named."""
    kind = packing.word("linear_class", "bitlinear")
    if kind not in ("bitlinear", "autobitlinear"):
        raise DoesNotFit(f"The model's matrices are of a class that is not known, {quoted(kind)}.")
    return kind == "bitlinear"


def _unpacked(tensor: SourceTensor, scale: SourceTensor, divides: bool) -> Rows:
    """A packed matrix, with four times as many rows."""
    packed, columns = tensor.shape

    def pieces(unit: int) -> Iterator[Array]:
        factor = np.float32(scale.numbers().reshape(-1)[0])
        if not np.isfinite(factor) or factor == 0:
            raise MalformedFile(f"The scale of {quoted(tensor.name)} is {factor}.")
        for quarter in range(_IN_A_BYTE):
            for piece in tensor.packed(unit):
                values = ((piece.view(np.uint8) >> np.uint8(2 * quarter)) & np.uint8(3)).astype(np.float32)
                values -= np.float32(1)
                yield values / factor if divides else values * factor

    shape = (packed * _IN_A_BYTE, columns)
    return Rows(name=quoted(tensor.name), stored="F32", shape=shape, pieces=pieces)


def _rounded(tensor: SourceTensor) -> Rows:
    """A matrix as it was trained, rounded as the model rounds it when it runs: to -1, 0 and 1 times the mean
    of the absolute values."""
    source = tensor.rows()

    def pieces(unit: int) -> Iterator[Array]:
        total = 0.0
        for piece in source.pieces(1):
            total += float(np.abs(floats(piece, source.stored)).sum(dtype=np.float64))
        mean = np.float32(total / max(tensor.elements, 1))
        inverse = np.float32(1) / max(mean, _SMALLEST_SCALE)
        for piece in source.pieces(unit):
            yield np.rint(floats(piece, source.stored) * inverse).clip(-1, 1) / inverse

    return Rows(name=source.name, stored="F32", shape=source.shape, pieces=pieces)
