"""A model as its makers publish it (config.json, safetensors, a tokenizer) as GGUF.

Nothing of it is run: no code that the model brings, no pickle. What llama.cpp's own converter makes of the
same files is the same but for what docs/decisions/0033-converting.md names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gguf import GGML_QUANT_VERSION, GGMLQuantizationType, LlamaFileType
from gguf.utility import size_label

from registry.errors import DoesNotFit, MalformedFile, UsageError
from registry.formats.quote import quoted
from runtimes.convert import keys
from runtimes.convert.architectures import FAMILIES
from runtimes.convert.architectures.family import Family, Model
from runtimes.convert.config import ModelConfig
from runtimes.convert.files import SourceFiles
from runtimes.convert.generation import sampling_keys
from runtimes.convert.rows import Rows, fits
from runtimes.convert.source import Source
from runtimes.convert.values import Conversion, Key, Tensor
from runtimes.convert.vocabulary.vocabulary import vocabulary

_KINDS = GGMLQuantizationType
OUT_TYPES: Final[Mapping[str, LlamaFileType]] = {
    "F32": LlamaFileType.ALL_F32,
    "F16": LlamaFileType.MOSTLY_F16,
    "BF16": LlamaFileType.MOSTLY_BF16,
    "Q8_0": LlamaFileType.MOSTLY_Q8_0,
    "TQ1_0": LlamaFileType.MOSTLY_TQ1_0,
    "TQ2_0": LlamaFileType.MOSTLY_TQ2_0,
}
"""What a model can be converted to, and what `general.file_type` calls it."""

_FLOATS = frozenset({LlamaFileType.ALL_F32, LlamaFileType.MOSTLY_F16, LlamaFileType.MOSTLY_BF16})
_ALWAYS_F32 = frozenset({"position_embd.weight", "token_types.weight"})
_OUTER = frozenset({"token_embd.weight", "output.weight"})
_TERNARY = frozenset({_KINDS.TQ1_0, _KINDS.TQ2_0})
_OTHER_ENGINE = "Run it with an engine that runs safetensors, or look for a GGUF of it."


def convert(files: SourceFiles, out_type: str | None = None) -> Conversion:
    """What the GGUF will hold; its tensors are read when it is written.

    `out_type` is one of OUT_TYPES; None keeps the type of the weights. Raises DoesNotFit for a model that
    cannot be converted, MalformedFile for files that are wrong, NotFound for missing ones, UsageError for a
    type that there is not.
    """
    config = ModelConfig.of(files.json("config.json"))
    family = family_of(config)
    notes = _check_own_code(config, family)
    source = Source.of(files)
    label = _chosen(out_type, source)
    words = vocabulary(files, config.fields)
    model = Model(files=files, config=config, source=source, vocabulary=_count(words))
    family.check(model)
    named = list(family.tensors(model))
    return Conversion(
        architecture=family.name,
        keys=(
            keys.text("general.architecture", family.name),
            keys.text("general.type", "model"),
            *sampling_keys(files),
            keys.text("general.size_label", _size_label(named)),
            *family.keys(model),
            keys.whole("general.file_type", OUT_TYPES[label]),
            keys.whole("general.quantization_version", GGML_QUANT_VERSION),
            *words,
        ),
        tensors=tuple(_tensor(name, rows, GGMLQuantizationType[label]) for name, rows in named),
        notes=(*notes, *family.notes(model)),
    )


def convert_to_floats(files: SourceFiles) -> Conversion:
    """The same in a type that others are quantized from: that of the weights, F16 for packed ones."""
    conversion = convert(files)
    kind = next(key.value for key in conversion.keys if key.name == "general.file_type")
    return conversion if kind in _FLOATS else convert(files, "F16")


def family_of(config: ModelConfig) -> Family:
    """The family of a model. Raises DoesNotFit for one that we do not know."""
    declared = config.fields.get("architectures")
    if isinstance(declared, list) and declared:
        name = declared[0]  # of any type: an object or a list cannot be looked up
        found = next((each for each in FAMILIES if isinstance(name, str) and name in each.classes), None)
    else:
        name = config.word("model_type")
        found = next((family for family in FAMILIES if name in family.model_types), None)
    if found is None:
        known = ", ".join(sorted(name for family in FAMILIES for name in family.classes))
        raise DoesNotFit(
            f"Models of the architecture {quoted(name)} cannot be converted to GGUF.",
            hint=f"These can: {known}. {_OTHER_ENGINE}",
        )
    return found


def _check_own_code(config: ModelConfig, family: Family) -> tuple[str, ...]:
    """Raise DoesNotFit for a model that says it runs by code of its own, and for weights that are quantized
    already; what is to be said of one whose code Transformers has taken in."""
    quantized = config.fields.get("quantization_config") or config.fields.get("quantization")
    if quantized and not family.reads_quantized(config):
        method = quantized.get("quant_method") if isinstance(quantized, Mapping) else None
        raise DoesNotFit(
            f"The weights are quantized already ({quoted(method or 'mlx')}).",
            hint="Convert the model's original weights, in BF16, F16 or F32.",
        )
    own = config.fields.get("auto_map")
    if not own:
        return ()
    code = own.get("AutoModelForCausalLM", "") if isinstance(own, Mapping) else ""
    if family.taken_in and isinstance(code, str) and code.rpartition(".")[2] in family.classes:
        return ("The code that the model brings is not run; Transformers has the same architecture.",)
    raise DoesNotFit(
        "The model runs by code of its own (auto_map in config.json), which slmctl never runs.",
        hint=_OTHER_ENGINE,
    )


def _chosen(out_type: str | None, source: Source) -> str:
    """Raises UsageError for a type that there is not."""
    if out_type is None:
        packed = any(tensor.dtype == "U8" for tensor in source.tensors.values())
        return "TQ2_0" if packed else source.dtype if source.dtype in OUT_TYPES else "F16"
    label = out_type.upper()
    if label in OUT_TYPES:
        return label
    raise UsageError(
        f"A model cannot be converted to {quoted(out_type)}.",
        hint=f"It can be converted to {', '.join(OUT_TYPES)}; 'slmctl quantize' makes the others of that.",
    )


def _count(words: tuple[Key, ...]) -> int:
    """How many tokens the tokenizer has."""
    for key in words:
        if key.name == "tokenizer.ggml.tokens" and isinstance(key.value, list):
            return len(key.value)
    raise MalformedFile("The tokenizer has no tokens.")


def _size_label(named: list[tuple[str, Rows]]) -> str:
    """The number of parameters as people write it: 135M, 1.7B."""
    total = 0
    for _, rows in named:
        size = 1
        for dim in rows.shape:
            size *= dim
        total += size
    return size_label(total, total, 0, 0)


def _tensor(name: str, rows: Rows, wanted: GGMLQuantizationType) -> Tensor:
    kind = kind_of(name, rows.shape, wanted)
    return Tensor(name=name, shape=rows.shape, kind=kind, read=lambda: rows.encoded(kind))


def kind_of(name: str, shape: tuple[int, ...], wanted: GGMLQuantizationType) -> GGMLQuantizationType:
    """The type of a tensor in a file of the type `wanted`, as llama.cpp's converter chooses it."""
    if len(shape) < 2 or not name.endswith(".weight") or name.endswith("_norm.weight") or name in _ALWAYS_F32:
        return _KINDS.F32
    if wanted in _TERNARY and name in _OUTER:
        return _KINDS.F16
    return wanted if fits(shape[-1], wanted) else _KINDS.F16
