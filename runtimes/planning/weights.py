"""Where the weights of a model lie when llama.cpp has loaded it: host or device, mapped or copied.

Source: fit.md 2.1; llama.cpp's src/llama-model.cpp (which layer goes where) and ggml's
ggml/src/ggml-cpu/repack.cpp (which types are rearranged at load, for which instruction sets).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from registry.formats.facts import ModelFacts, TensorRow

_ALWAYS_ON_HOST = frozenset({"token_embd", "per_layer_token_embd", "position_embd", "token_types"})
_WITH_OUTPUT = frozenset({"output"})
_LOOKED_UP = _ALWAYS_ON_HOST | {"norm", "bias", "other"}

_REPACKED: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "Q4_0": frozenset({"avx2", "dotprod", "i8mm", "sve"}),
        "Q4_K": frozenset({"avx2", "dotprod", "i8mm"}),
        "Q2_K": frozenset({"avx512f"}),
        "Q5_K": frozenset({"dotprod", "i8mm"}),
        "Q6_K": frozenset({"dotprod", "i8mm"}),
        "Q8_0": frozenset({"dotprod", "i8mm"}),
        "IQ4_NL": frozenset({"avx2", "dotprod"}),
        "MXFP4": frozenset({"avx2", "dotprod"}),
    }
)
"""Which instruction sets have a faster layout for a type: any one of them is enough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """Bytes of the weights: mapped from the file, copied on the host into another layout, on the device.

    `doubled` is a tied embedding's copy in another layout: as the output it is rearranged, and rows of it are
    looked up in the file's pages.
    """

    mapped: int
    repacked: int
    device: int
    doubled: int = 0


def layers_on_device(layers: int, gpu_layers: int) -> int:
    """How many of the repeating layers, the last ones, are on the device: the output is the first to go
    there.
    """
    return min(max(gpu_layers - 1, 0), layers)


def placed(facts: ModelFacts, gpu_layers: int, *, repack: bool, features: frozenset[str]) -> Placed:
    """Where the weights lie when `gpu_layers` layers, the output counted as one, are on the device.

    The layers are taken for equally large. A tied embedding is needed on both sides.
    """
    layers = facts.layers or 1
    repeated = [row for row in facts.tensors if row.tensor_class not in _ALWAYS_ON_HOST | _WITH_OUTPUT]
    embedding = sum(row.bytes for row in facts.tensors if row.tensor_class in _ALWAYS_ON_HOST)
    output_rows = [row for row in facts.tensors if row.tensor_class in _WITH_OUTPUT]
    output = sum(row.bytes for row in output_rows)
    body = sum(row.bytes for row in repeated)
    if gpu_layers > 0 and facts.tied_embeddings:
        output = sum(row.bytes for row in facts.tensors if row.tensor_class == "token_embd")
    on_device = layers_on_device(layers, gpu_layers)
    device = body * on_device // layers + (output if gpu_layers > 0 else 0)
    host = embedding + body - body * on_device // layers + (0 if gpu_layers > 0 else output)
    copied = 0
    if repack:
        copied = sum(repacked_bytes(row, features) for row in repeated) * (layers - on_device) // layers
        if gpu_layers == 0:
            copied += sum(repacked_bytes(row, features) for row in output_rows)
    doubled = 0
    if repack and gpu_layers == 0 and facts.tied_embeddings:
        tied = [row for row in facts.tensors if row.tensor_class == "token_embd"]
        doubled = sum(row.bytes for row in tied if _REPACKED.get(row.type, frozenset()) & features)
    return Placed(mapped=host - copied, repacked=copied, device=device, doubled=doubled)


def repacked_bytes(row: TensorRow, features: frozenset[str]) -> int:
    """Bytes of the row that the engine copies into another layout on a CPU with these instruction sets."""
    if row.tensor_class in _LOOKED_UP or not _REPACKED.get(row.type, frozenset()) & features:
        return 0
    return row.bytes
