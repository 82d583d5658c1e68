"""safetensors headers: the tensor table of a weight file, read without loading weights.

Source: the safetensors format description (huggingface/safetensors, README, "Format"): a u64 little-endian
length N, N bytes of JSON (`{"NAME": {"dtype", "shape", "data_offsets"}, "__metadata__": {...}}`, padded with
blanks), then the data, which the tensors cover without a gap and without an overlap. All of it is a claim and
is checked against the file's size before it is believed.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import BinaryIO

from registry.errors import MalformedFile
from registry.formats.quote import quoted
from registry.formats.sniff import SNIFF_BYTES, describe

MAX_HEADER_BYTES = 32 << 20
"""The format allows 100 MB; a header of 100,000 tensors has about 10."""

MAX_TENSORS = 200_000
_MAX_NUMBER = 2**63 - 1
_MAX_DIMS = 16
_BITS: Mapping[str, int] = MappingProxyType(
    dict.fromkeys(("F4",), 4)
    | dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6)
    | dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 8)
    | dict.fromkeys(("U16", "I16", "F16", "BF16"), 16)
    | dict.fromkeys(("U32", "I32", "F32"), 32)
    | dict.fromkeys(("U64", "I64", "F64", "C64"), 64)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SafeTensor:
    """A tensor as the table names it. `shape` has the rows' length last."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    size_bytes: int

    @property
    def elements(self) -> int:
        return _product(self.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class SafetensorsHeader:
    """A checked header; tensors in the order of their data."""

    tensors: tuple[SafeTensor, ...]
    metadata: Mapping[str, str]
    data_offset: int


def read_header(stream: BinaryIO, *, size: int | None = None) -> SafetensorsHeader:
    """Read and check the header of the file that `stream`, seekable, holds from its first byte.

    `size` is that of the whole file in bytes; with it the stream need hold no more than the header. Raises
    MalformedFile, and for the contents nothing else; an OSError of the stream passes through.
    """
    if size is None:
        size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    head = _exactly(stream, min(8, size))
    if len(head) < 8:
        raise MalformedFile(f"This is not a safetensors file: it has {size} bytes.")
    (length,) = struct.unpack("<Q", head)
    if not 2 <= length <= min(MAX_HEADER_BYTES, size - 8):
        found = describe(head + stream.read(SNIFF_BYTES - 8))
        looks = f"it looks like {found}" if found else f"its header would have {length} bytes"
        raise MalformedFile(f"This is not a safetensors file: {looks}.")
    table = _parse(_exactly(stream, length))
    metadata = _metadata(table.pop("__metadata__", None))
    if len(table) > MAX_TENSORS:
        raise MalformedFile(f"The header names {len(table)} tensors; at most {MAX_TENSORS} are accepted.")
    placed = sorted(
        (_placed(name, value) for name, value in table.items()),
        key=lambda each: (each[0], each[1], each[2].name),
    )
    position = 0
    for begin, end, tensor in placed:
        if begin != position:
            raise MalformedFile(
                f"The tensor {quoted(tensor.name)} begins elsewhere than the one before it ends."
            )
        position = end
    if position != size - 8 - length:
        raise MalformedFile(f"The tensors take {position} bytes, the file has {size - 8 - length} for them.")
    return SafetensorsHeader(
        tensors=tuple(tensor for _, _, tensor in placed), metadata=metadata, data_offset=8 + length
    )


def _exactly(stream: BinaryIO, count: int) -> bytes:
    pieces = []
    while count and (piece := stream.read(count)):
        pieces.append(piece)
        count -= len(piece)
    if count:
        raise MalformedFile("The file is cut: it ends inside its header.")
    return b"".join(pieces)


def _parse(raw: bytes) -> dict[str, object]:
    try:
        table = json.loads(raw, object_pairs_hook=_unique)
    except RecursionError:
        raise MalformedFile("The header is nested too deeply.") from None
    except ValueError as error:
        raise MalformedFile(f"The header is not valid JSON ({error}).") from None
    if not isinstance(table, dict):
        raise MalformedFile("The header is not a JSON object.")
    return table


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key appears twice")
    return value


def _metadata(value: object) -> Mapping[str, str]:
    if value is None:
        return MappingProxyType({})
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise MalformedFile("The header's __metadata__ is not an object of texts.")
    return MappingProxyType(value)


def _placed(name: str, value: object) -> tuple[int, int, SafeTensor]:
    """A tensor, behind the begin and the end of its data in bytes from where data begins."""
    if not isinstance(value, dict):
        raise MalformedFile(f"The tensor {quoted(name)} is not described by an object.")
    dtype, shape, offsets = (
        value.get("dtype"),
        _numbers(value.get("shape")),
        _numbers(value.get("data_offsets")),
    )
    if not isinstance(dtype, str) or dtype not in _BITS:
        raise MalformedFile(f"The tensor {quoted(name)} has an unknown type {quoted(dtype)}.")
    if shape is None or len(shape) > _MAX_DIMS:
        raise MalformedFile(f"The tensor {quoted(name)} has no valid shape.")
    if offsets is None or len(offsets) != 2:
        raise MalformedFile(f"The tensor {quoted(name)} has no valid data_offsets.")
    begin, end = offsets
    bits = _product(shape) * _BITS[dtype]
    if bits % 8 or end - begin != bits // 8:
        raise MalformedFile(f"The tensor {quoted(name)} does not take the bytes of its shape and type.")
    return begin, end, SafeTensor(name=name, dtype=dtype, shape=shape, size_bytes=end - begin)


def _numbers(value: object) -> tuple[int, ...] | None:
    """A list of whole numbers; None for anything else."""
    if not isinstance(value, list):
        return None
    numbers = tuple(item for item in value if type(item) is int and 0 <= item <= _MAX_NUMBER)
    return numbers if len(numbers) == len(value) else None


def _product(shape: Sequence[int]) -> int:
    product = 1
    for size in shape:
        product *= size
    return product
