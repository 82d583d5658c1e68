"""Tensors of safetensors files summed by class and type, the classes being those of GGUF.

Source: the parameter names of Transformers' models (`model.layers.0.self_attn.q_proj.weight`), and the three
tensors of a quantized MLX module: `weight` (packed in U32), `scales` and `biases`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from registry.formats.facts import TensorRow
from registry.formats.safetensors import SafeTensor

_NETWORKS = (
    (re.compile(r"(?:^|\.)(?:vision_tower|vision_model|visual|vision_encoder)\."), "vision"),
    (re.compile(r"(?:^|\.)(?:audio_tower|audio_encoder|speech_encoder)\."), "audio"),
    (
        re.compile(r"(?:^|\.)(?:multi_modal_projector|mm_projector|connector|embed_vision|embed_audio)\."),
        "projector",
    ),
)
_CLASSES: Mapping[str, str] = MappingProxyType(
    {
        "embed_tokens": "token_embd",
        "wte": "token_embd",
        "word_embeddings": "token_embd",
        "lm_head": "output",
        "q_proj": "attn_q",
        "k_proj": "attn_k",
        "v_proj": "attn_v",
        "o_proj": "attn_output",
        "qkv_proj": "attn_qkv",
        "query_key_value": "attn_qkv",
        "c_attn": "attn_qkv",
        "gate_proj": "ffn_gate",
        "up_proj": "ffn_up",
        "gate_up_proj": "ffn_up",
        "down_proj": "ffn_down",
    }
)
_EXPERT = re.compile(r"\.(?:experts|switch_mlp)\.(?:[0-9]+\.)?([a-z_0-9]+)$")
_SHARED = re.compile(r"\.shared_experts?\.([a-z_]+)$")
_EXPERT_PARTS: Mapping[str, str] = MappingProxyType({"w1": "ffn_gate", "w3": "ffn_up", "w2": "ffn_down"})
_ROUTER = re.compile(r"\.(?:mlp|block_sparse_moe|feed_forward)\.(?:gate|router)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Module:
    """What one matrix takes, with what its quantization stores beside it."""

    tensor_class: str
    type: str
    columns: int | None
    elements: int
    bytes: int


def hf_tensor_class(name: str) -> str:
    """The class of a tensor by its name; `other` where it is not known."""
    for pattern, network in _NETWORKS:
        if pattern.search(name):
            return network
    stem, _, suffix = name.rpartition(".")
    if suffix == "bias":
        return "bias"
    last = stem.rpartition(".")[2]
    if "norm" in last or last.startswith("ln_"):
        return "norm"
    if match := _EXPERT.search(stem):
        part = _EXPERT_PARTS.get(match[1]) or _CLASSES.get(match[1])
        return f"{part}_exps" if part in {"ffn_gate", "ffn_up", "ffn_down"} else "other"
    if match := _SHARED.search(stem):
        part = _CLASSES.get(match[1])
        return f"{part}_shexp" if part in {"ffn_gate", "ffn_up", "ffn_down"} else "other"
    if _ROUTER.search(stem):
        return "ffn_gate_inp"
    return _CLASSES.get(last, "other")


def plain_rows(tensors: Iterable[SafeTensor]) -> tuple[TensorRow, ...]:
    """One row for each class and type, sorted by both."""
    return _rows(_module(tensor) for tensor in tensors)


def mlx_rows(
    tensors: Iterable[SafeTensor], groups: Mapping[str, tuple[int, str]], default: tuple[int, str]
) -> tuple[TensorRow, ...]:
    """The same where modules are quantized as MLX does it; elements are those of the matrix that is meant.

    `default` is the group size and the label of the quantization; `groups` has those of modules that differ.
    """
    by_name = {tensor.name: tensor for tensor in tensors}
    modules = []
    beside: set[str] = set()
    for name, tensor in by_name.items():
        stem, _, suffix = name.rpartition(".")
        scales = by_name.get(f"{stem}.scales")
        if suffix != "weight" or scales is None or tensor.dtype != "U32":
            continue
        group, label = groups.get(stem, default)
        parts = [tensor, scales, *filter(None, [by_name.get(f"{stem}.biases")])]
        beside |= {part.name for part in parts}
        modules.append(
            _Module(
                tensor_class=hf_tensor_class(name),
                type=label,
                columns=scales.shape[-1] * group if scales.shape else None,
                elements=scales.elements * group,
                bytes=sum(part.size_bytes for part in parts),
            )
        )
    modules += [_module(tensor) for name, tensor in by_name.items() if name not in beside]
    return _rows(modules)


def _module(tensor: SafeTensor) -> _Module:
    return _Module(
        tensor_class=hf_tensor_class(tensor.name),
        type=tensor.dtype,
        columns=tensor.shape[-1] if tensor.shape else None,
        elements=tensor.elements,
        bytes=tensor.size_bytes,
    )


def _rows(modules: Iterable[_Module]) -> tuple[TensorRow, ...]:
    groups: dict[tuple[str, str], list[_Module]] = {}
    for module in modules:
        groups.setdefault((module.tensor_class, module.type), []).append(module)
    rows = []
    for (tensor_class, type_name), members in sorted(groups.items()):
        columns = {member.columns for member in members}
        rows.append(
            TensorRow(
                tensor_class=tensor_class,
                type=type_name,
                count=len(members),
                columns=columns.pop() if len(columns) == 1 else None,
                elements=sum(member.elements for member in members),
                bytes=sum(member.bytes for member in members),
            )
        )
    return tuple(rows)
