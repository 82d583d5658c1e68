"""Which type llama-quantize gives to which tensor: the recipes behind the labels (fit.md 1.3).

Source: llama.cpp's src/llama-quant.cpp (`llama_tensor_get_type_impl`, b11549). The rules are written here by
what a tensor does; the first that applies counts, as there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from registry.formats.ggml_types import GGML_TYPES_BY_NAME

CATEGORIES: Mapping[str, str] = MappingProxyType(
    {
        "output": "output",
        "token_embd": "embedding",
        "per_layer_token_embd": "embedding",
        "attn_v": "value",
        "attn_qkv": "value",
        "attn_kv_b": "value",
        "attn_k": "key",
        "attn_q": "query",
        "attn_output": "attention",
        "ffn_down": "down",
        "ffn_down_exps": "down",
        "ffn_down_shexp": "down",
        "ffn_up": "wide",
        "ffn_up_exps": "wide",
        "ffn_up_shexp": "wide",
        "ffn_gate": "wide",
        "ffn_gate_exps": "wide",
        "ffn_gate_shexp": "wide",
        "ffn_gate_up_exps": "wide",
    }
)
"""What tensors of a class do; every other class is treated as nothing special."""

_ONE_AND_TWO_BITS = frozenset({"IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M"})
_BETTER_TWO_BITS = frozenset({"IQ2_S", "IQ2_M"})
_LAYERS_OF_70B = MappingProxyType(
    {"llama": 80, "llama-embed": 80, "qwen2": 80, "deci": 80, "olmo": 80, "jais2": 68}
)
_MAYBE_65B = frozenset({"llama", "llama-embed"})  # of whom one of 80 layers may be the first LLaMA's 65B
_EIGHT_EXPERTS = 8
_EXPERTS_OUTPUT_AS_Q5_K = frozenset(
    {
        "Q2_K",
        "IQ3_XS",
        "IQ3_XXS",
        "Q3_K_S",
        "Q3_K_M",
        "IQ4_NL",
        "Q4_K_S",
        "Q4_K_M",
        "IQ3_S",
        "IQ3_M",
        "IQ4_XS",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What the rules ask of the model and the recipe. `value_matrices` counts tensors of that category."""

    architecture: str
    label: str
    base: str
    layers: int
    value_matrices: int
    heads_per_kv_head: int
    experts: int
    tied: bool
    importance_matrix: bool


@dataclass(frozen=True, slots=True)
class Place:
    """A tensor among those of its class: its number in layer order, of how many, and its row length."""

    tensor_class: str
    number: int
    count: int
    columns: int


def target_type(model: Model, place: Place) -> str:
    """The type that the recipe gives to this matrix, before what its shape allows. Total."""
    if model.base in {"F32", "F16", "BF16"}:
        return model.base
    category = CATEGORIES.get(place.tensor_class, "")
    if category == "output" or (category == "embedding" and model.tied):
        return _output(model, place)
    if model.label == "MXFP4_MOE":
        return "MXFP4" if place.tensor_class.endswith(("_exps", "_k_b", "_v_b")) else "Q8_0"
    if category == "embedding":
        return _EMBEDDINGS.get(model.label, model.base)
    if model.label in _ONE_AND_TWO_BITS:
        return _one_or_two_bits(model, place, category)
    rule = _RULES.get(category)
    return rule(model, place) if rule is not None else model.base


def gets_more_bits(number: int, count: int) -> bool:
    """The first and the last eighth, and every third between (`use_more_bits`)."""
    eighth = count // 8
    return number < eighth or number >= 7 * count // 8 or (number - eighth) % 3 == 2


def _output(model: Model, place: Place) -> str:
    does_not_divide = place.columns % GGML_TYPES_BY_NAME[model.base].block_size
    if model.label == "MXFP4_MOE" or model.architecture == "falcon" or does_not_divide:
        return "Q8_0"
    if model.label in _ONE_AND_TWO_BITS or model.label == "IQ3_XXS":
        return "Q5_K"
    return model.base if model.base == "Q8_0" else "Q6_K"


_EMBEDDINGS: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS"), "Q2_K"),
        **dict.fromkeys(("IQ2_S", "IQ2_M", "IQ3_XXS"), "IQ3_S"),
        **dict.fromkeys(("TQ1_0", "TQ2_0", "Q2_0"), "Q4_K"),
    }
)


def _one_or_two_bits(model: Model, place: Place, category: str) -> str:
    richer = "IQ3_S" if model.label in _BETTER_TWO_BITS else "Q2_K"
    if category == "value":
        return "Q4_K" if model.heads_per_kv_head >= 4 or model.experts >= 4 else richer
    if category == "key" and model.experts == _EIGHT_EXPERTS:
        return "Q4_K"
    if category == "down":
        return richer if place.number < model.layers // 8 else model.base
    if category == "attention":
        if model.experts == _EIGHT_EXPERTS:
            return "Q5_K"
        if model.label in {"IQ1_S", "IQ1_M"}:
            return "IQ2_XXS"
        return "IQ3_S" if model.label in _BETTER_TWO_BITS else model.base
    return model.base


def _value(model: Model, place: Place) -> str:
    if model.experts == _EIGHT_EXPERTS:
        return "Q8_0"
    chosen = _plain_value(model, place)
    is_65b = model.architecture in _MAYBE_65B and model.heads_per_kv_head == 1
    huge = model.layers == _LAYERS_OF_70B.get(model.architecture) and not is_65b
    return "Q5_K" if huge and chosen in {"Q3_K", "Q4_K"} else chosen


def _plain_value(model: Model, place: Place) -> str:
    shared = model.heads_per_kv_head >= 4
    if model.label == "Q2_K":
        return "Q4_K" if shared else "Q3_K"
    if model.label in {"Q2_K_S", "IQ3_XS", "IQ3_S"}:
        return "Q4_K" if shared else model.base
    if model.label == "IQ3_XXS":
        return "Q4_K" if shared else "IQ3_XXS" if model.importance_matrix else "IQ3_S"
    if model.label == "Q3_K_M":
        return "Q5_K" if place.number < 2 else "Q4_K"
    if model.label in {"IQ4_NL", "IQ4_XS"}:
        return "Q5_K" if shared else model.base
    if model.label in {"Q4_K_M", "Q5_K_M"}:
        return "Q6_K" if gets_more_bits(place.number, model.value_matrices) else model.base
    if model.label == "Q4_K_S":
        return "Q5_K" if place.number < 4 else model.base
    return {"IQ3_M": "Q4_K", "Q3_K_L": "Q5_K"}.get(model.label, model.base)


def _key(model: Model, place: Place) -> str:
    return "Q8_0" if model.experts == _EIGHT_EXPERTS else _query(model, place)


def _query(model: Model, _place: Place) -> str:
    return {"IQ3_XS": "IQ3_XXS", "IQ3_XXS": "IQ2_S"}.get(model.label, model.base)


def _down(model: Model, place: Place) -> str:
    layer, layers, falcon = _layer(model, place), model.layers, model.architecture == "falcon"
    early, finer = layer < layers // 8, gets_more_bits(layer, layers)
    match model.label:
        case "Q2_K":
            return "Q3_K"
        case "Q2_K_S":
            return "Q4_K" if early else model.base
        case "IQ3_XXS" if not model.importance_matrix:
            return "Q4_K" if early else "Q3_K"
        case "Q3_K_M":
            return "Q5_K" if layer < layers // 16 else "Q3_K" if falcon and not finer else "Q4_K"
        case "IQ3_M":
            return "Q4_K" if early or (model.experts == _EIGHT_EXPERTS and finer) else model.base
        case "Q3_K_L":
            return "Q4_K" if falcon else "Q5_K"
        case "Q4_K_M" if falcon:
            return "Q6_K" if layer < layers // 16 else "Q5_K" if finer else "Q4_K"
        case "Q4_K_M" | "Q5_K_M":
            return "Q6_K" if finer else model.base
        case "IQ4_NL" | "IQ4_XS" if not model.importance_matrix:
            return "Q5_K" if early else model.base
        case "Q4_K_S":
            return "Q5_K" if early and not falcon else model.base
        case "Q4_0" | "Q5_0" if model.importance_matrix:
            return model.base[:-1] + "1" if early else model.base
        case _:
            return model.base


def _attention(model: Model, _place: Place) -> str:
    if model.architecture == "falcon":
        return "Q4_K" if model.label == "Q3_K_L" else model.base
    if model.experts == _EIGHT_EXPERTS:
        return "Q5_K" if model.label in _EXPERTS_OUTPUT_AS_Q5_K else model.base
    return {"Q2_K": "Q3_K", "IQ3_XXS": "IQ3_S", "Q3_K_M": "Q4_K", "Q3_K_L": "Q5_K", "IQ3_M": "Q4_K"}.get(
        model.label, model.base
    )


def _wide(model: Model, place: Place) -> str:
    layer = _layer(model, place)
    middle = model.layers // 8 <= layer < 7 * model.layers // 8
    return "IQ3_XXS" if model.label == "IQ3_XS" and middle else model.base


def _layer(model: Model, place: Place) -> int:
    """Its layer: in a model of experts those come last, behind layers without them; else they are counted."""
    behind = place.tensor_class.endswith(("_exps", "_shexp"))
    return place.number + max(0, model.layers - place.count) if behind else place.number


_RULES = {
    "value": _value,
    "key": _key,
    "query": _query,
    "down": _down,
    "attention": _attention,
    "wide": _wide,
}
