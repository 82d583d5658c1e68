"""Which type each tensor of a file gets: the recipes of `mix_rules`, walked as llama-quantize walks a file.

Source: llama.cpp's src/llama-quant.cpp (`llama_tensor_get_type`, `tensor_allows_quantization`,
`init_quantize_state_counters`) and the order of src/llama-model-loader.h (`weight_name_comparer`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from registry.errors import MalformedFile, UsageError
from registry.formats.ggml_types import GGML_TYPES_BY_NAME, GgmlType, fallback_type
from registry.formats.gguf import TensorInfo
from registry.formats.quote import quoted
from runtimes.planning.mix_rules import Model, Place, target_type
from runtimes.quantize.request import compiled

OUTPUT = "output.weight"
EMBEDDINGS = frozenset({"token_embd.weight", "per_layer_token_embd.weight"})

# parts of names whose tensors stay as they are: small, or of the kind that a rounding spoils
_KEPT = (
    *("_norm.weight", "ffn_gate_inp.weight", "ffn_gate_tid2eid.weight", "altup", "laurel"),
    *("per_layer_model_proj", "ssm_conv1d", "shortconv.conv.weight"),
    *("indexer.k_proj.weight", "indexer.q_proj.weight", "attn_rel_b.weight"),
    *(f"time_mix_{part}.weight" for part in ("first", "w0", "w1", "w2", "v0", "v1", "v2", "a0", "a1", "a2")),
    *(f"time_mix_{part}.weight" for part in ("g1", "g2", "decay_w1", "decay_w2", "lerp_fused")),
    *(".position_embd", "sam.pos_embd", "sam.neck.", "sam.net_", ".rel_pos", ".patch_embd", ".patch_merger"),
    *("a.rvq.codebook", "mm.a.code_embd"),
)
_KEPT_NAMES = frozenset({"position_embd.weight", "token_types.weight"})

# what a name says that its tensor does, the first that fits; the class is one that `mix_rules` has a rule for
_CLASSES = (
    *(("attn_qkv.weight", "attn_qkv"), ("attn_kv_b.weight", "attn_kv_b"), ("attn_v.weight", "attn_v")),
    *(("attn_k.weight", "attn_k"), ("attn_q.weight", "attn_q"), ("attn_output.weight", "attn_output")),
    *(("ffn_up", "ffn_up"), ("ffn_gate", "ffn_gate"), ("ffn_down", "ffn_down")),
)
_VALUES = frozenset({"attn_qkv", "attn_kv_b", "attn_v"})
_LAYERED = frozenset({"ffn_up", "ffn_gate", "ffn_down"})
_ONE_AND_TWO_BITS = frozenset({"IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M"})
_LAYER = re.compile(r"blk\.([0-9]{1,9})\.", re.ASCII)

_NEED_IMPORTANCE = frozenset({"IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS"})
_KERNEL_NEEDS_IMPORTANCE = frozenset({"IQ1_S", "IQ2_XXS", "IQ2_XS"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What is asked for beyond the label, as in `QuantizeRequest`."""

    tensor_types: tuple[tuple[str, str], ...] = ()
    output_tensor_type: str | None = None
    token_embedding_type: str | None = None
    pure: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a tensor becomes: itself where `type` is its own. `instead_of` is the type that its rows do not
    divide by, where another had to do."""

    type: GgmlType
    instead_of: str | None = None


def in_order(tensors: Iterable[TensorInfo]) -> list[TensorInfo]:
    """The tensors as llama-quantize goes through them and writes them: by layer, then by name."""
    return sorted(tensors, key=lambda tensor: (_layer_of(tensor.name), tensor.name.encode()))


def stays(tensor: TensorInfo) -> bool:
    """Whether no recipe changes this tensor."""
    name = tensor.name
    return (
        _dimensions(tensor) < 2
        or not name.endswith("weight")
        or name in _KEPT_NAMES
        or any(part in name for part in _KEPT)
    )


def targets(tensors: list[TensorInfo], model: Model, wishes: Wishes) -> Iterator[Target]:
    """What becomes of each of `tensors`, which are `in_order` and all that the model has.

    `model.value_matrices` and `model.tied` are those of the file (`facts_of_tensors`). Raises UsageError for
    a wish that cannot be, MalformedFile for a model of experts whose tensors have no layer.
    """
    walk = _Walk(model, wishes)
    for tensor in tensors:
        yield Target(type=tensor.type) if stays(tensor) else walk.target(tensor)


def value_matrices(tensors: Iterable[TensorInfo]) -> int:
    """How many tensors hold what the heads give on, by name, whatever becomes of them."""
    return sum(_class_of(tensor.name) in _VALUES for tensor in tensors)


def needs_importance(tensor: TensorInfo, target: Target, label: str) -> bool:
    """Whether this tensor would be garbage without an importance matrix (`tensor_requires_imatrix`)."""
    if target.type == tensor.type:
        return False
    if tensor.name == OUTPUT or tensor.name in EMBEDDINGS:
        return target.type.name in _KERNEL_NEEDS_IMPORTANCE  # it is the kernel that refuses then
    return target.type.name in _NEED_IMPORTANCE or (target.type.name == "Q2_K" and label == "Q2_K_S")


@dataclass(slots=True)
class _Walk:
    """Counts, on the way through a file, how many tensors of each kind the recipe was asked about."""

    model: Model
    wishes: Wishes
    _seen: dict[str, int] = field(default_factory=dict)
    _patterns: list[tuple[re.Pattern[str], str]] = field(init=False)

    def __post_init__(self) -> None:
        self._patterns = [(compiled(pattern), kind) for pattern, kind in self.wishes.tensor_types]

    def target(self, tensor: TensorInfo) -> Target:
        wanted = self._by_name(tensor)
        if wanted is not None:
            return Target(type=_fixed(tensor, wanted))
        base = self.model.base
        if not GGML_TYPES_BY_NAME[base].quantized:
            return Target(type=GGML_TYPES_BY_NAME[base])
        name = self._overridden(tensor)
        if name is None:
            name = base if self.wishes.pure else self._by_recipe(tensor)
        return _fitting(name, tensor.dims[0])

    def _by_name(self, tensor: TensorInfo) -> str | None:
        """The type that a wish of its own gives to the output and the embedding, whatever the recipe says."""
        if tensor.name in EMBEDDINGS and self.wishes.token_embedding_type is not None:
            named = tensor.name != "token_embd.weight" and self._overridden(tensor) is not None
            return None if named else self.wishes.token_embedding_type
        return self.wishes.output_tensor_type if tensor.name == OUTPUT else None

    def _overridden(self, tensor: TensorInfo) -> str | None:
        return next((kind for pattern, kind in self._patterns if pattern.search(tensor.name)), None)

    def _by_recipe(self, tensor: TensorInfo) -> str:
        tied_output = self.model.tied and tensor.name in EMBEDDINGS
        if tied_output and self.wishes.output_tensor_type is not None:
            return self.wishes.output_tensor_type
        tensor_class = _class_of(tensor.name)
        if self.model.label == "MXFP4_MOE" and tensor.name != OUTPUT and not tied_output:
            return "MXFP4" if _depth(tensor) > 1 else "Q8_0"
        kind = "value" if tensor_class in _VALUES else tensor_class
        number = self._seen.get(kind, 0)
        self._seen[kind] = number + 1
        if tensor_class in _LAYERED and self.model.experts > 1 and self.model.label not in _ONE_AND_TWO_BITS:
            number = self._named_layer(tensor)  # experts are not always one behind the other
        return target_type(self.model, Place(tensor_class, number, self.model.layers, tensor.dims[0]))

    def _named_layer(self, tensor: TensorInfo) -> int:
        layer = _layer_of(tensor.name)
        if not 0 <= layer < self.model.layers:
            raise MalformedFile(
                f"The tensor {quoted(tensor.name)} of a model of experts is in none of its "
                f"{self.model.layers} layers."
            )
        return layer


def _class_of(name: str) -> str:
    if name == OUTPUT:
        return "output"
    if name in EMBEDDINGS:
        return "token_embd"
    return next((group for part, group in _CLASSES if part in name), "other")


def _layer_of(name: str) -> int:
    found = _LAYER.match(name)
    return int(found[1]) if found else -1


def _dimensions(tensor: TensorInfo) -> int:
    """As ggml counts them: without trailing ones."""
    return max((number for number, dim in enumerate(tensor.dims, start=1) if dim > 1), default=1)


def _depth(tensor: TensorInfo) -> int:
    return tensor.dims[2] if len(tensor.dims) > 2 else 1


def _fixed(tensor: TensorInfo, name: str) -> GgmlType:
    kind = GGML_TYPES_BY_NAME[name]
    if tensor.dims[0] % kind.block_size:
        raise UsageError(
            f"{tensor.name} cannot be {name}: its rows of {tensor.dims[0]} are no multiple of "
            f"{kind.block_size}.",
            hint="Name a type with a smaller block, such as Q8_0 or F16.",
        )
    return kind


def _fitting(name: str, columns: int) -> Target:
    """The type, or the one that stands in where it does not divide the rows (`tensor_type_fallback`)."""
    kind = GGML_TYPES_BY_NAME[name]
    if columns % kind.block_size == 0:
        return Target(type=kind)
    other = GGML_TYPES_BY_NAME[fallback_type(name) or "F16"]
    if columns % other.block_size:
        other = GGML_TYPES_BY_NAME["F16"]
    return Target(type=other, instead_of=name)
