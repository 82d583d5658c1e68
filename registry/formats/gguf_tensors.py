"""The tensor table of a GGUF header: where each tensor lies, checked against the file it lies in.

Source: the GGUF specification, ggml/docs/gguf.md, "gguf_tensor_info_t".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from registry.errors import MalformedFile
from registry.formats.cursor import Cursor
from registry.formats.ggml_types import GGML_TYPES, GgmlType, why_unusable
from registry.formats.quote import quoted

MAX_TENSORS = 65_536
MAX_NAME_BYTES = 63  # ggml's GGML_MAX_NAME, less the terminating zero
MAX_DIMS = 4
MAX_DIM = 2**31 - 1
MAX_BYTES = 2**63 - 1
SMALLEST_INFO_BYTES = 8 + 1 + 4 + 8 + 4 + 8
"""What the shortest possible entry of the table takes: name length, name, dimensions, type, offset."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorInfo:
    """One tensor. `dims` are element counts in ggml's order, the row (innermost) first.

    `offset` is in bytes from the header's `data_offset`; `size_bytes` is the data without padding.
    """

    name: str
    dims: tuple[int, ...]
    type: GgmlType
    offset: int
    size_bytes: int

    @property
    def elements(self) -> int:
        """The number of elements: the product of `dims`."""
        return _product(self.dims)


def read_tensors(
    cursor: Cursor, count: int, *, alignment: int, architecture: str | None
) -> tuple[TensorInfo, ...]:
    """Read `count` entries (the caller has capped it) and check each by itself; raises MalformedFile."""
    tensors: list[TensorInfo] = []
    names: set[str] = set()
    padded_total = 0
    for index in range(count):
        tensor = _read_tensor(cursor, index, alignment=alignment, architecture=architecture)
        if tensor.name in names:
            raise MalformedFile(f"Two tensors are called {quoted(tensor.name)}.")
        names.add(tensor.name)
        padded_total += padded(tensor.size_bytes, alignment)
        if padded_total > MAX_BYTES:
            raise MalformedFile(
                f"The tensors up to {quoted(tensor.name)} add up to {padded_total} bytes, "
                "more than any file can hold."
            )
        tensors.append(tensor)
    return tuple(tensors)


def check_layout(tensors: Iterable[TensorInfo], *, data_offset: int, file_size: int) -> None:
    """Raise MalformedFile unless every tensor lies inside the file and no two share a byte."""
    end, before = 0, ""
    for tensor in sorted(tensors, key=lambda entry: entry.offset):
        if tensor.offset < end:
            raise MalformedFile(f"Tensors {quoted(before)} and {quoted(tensor.name)} overlap in the file.")
        end, before = tensor.offset + tensor.size_bytes, tensor.name
        if data_offset + end > file_size:
            raise MalformedFile(
                f"Tensor {quoted(before)} ends at byte {data_offset + end}, but the file at byte {file_size}."
            )


def padded(size: int, alignment: int) -> int:
    """`size` rounded up to a multiple of `alignment`."""
    return -(-size // alignment) * alignment


def _read_tensor(cursor: Cursor, index: int, *, alignment: int, architecture: str | None) -> TensorInfo:
    name = _read_name(cursor, index)
    where = f"tensor {quoted(name)}"
    dims = _read_dims(cursor, where)
    type_id = cursor.u32(f"the type of {where}")
    offset = cursor.u64(f"the offset of {where}")
    if reason := why_unusable(type_id, architecture):
        raise MalformedFile(f"The type of {where} is {type_id}: {reason}.")
    kind = GGML_TYPES[type_id]
    if dims[0] % kind.block_size:
        raise MalformedFile(
            f"The rows of {where} have {dims[0]} elements, which is no multiple of {kind.name}'s block "
            f"of {kind.block_size}."
        )
    size_bytes = _product(dims) // kind.block_size * kind.block_bytes
    if size_bytes > MAX_BYTES:
        raise MalformedFile(f"The size of {where}, {size_bytes} bytes, is more than any file can hold.")
    if offset % alignment:
        raise MalformedFile(f"The offset of {where}, {offset}, is no multiple of the alignment {alignment}.")
    return TensorInfo(name=name, dims=dims, type=kind, offset=offset, size_bytes=size_bytes)


def _read_name(cursor: Cursor, index: int) -> str:
    at = cursor.offset
    length = cursor.u64(f"the name length of tensor {index}")
    if not 1 <= length <= MAX_NAME_BYTES:
        raise MalformedFile(
            f"The name of tensor {index} at byte {at} has {length} bytes; it takes 1 to {MAX_NAME_BYTES}."
        )
    raw = cursor.take(length, f"the name of tensor {index}")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise MalformedFile(f"The name of tensor {index}, {quoted(raw)}, is not UTF-8.") from None


def _read_dims(cursor: Cursor, where: str) -> tuple[int, ...]:
    count = cursor.u32(f"the number of dimensions of {where}")
    if not 1 <= count <= MAX_DIMS:
        raise MalformedFile(f"The number of dimensions of {where} is {count}; it takes 1 to {MAX_DIMS}.")
    dims = tuple(cursor.u64(f"the dimensions of {where}") for _ in range(count))
    for dim in dims:
        if not 1 <= dim <= MAX_DIM:
            raise MalformedFile(f"A dimension of {where} is {dim}; it takes 1 to {MAX_DIM}.")
    if _product(dims) > MAX_BYTES:
        raise MalformedFile(f"The element count of {where}, {_product(dims)}, overflows 63 bits.")
    return dims


def _product(dims: tuple[int, ...]) -> int:
    total = 1
    for dim in dims:
        total *= dim
    return total
