"""The header of a GGUF file as bytes: keys, and where each tensor will lie.

Source: the GGUF specification, ggml/docs/gguf.md. Little endian, version 3, alignment 32.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
from gguf import GGML_QUANT_SIZES, GGUFValueType

from runtimes.convert.values import Key, KeyValue, Tensor

ALIGNMENT = 32
_MAGIC = b"GGUF"
_VERSION = 3
_KINDS = GGUFValueType
_FORMATS: dict[GGUFValueType, str] = {
    _KINDS.UINT8: "<u1",
    _KINDS.INT8: "<i1",
    _KINDS.UINT16: "<u2",
    _KINDS.INT16: "<i2",
    _KINDS.UINT32: "<u4",
    _KINDS.INT32: "<i4",
    _KINDS.UINT64: "<u8",
    _KINDS.INT64: "<i8",
    _KINDS.FLOAT32: "<f4",
    _KINDS.FLOAT64: "<f8",
    _KINDS.BOOL: "?",
}


def header_bytes(keys: Sequence[Key], tensors: Sequence[Tensor]) -> bytes:
    """All that comes before the data, up to where the first tensor begins."""
    parts = [_MAGIC, struct.pack("<IQQ", _VERSION, len(tensors), len(keys))]
    for key in keys:
        parts += [_text(key.name), struct.pack("<I", key.kind), _value(key)]
    for tensor, offset in zip(tensors, offsets(tensors), strict=True):
        dims = tuple(reversed(tensor.shape))
        parts += [_text(tensor.name), struct.pack(f"<I{len(dims)}Q", len(dims), *dims)]
        parts.append(struct.pack("<IQ", tensor.kind, offset))
    raw = b"".join(parts)
    return raw + bytes(padded(len(raw)) - len(raw))


def offsets(tensors: Sequence[Tensor]) -> list[int]:
    """Where each tensor's data begins, in bytes from the end of the header."""
    found, position = [], 0
    for tensor in tensors:
        found.append(position)
        position += padded(tensor_bytes(tensor))
    return found


def data_bytes(tensors: Sequence[Tensor]) -> int:
    """What all data takes, with what fills it up to the alignment."""
    return sum(padded(tensor_bytes(tensor)) for tensor in tensors)


def tensor_bytes(tensor: Tensor) -> int:
    """What a tensor's data takes; its rows must be a multiple of its type's block."""
    block, size = GGML_QUANT_SIZES[tensor.kind]
    return tensor.elements // block * size


def padded(size: int) -> int:
    """`size` rounded up to a multiple of the alignment."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def _text(value: str) -> bytes:
    raw = value.encode("utf-8", "surrogateescape")
    return struct.pack("<Q", len(raw)) + raw


def _value(key: Key) -> bytes:
    if key.kind != _KINDS.ARRAY:
        return _items(key.kind, [key.value])
    if key.item_kind is None or not isinstance(key.value, list):
        raise TypeError(f"{key.name} is an array and says not of what")
    return struct.pack("<IQ", key.item_kind, len(key.value)) + _items(key.item_kind, key.value)


def _items(kind: GGUFValueType, values: Sequence[KeyValue]) -> bytes:
    if kind == _KINDS.STRING:
        return b"".join(_text(value) for value in values if isinstance(value, str))
    return np.asarray(values, dtype=_FORMATS[kind]).tobytes()
