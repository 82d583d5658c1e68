"""The rows of a mixture of experts, made of those of a dense model of its dimensions.

Source: llama.cpp's convert_hf_to_gguf.py, which merges the experts of a layer into one tensor of each kind
(`ffn_gate_exps`, ...), beside a router in F32 (`ffn_gate_inp`) and what is shared (`ffn_gate_shexp`, ...).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from registry.formats.facts import Experts, TensorRow
from registry.formats.model_shapes import Dimensions

_FEED_FORWARD = frozenset({"ffn_gate", "ffn_up", "ffn_down"})
_ROUTER_BYTES = 4


def with_experts(
    rows: Iterable[TensorRow], shape: Dimensions, experts: Experts, *, dense_layers: int
) -> Iterator[TensorRow]:
    """The rows with experts in all layers but the first `dense_layers`. Experts whose width is not told are
    as wide as the dense layers are."""
    layers, width = shape.layers - dense_layers, experts.feed_forward or shape.feed_forward
    shared = experts.shared_feed_forward or (experts.shared or 0) * width
    for row in rows:
        if row.tensor_class not in _FEED_FORWARD:
            yield row
            continue
        if dense_layers:
            yield _of_width(row, row.tensor_class, shape, dense_layers, shape.feed_forward)
        if layers:
            yield _of_width(row, f"{row.tensor_class}_exps", shape, layers, width, experts.count)
        if layers and shared:
            yield _of_width(row, f"{row.tensor_class}_shexp", shape, layers, shared)
    if layers:
        elements = layers * shape.hidden * experts.count
        yield TensorRow(
            tensor_class="ffn_gate_inp",
            type="F32",
            count=layers,
            columns=shape.hidden,
            elements=elements,
            bytes=elements * _ROUTER_BYTES,
        )


def _of_width(
    row: TensorRow, name: str, shape: Dimensions, layers: int, width: int, experts: int = 1
) -> TensorRow:
    elements = layers * shape.hidden * width * experts
    return replace(
        row,
        tensor_class=name,
        count=layers,
        columns=width if row.tensor_class == "ffn_down" else shape.hidden,
        elements=elements,
        bytes=elements * row.bytes // row.elements,
    )
