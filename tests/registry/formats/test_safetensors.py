"""safetensors headers: files of the real library, and files that lie."""

from __future__ import annotations

import io
import json
import struct
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from registry.errors import MalformedFile
from registry.formats.safetensors import read_header

REAL: dict[str, np.ndarray] = {
    "b": np.zeros((3, 4), dtype=np.float32),
    "a": np.zeros((2, 2), dtype=np.float16),
    "empty": np.zeros((0, 5), dtype=np.int8),
    "scalar": np.zeros((), dtype=np.int64),
}


def made(table: Any, data: bytes = b"", *, length: int | None = None) -> bytes:
    raw = table if isinstance(table, bytes) else json.dumps(table).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def tensor(begin: int, end: int, shape: Any = None, dtype: Any = "U8") -> dict[str, Any]:
    return {"dtype": dtype, "shape": [end - begin] if shape is None else shape, "data_offsets": [begin, end]}


def test_a_file_of_the_real_library() -> None:
    raw = save(REAL, metadata={"format": "np"})
    header = read_header(io.BytesIO(raw))
    assert {each.name: (each.shape, each.size_bytes) for each in header.tensors} == {
        name: (array.shape, array.nbytes) for name, array in REAL.items()
    }
    assert {each.dtype for each in header.tensors} == {"F32", "F16", "I8", "I64"}
    assert dict(header.metadata) == {"format": "np"}
    assert sum(each.size_bytes for each in header.tensors) == len(raw) - header.data_offset


def test_the_header_alone_is_enough() -> None:
    raw = save(REAL)
    whole = read_header(io.BytesIO(raw))
    assert read_header(io.BytesIO(raw[: whole.data_offset]), size=len(raw)) == whole


def test_a_file_that_is_cut_or_longer_is_refused() -> None:
    raw = save(REAL)
    for end in range(len(raw)):
        with pytest.raises(MalformedFile):
            read_header(io.BytesIO(raw[:end]))
    with pytest.raises(MalformedFile):
        read_header(io.BytesIO(raw + b"\0"))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x80\x04pickle",
        b"PK\x03\x04" + bytes(100),
        made({}, length=2**63),
        made({}, length=2**64 - 1),
        made({}, length=0),
        made(b"[]"),
        made(b"[" * 100_000),
        made(b'{"a": 1, "a": 2}'),
        made(b"\xff\xfe{}"),
        made({"a": []}),
        made({"a": tensor(0, 4, dtype="Q4")}, bytes(4)),
        made({"a": tensor(0, 4, dtype=None)}, bytes(4)),
        made({"a": tensor(0, 4, shape=[2, -2])}, bytes(4)),
        made({"a": tensor(0, 4, shape=[2, True])}, bytes(4)),
        made({"a": tensor(0, 4, shape=[5])}, bytes(4)),
        made({"a": tensor(0, 4, shape=[1] * 17)}, bytes(4)),
        made({"a": tensor(0, 4, shape=[2**62, 2**62, 0])}, bytes(4)),
        made({"a": {"dtype": "U8", "shape": [4], "data_offsets": [4, 0]}}, bytes(4)),
        made({"a": {"dtype": "U8", "shape": [4], "data_offsets": [0]}}, bytes(4)),
        made({"a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4.0]}}, bytes(4)),
        made({"a": tensor(0, 4), "b": tensor(2, 6)}, bytes(6)),
        made({"a": tensor(0, 2), "b": tensor(4, 6)}, bytes(6)),
        made({"a": tensor(0, 4)}, bytes(5)),
        made({"a": tensor(0, 4)}, bytes(3)),
        made({"__metadata__": [], "a": tensor(0, 4)}, bytes(4)),
        made({"__metadata__": {"x": 1}, "a": tensor(0, 4)}, bytes(4)),
    ],
)
def test_a_header_that_lies_is_refused(raw: bytes) -> None:
    with pytest.raises(MalformedFile):
        read_header(io.BytesIO(raw))


@given(st.binary(max_size=200), st.integers(0, 2**64 - 1))
def test_nothing_but_our_error_is_raised(raw: bytes, length: int) -> None:
    for data in (raw, struct.pack("<Q", length) + raw, made(raw)):
        with suppress(MalformedFile):
            assert read_header(io.BytesIO(data)).data_offset <= len(data)
