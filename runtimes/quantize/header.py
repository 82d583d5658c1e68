"""The header of a quantized file: the source's keys as they are, byte for byte, and what quantizing changes.

Source: the GGUF specification, ggml/docs/gguf.md; which keys change and where they stand is that of
llama.cpp's `llama_model_quantize_impl` and `gguf_set_val_*` (a key that is set anew moves to the end).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from registry.formats.ggml_types import GgmlType
from registry.formats.gguf import TensorInfo, ValueType
from registry.formats.gguf_tensors import padded
from runtimes.quantize.importance import ImportanceMatrix

QUANTIZATION_VERSION = 2  # ggml's GGML_QNT_VERSION
_VERSION = 3
_SPLIT_KEYS = frozenset({"split.no", "split.count", "split.tensors.count"})
_LONGEST_TEXT = 127  # bytes that llama.cpp's `llama_model_kv_override` has for a string
_WIDTHS = {
    **dict.fromkeys((ValueType.UINT8, ValueType.INT8, ValueType.BOOL), 1),
    **dict.fromkeys((ValueType.UINT16, ValueType.INT16), 2),
    **dict.fromkeys((ValueType.UINT32, ValueType.INT32, ValueType.FLOAT32), 4),
    **dict.fromkeys((ValueType.UINT64, ValueType.INT64, ValueType.FLOAT64), 8),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The header's bytes, up to where the data begins, and where each tensor's are, in their order."""

    header: bytes
    offsets: tuple[int, ...]
    size: int


def lay_out(
    pairs: Sequence[tuple[str, bytes]], tensors: Sequence[tuple[TensorInfo, GgmlType]], alignment: int
) -> Layout:
    """A GGUF file of these pairs (`changed_pairs`) and these tensors, in their new types."""
    head = [b"GGUF", struct.pack("<IQQ", _VERSION, len(tensors), len(pairs)), *(raw for _, raw in pairs)]
    offsets, offset = [], 0
    for tensor, kind in tensors:
        head.append(_tensor(tensor, kind, offset))
        offsets.append(offset)
        offset += padded(tensor.elements // kind.block_size * kind.block_bytes, alignment)
    header = b"".join(head)
    start = padded(len(header), alignment)
    return Layout(
        header=header.ljust(start, b"\0"),
        offsets=tuple(start + each for each in offsets),
        size=start + offset,
    )


def changed_pairs(
    pairs: Sequence[tuple[str, bytes]], file_type: int, matrix: ImportanceMatrix | None
) -> list[tuple[str, bytes]]:
    """The pairs of a file, raw, as they stand in what is quantized from it."""
    new: dict[str, bytes] = {
        "general.quantization_version": _u32(QUANTIZATION_VERSION),
        "general.file_type": _u32(file_type),
    }
    if matrix is not None:
        new["quantize.imatrix.file"] = _string(matrix.file_name)
        if matrix.dataset:
            new["quantize.imatrix.dataset"] = _string(matrix.dataset)
        new["quantize.imatrix.entries_count"] = _u32(len(matrix.weights))
        if matrix.chunks:
            new["quantize.imatrix.chunks_count"] = _u32(matrix.chunks)
    kept = [(key, raw) for key, raw in pairs if key not in new and key not in _SPLIT_KEYS]
    return kept + [(key, _key(key) + value) for key, value in new.items()]


def raw_pairs(header: bytes) -> list[tuple[str, bytes]]:
    """Each pair of a header that `read_header` has found good: its key, and its bytes with key and type."""
    (count,) = struct.unpack_from("<Q", header, 16)
    pairs, at = [], 24
    for _ in range(count):
        start = at
        (length,) = struct.unpack_from("<Q", header, at)
        key = header[at + 8 : at + 8 + length].decode()
        at += 8 + length
        kind = ValueType(struct.unpack_from("<I", header, at)[0])
        at = _past_value(header, at + 4, kind)
        pairs.append((key, header[start:at]))
    return pairs


def _past_value(header: bytes, at: int, kind: ValueType) -> int:
    if kind is ValueType.STRING:
        return _past_strings(header, at, 1)
    if kind is not ValueType.ARRAY:
        return at + _WIDTHS[kind]
    item, count = struct.unpack_from("<IQ", header, at)
    at += 12
    item_kind = ValueType(item)
    return (
        _past_strings(header, at, count) if item_kind is ValueType.STRING else at + count * _WIDTHS[item_kind]
    )


def _past_strings(header: bytes, at: int, count: int) -> int:
    length_at = struct.Struct("<Q").unpack_from
    for _ in range(count):
        at += 8 + length_at(header, at)[0]
    return at


def _key(name: str) -> bytes:
    raw = name.encode()
    return struct.pack("<Q", len(raw)) + raw


def _u32(value: int) -> bytes:
    return struct.pack("<II", ValueType.UINT32, value)


def _string(text: str) -> bytes:
    raw = text.encode("utf-8", errors="replace")[:_LONGEST_TEXT].decode("utf-8", errors="ignore").encode()
    return struct.pack("<IQ", ValueType.STRING, len(raw)) + raw


def _tensor(tensor: TensorInfo, kind: GgmlType, offset: int) -> bytes:
    dims = list(tensor.dims)
    while len(dims) > 1 and dims[-1] == 1:
        dims.pop()
    name = tensor.name.encode()
    return b"".join(
        (
            struct.pack("<Q", len(name)),
            name,
            struct.pack(f"<I{len(dims)}Q", len(dims), *dims),
            struct.pack("<IQ", kind.id, offset),
        )
    )
