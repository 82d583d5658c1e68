"""GGUF files that are a header and a hole: a few KB that the engine takes for a model of any size.

The tensor table is real, the vocabulary tiny, the weights are never written (`truncate`). Tensor and key
names are llama.cpp's (src/llama-arch.cpp, gguf-py's constants).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import gguf
import numpy as np

from registry.formats.facts import ModelFacts
from registry.formats.ggml_types import GGML_TYPES_BY_NAME, GgmlType, fallback_type
from registry.formats.gguf import read_header
from registry.formats.gguf_facts import facts_from_gguf

VOCABULARY = 64
_EXACT = (
    "_norm",
    "ffn_gate_inp",
    "ssm_conv1d",
    "shortconv.conv",
    "position_embd",
    "token_types",
    "altup",
    "laurel",
)
Value = int | float | str | bool | list[int] | list[bool]
Dims = tuple[int, ...]
"""Dimensions as GGUF counts them: the row's length first."""


@dataclass(frozen=True, kw_only=True)
class Header:
    """A model: its architecture, keys without the architecture's prefix, and tensors. Matrices are of
    `matrices`, or of what stands in for it where it does not divide their rows; the rest F32. `types` are
    those of single tensors that differ. There are as many tokens as the token embedding has rows.
    """

    architecture: str
    keys: Mapping[str, Value]
    tensors: Mapping[str, Dims]
    matrices: str = "Q8_0"
    tokenizer: str = "gpt2"
    types: Mapping[str, str] = field(default_factory=dict)

    def write(self, path: Path) -> Path:
        writer = gguf.GGUFWriter(path, self.architecture)
        for name, value in self.keys.items():
            _put(writer, f"{self.architecture}.{name}", value)
        writer.add_tokenizer_model(self.tokenizer)
        writer.add_tokenizer_pre("default")
        writer.add_token_type_count(2)
        vocabulary = self.tensors["token_embd.weight"][1]
        writer.add_token_list([f"t{number}" for number in range(vocabulary)])
        writer.add_token_types([gguf.TokenType.NORMAL] * vocabulary)
        writer.add_token_merges(["t 0"])
        writer.add_bos_token_id(0)
        writer.add_eos_token_id(1)
        end = 0
        for name, dims in self.tensors.items():
            kind = self._type(name, dims)
            size = math.prod(dims) // kind.block_size * kind.block_bytes
            stored = (*dims[:0:-1], dims[0] // kind.block_size * kind.block_bytes)
            raw = gguf.GGMLQuantizationType[kind.name]
            if kind.quantized:
                writer.add_tensor_info(name, stored, np.dtype(np.uint8), size, raw_dtype=raw)
            else:
                writer.add_tensor_info(name, dims[::-1], np.dtype(np.float32), size, raw_dtype=raw)
            end += -(-size // 32) * 32
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        writer.close()
        with path.open("r+b") as stream:
            length = path.stat().st_size
            stream.truncate(-(-length // 32) * 32 + end)
        return path

    def _type(self, name: str, dims: Dims) -> GgmlType:
        if name in self.types:
            return GGML_TYPES_BY_NAME[self.types[name]]
        exact = len(dims) == 1 or not name.endswith(".weight") or any(part in name for part in _EXACT)
        kind = GGML_TYPES_BY_NAME["F32" if exact else self.matrices]
        if dims[0] % kind.block_size:
            kind = GGML_TYPES_BY_NAME[fallback_type(self.matrices) or "F16"]
        return kind


def read(path: Path) -> ModelFacts:
    with path.open("rb") as stream:
        return facts_from_gguf([read_header(stream)])


def _put(writer: gguf.GGUFWriter, key: str, value: Value) -> None:
    match value:
        case bool():
            writer.add_bool(key, value)
        case int():
            writer.add_uint32(key, value)
        case float():
            writer.add_float32(key, value)
        case str():
            writer.add_string(key, value)
        case list():
            writer.add_array(key, value)
