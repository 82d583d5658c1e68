"""A LoRA adapter in PEFT's format as GGUF.

Sources: "LoRA" (arXiv 2106.09685) and "A Rank Stabilization Scaling Factor" (arXiv 2312.03732), PEFT's
adapter_config.json (`LoraConfig`) and names (`base_model.model.MODULE.lora_A.weight`, of rank x inputs, and
`lora_B`, of outputs x rank), and llama.cpp's src/llama-adapter.cpp, which scales by `adapter.lora.alpha`
divided by the rank.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from gguf import GGML_QUANT_VERSION, GGMLQuantizationType, GGUFValueType, get_tensor_name_map

from registry.errors import DoesNotFit, MalformedFile, UsageError
from registry.formats.quote import quoted
from runtimes.convert import keys
from runtimes.convert.architectures.family import Family, Model
from runtimes.convert.config import ModelConfig, Section
from runtimes.convert.convert import family_of
from runtimes.convert.files import SourceFiles
from runtimes.convert.rows import Array, Rows
from runtimes.convert.source import Source, SourceTensor
from runtimes.convert.values import Conversion, Key, Tensor

_FLOATS = ("F32", "F16", "BF16")
_PART = re.compile(
    r"(?:base_model\.model\.)?(?P<module>.+?)\.lora_(?P<embedding>embedding_)?(?P<side>[AB])(?:\.weight)?"
)
_OF_BASE = (".base_layer.weight",)  # a copy, which PEFT keeps beside an adapter of the embedding
_CONFIG = "adapter_config.json"
_HINT = "Merge the adapter into its base model (PEFT's merge_and_unload) and convert that."


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pair:
    """The two factors of what a module's matrix changes by."""

    module: str
    embedding: bool
    a: SourceTensor
    b: SourceTensor

    @property
    def rank(self) -> int:
        return self.a.shape[0]


def convert_adapter(
    files: SourceFiles, base: Mapping[str, object], out_type: str | None = None
) -> Conversion:
    """What the GGUF of the adapter in `files` will hold; `base` is the config.json of the model it is for.

    `out_type` is F32, F16 or BF16; None keeps the type of the weights. Raises DoesNotFit for an adapter that
    llama.cpp cannot apply and for an unknown base, MalformedFile for files that are wrong or do not fit the
    base, NotFound for missing ones, UsageError for another type.
    """
    config = Section(files.json(_CONFIG), _CONFIG)
    _check(config)
    model_config = ModelConfig.of(base)
    family = family_of(model_config)
    source = Source.of(files, "adapter_model")
    label = (out_type or source.dtype).upper()
    if label not in _FLOATS:
        raise UsageError(
            f"An adapter cannot be converted to {quoted(label)}.", hint="F32, F16 and BF16 can be."
        )
    tokens = model_config.whole_or_none("vocab_size") or 0
    model = Model(files=files, config=model_config, source=source, vocabulary=tokens)
    alpha = config.real("lora_alpha", 8.0)
    if alpha <= 0:
        raise MalformedFile(f"The adapter_config.json has {alpha:g} as lora_alpha.")
    kind = GGMLQuantizationType[label]
    tensors = [
        tensor for pair in _pairs(source) for tensor in _tensors(family, model, config, pair, alpha, kind)
    ]
    return Conversion(
        architecture=family.name,
        keys=(
            keys.text("general.architecture", family.name),
            keys.text("general.type", "adapter"),
            keys.text("adapter.type", "lora"),
            keys.real("adapter.lora.alpha", alpha),
            *_invocation(config),
            keys.whole("general.quantization_version", GGML_QUANT_VERSION),
        ),
        tensors=tuple(tensors),
    )


def _check(config: Section) -> None:
    kind = config.word("peft_type")
    if kind != "LORA":
        raise DoesNotFit(
            f"The adapter is of kind {quoted(kind)}; LoRA adapters can be converted.", hint=_HINT
        )
    for name, what in (
        ("use_dora", "is a DoRA adapter, which scales the base's matrices too"),
        ("fan_in_fan_out", "is for a model whose matrices lie the other way round"),
    ):
        if config.flag(name, False):
            raise DoesNotFit(f"The adapter {what}; llama.cpp has no such.", hint=_HINT)
    if config.word("bias", "none") not in ("none", ""):
        raise DoesNotFit("The adapter changes biases too, which llama.cpp has not.", hint=_HINT)


def _pairs(source: Source) -> Iterator[_Pair]:
    """The factors by module, in the order of the file."""
    found: dict[str, dict[str, SourceTensor]] = {}
    embeddings: set[str] = set()
    for name, tensor in source.tensors.items():
        if name.endswith(_OF_BASE):
            continue
        match = _PART.fullmatch(name)
        if match is None:
            raise DoesNotFit(
                f"The adapter holds a whole tensor, {quoted(name)}, which llama.cpp cannot put in place.",
                hint=_HINT,
            )
        found.setdefault(match["module"], {})[match["side"]] = tensor
        if match["embedding"]:
            embeddings.add(match["module"])
    for module, sides in found.items():
        if len(sides) != 2:
            raise MalformedFile(f"The adapter has one of the two tensors of {quoted(module)} only.")
        pair = _Pair(module=module, embedding=module in embeddings, a=sides["A"], b=sides["B"])
        fits = len(pair.a.shape) == len(pair.b.shape) == 2 and pair.a.shape[0] == pair.b.shape[1]
        if not fits or not pair.rank:
            raise MalformedFile(f"The two tensors of {quoted(module)} in the adapter do not fit together.")
        yield pair


def _tensors(
    family: Family, model: Model, config: Section, pair: _Pair, alpha: float, kind: GGMLQuantizationType
) -> Iterator[Tensor]:
    name = _name(family, model, pair.module)
    outputs, inputs = pair.b.shape[0], pair.a.shape[1]
    shape = (inputs, outputs) if pair.embedding else (outputs, inputs)
    expected = family.expected(model, name)
    if expected is not None and shape != expected:
        raise MalformedFile(
            f"The adapter changes {name} of the shape {list(shape)}; the base model's has {list(expected)}.",
            hint="Name the model that the adapter was trained on.",
        )
    a = _transposed(pair.a) if pair.embedding else pair.a.rows()
    b = family.ordered(model, name, pair.b.rows())
    scaling = _scaling(config, pair, alpha)
    if not math.isclose(scaling, alpha / pair.rank, rel_tol=1e-6):  # the engine knows one alpha for all
        b = b.times(scaling * pair.rank / alpha)
    for side, rows in (("a", a), ("b", b)):
        yield _tensor(f"{name}.lora_{side}", rows, kind)


def _transposed(tensor: SourceTensor) -> Rows:
    """llama.cpp looks up a token's numbers in the first factor: it wants them in a row."""
    rows = tensor.rows()
    shape = (tensor.shape[1], tensor.shape[0])

    def pieces(_unit: int) -> Iterator[Array]:
        yield np.ascontiguousarray(tensor.numbers().T)

    return Rows(name=rows.name, stored="F32", shape=shape, pieces=pieces)


def _tensor(name: str, rows: Rows, kind: GGMLQuantizationType) -> Tensor:
    return Tensor(name=name, shape=rows.shape, kind=kind, read=lambda: rows.encoded(kind))


def _name(family: Family, model: Model, module: str) -> str:
    """GGUF's name of the matrix of a module. Raises DoesNotFit for one that the base has not."""
    stem = family.stem(f"{module}.weight")
    names = get_tensor_name_map(family.arch, model.config.layers)
    ours = names.get_name(stem, try_suffixes=(".weight",)) if stem is not None else None
    if ours is None or (ours == "output.weight" and family.is_tied(model.config)):
        raise DoesNotFit(
            f"The adapter changes {quoted(module)}, which a {family.name} model like this has not by itself.",
            hint=_HINT,
        )
    return ours


def _scaling(config: Section, pair: _Pair, alpha: float) -> float:
    """What the product of the two factors is multiplied by."""
    own = _patterned(config.section("alpha_pattern"), pair.module)
    root = config.flag("use_rslora", False)
    return (alpha if own is None else own) / (math.sqrt(pair.rank) if root else pair.rank)


def _patterned(patterns: Section, module: str) -> float | None:
    """The value for a module, of patterns that match the end of its name (as a whole part of it)."""
    for pattern in patterns.fields:
        if module == pattern or module.endswith(f".{pattern}"):
            return patterns.real(pattern)
    if patterns.fields and any(set(pattern) & set("^$*+?()[]|\\") for pattern in patterns.fields):
        raise DoesNotFit("The adapter's alpha_pattern is written in regular expressions.", hint=_HINT)
    return None


def _invocation(config: Section) -> Iterator[Key]:
    """An activated LoRA works from these tokens on only."""
    tokens = config.fields.get("alora_invocation_tokens")
    if tokens is None:
        return
    if not isinstance(tokens, list) or not all(type(token) is int and 0 <= token < 2**31 for token in tokens):
        raise MalformedFile("The alora_invocation_tokens of the adapter_config.json are no tokens.")
    if tokens:
        yield keys.wholes("adapter.alora.invocation_tokens", tokens, GGUFValueType.UINT32)
