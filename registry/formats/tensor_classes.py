"""Tensors summed by class and type, the classes taken from the names that GGUF files give them.

Source: the tensor names in the GGUF specification (ggml/docs/gguf.md, "Standardized tensor names") and in
llama.cpp's src/llama-arch.cpp.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from registry.formats.facts import TensorRow
from registry.formats.gguf import TensorInfo

_LAYER = re.compile(r"(?:(?:enc|dec)\.)?blk\.[0-9]+\.", re.ASCII)
_OTHER_NETWORKS = (("v.", "vision"), ("a.", "audio"), ("mm.", "projector"))
_ALIASES = {"attn_o": "attn_output", "attn_out": "attn_output"}
_CLASSES = frozenset(
    {
        "attn_gate",
        "attn_k",
        "attn_k_b",
        "attn_kv_a_mqa",
        "attn_kv_b",
        "attn_output",
        "attn_q",
        "attn_q_a",
        "attn_q_b",
        "attn_qkv",
        "attn_v",
        "attn_v_b",
        "ffn_down",
        "ffn_down_exps",
        "ffn_down_shexp",
        "ffn_gate",
        "ffn_gate_exps",
        "ffn_gate_inp",
        "ffn_gate_inp_shexp",
        "ffn_gate_shexp",
        "ffn_gate_up_exps",
        "ffn_up",
        "ffn_up_exps",
        "ffn_up_shexp",
        "output",
        "per_layer_token_embd",
        "position_embd",
        "shortconv_conv",
        "shortconv_in_proj",
        "shortconv_out_proj",
        "ssm_conv1d",
        "ssm_dt",
        "ssm_in",
        "ssm_out",
        "ssm_x",
        "token_embd",
        "token_types",
    }
)


def tensor_class(name: str) -> str:
    """The class of a tensor: its name without layer and suffix where that is known, else a general one.

    Biases are `bias` and normalization weights `norm` whatever they belong to, and the parts of other
    networks in the file `vision`, `audio` and `projector`; all the rest is `other`. So a hostile file
    cannot make up classes.
    """
    for prefix, network in _OTHER_NETWORKS:
        if name.startswith(prefix):
            return network
    stem, _, suffix = _LAYER.sub("", name, count=1).rpartition(".")
    if suffix == "bias":
        return "bias"
    if stem.endswith("norm") or "_norm" in stem:
        return "norm"
    stem = _ALIASES.get(stem, stem).replace("shortconv.", "shortconv_")
    return stem if stem in _CLASSES and suffix == "weight" else "other"


def tensor_rows(tensors: Iterable[TensorInfo]) -> tuple[TensorRow, ...]:
    """One row for each class and type that occurs, sorted by both."""
    groups: dict[tuple[str, str], list[TensorInfo]] = {}
    for tensor in tensors:
        groups.setdefault((tensor_class(tensor.name), tensor.type.name), []).append(tensor)
    return tuple(_row(*group, groups[group]) for group in sorted(groups))


def _row(group: str, type_name: str, members: list[TensorInfo]) -> TensorRow:
    columns = {tensor.dims[0] for tensor in members}
    return TensorRow(
        tensor_class=group,
        type=type_name,
        count=len(members),
        columns=columns.pop() if len(columns) == 1 else None,
        elements=sum(tensor.elements for tensor in members),
        bytes=sum(tensor.size_bytes for tensor in members),
    )
