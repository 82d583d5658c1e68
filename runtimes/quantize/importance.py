"""Importance matrices: how much each column of a weight matters, as llama-imatrix measured it on a text.

Two formats. GGUF, since 2025: for each tensor NAME the tensors `NAME.in_sum2` (sums of the squares of what
was multiplied with each column) and `NAME.counts` (over how many tokens), one row for each expert; and before
it a binary file, little-endian: the number of entries, for each the length of its name, the name, the number
of calls, the number of values, the values; then, where there is more, the number of chunks, and the length
and the bytes of the data set's name. Source: llama.cpp's tools/imatrix and common/imatrix-loader.cpp; how
counts become weights is that of tools/quantize/quantize.cpp (`load_imatrix`).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from registry.errors import MalformedFile, NotFound
from registry.formats.gguf import MAGIC, GgufHeader, TensorInfo, read_header
from registry.formats.quote import quoted

MAX_BYTES = 4 * 2**30
"""The largest file that is read: that of a model of 400 billion parameters in experts has 1 GB."""

_SUMS = ".in_sum2"
_COUNTS = ".counts"
_METADATA = ("imatrix.datasets", "imatrix.chunk_count", "imatrix.chunk_size")
_MAX_NAME_BYTES = 255
_MAX_DATASET_BYTES = 65_535
_MAX_ENTRIES = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportanceMatrix:
    """`weights` are one F32 for each column of each tensor, for a tensor of experts one row after the other.

    `dataset` is the (first) text that was measured on, `chunks` how many pieces of it; None where the file
    does not say. `file_name` is what it is called, without folders.
    """

    file_name: str
    weights: Mapping[str, npt.NDArray[np.float32]] = field(repr=False)
    dataset: str | None
    chunks: int | None


def read_importance(path: Path) -> ImportanceMatrix:
    """Read and check an importance matrix in either format; every weight in it is a finite number.

    Raises NotFound for a file that cannot be opened, MalformedFile for one that is no importance matrix.
    """
    try:
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            if size > MAX_BYTES:
                raise MalformedFile(f"An importance matrix of {size} bytes cannot be.")
            magic = stream.read(len(MAGIC))
            stream.seek(0)
            weights, dataset, chunks = (_read_gguf if magic == MAGIC else _read_old)(stream, size)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else "it cannot be read"
        raise NotFound(f"The importance matrix {quoted(path.name, 300)} cannot be read ({why}).") from None
    if not weights:
        raise MalformedFile("The importance matrix has no entries.")
    return ImportanceMatrix(file_name=path.name, weights=weights, dataset=dataset, chunks=chunks)


_Read = tuple[dict[str, npt.NDArray[np.float32]], str | None, int | None]


def _read_gguf(stream: BinaryIO, size: int) -> _Read:
    header = read_header(stream, size=size, needs_architecture=False)
    if any(key not in header.metadata for key in _METADATA):
        raise MalformedFile("This GGUF file is no importance matrix: it lacks its metadata.")
    tensors = {tensor.name: tensor for tensor in header.tensors}
    weights = {}
    for name in sorted(tensors):
        if name.endswith(_COUNTS) and name.removesuffix(_COUNTS) + _SUMS not in tensors:
            raise MalformedFile(f"The importance matrix has counts without sums: {quoted(name)}.")
        if not name.endswith(_SUMS):
            continue
        owner = name.removesuffix(_SUMS)
        if owner + _COUNTS not in tensors:
            raise MalformedFile(f"The importance matrix has sums without counts: {quoted(name)}.")
        sums = _floats(stream, header, tensors[name])
        # counts are whole numbers in a file of floats
        counts = np.floor(_floats(stream, header, tensors[owner + _COUNTS]) + np.float32(0.5))
        if sums.size % counts.size:
            raise MalformedFile(
                f"The importance matrix has {sums.size} sums for {counts.size} counts: {quoted(owner)}."
            )
        rows = sums.reshape(counts.size, -1)
        measured = (counts > 0)[:, None]
        # an expert that no token went to has equal weights
        mean = np.divide(rows, counts[:, None], out=np.ones_like(rows), where=measured)
        weights[owner] = mean.reshape(-1)
    return weights, _dataset(header), _chunks(header)


def _floats(stream: BinaryIO, header: GgufHeader, tensor: TensorInfo) -> npt.NDArray[np.float32]:
    if tensor.type.name != "F32":
        raise MalformedFile(
            f"The importance matrix holds {tensor.type.name}, not F32: {quoted(tensor.name)}."
        )
    stream.seek(header.data_offset + tensor.offset)
    return _finite(tensor.name, np.frombuffer(_exactly(stream, tensor.size_bytes), "<f4"))


def _finite(name: str, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    if not np.isfinite(values).all():
        raise MalformedFile(f"The importance matrix holds values for {quoted(name)} that are no numbers.")
    return values


def _dataset(header: GgufHeader) -> str | None:
    names = header.metadata["imatrix.datasets"]
    if isinstance(names, tuple) and names and isinstance(names[0], str):
        return names[0]
    return None


def _chunks(header: GgufHeader) -> int | None:
    count = header.metadata["imatrix.chunk_count"]
    return count if type(count) is int and count > 0 else None


def _read_old(stream: BinaryIO, size: int) -> _Read:
    count = _number(stream, "its number of entries")
    if not 1 <= count <= _MAX_ENTRIES:
        raise MalformedFile("This file is no importance matrix.")
    weights: dict[str, npt.NDArray[np.float32]] = {}
    for _ in range(count):
        name = _text(stream, _number(stream, "a name's length"), _MAX_NAME_BYTES)
        calls = _number(stream, "a number of calls")
        values = _number(stream, "a number of values")
        if values < 1 or values * 4 > size - stream.tell():
            raise MalformedFile(f"The importance matrix claims {values} values for {quoted(name)}.")
        sums = _finite(name, np.frombuffer(_exactly(stream, values * 4), "<f4"))
        weights[name] = np.divide(sums, np.float32(max(calls, 1)), dtype=np.float32)
    if stream.tell() == size:
        return weights, None, None
    chunks = _number(stream, "its number of chunks")
    dataset = None
    if stream.tell() < size:
        dataset = _text(stream, _number(stream, "the data set's length"), _MAX_DATASET_BYTES)
    return weights, dataset or None, chunks if chunks > 0 else None


def _number(stream: BinaryIO, what: str) -> int:
    raw = stream.read(4)
    if len(raw) < 4:
        raise MalformedFile(f"The importance matrix is cut: it ends inside {what}.")
    return int(struct.unpack("<i", raw)[0])


def _text(stream: BinaryIO, length: int, longest: int) -> str:
    if not 0 <= length <= longest:
        raise MalformedFile(f"This file is no importance matrix: a name of {length} bytes is in it.")
    return _exactly(stream, length).decode("utf-8", errors="replace")


def _exactly(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    if len(data) != size:
        raise MalformedFile(f"The importance matrix is cut: {size - len(data)} bytes are missing.")
    return data
