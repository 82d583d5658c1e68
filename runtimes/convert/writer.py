"""A conversion written to a file, a few megabytes at a time. The same conversion gives the same bytes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from runtimes.convert.header import data_bytes, header_bytes, padded, tensor_bytes
from runtimes.convert.values import Conversion, Tensor


def file_size(conversion: Conversion) -> int:
    """The size of the file in bytes, before it is written."""
    return len(header_bytes(conversion.keys, conversion.tensors)) + data_bytes(conversion.tensors)


def write(conversion: Conversion, path: Path, on_progress: Callable[[int], None]) -> None:
    """Write the model to `path`, from its first byte; `on_progress` hears how many more bytes were written.

    An OSError of the file passes through. Raises what reading the source raises: then the file holds a part
    of the model and is the caller's to remove.
    """
    with path.open("wb", buffering=0) as stream:
        header = header_bytes(conversion.keys, conversion.tensors)
        _put(stream, header)
        on_progress(len(header))
        for tensor in conversion.tensors:
            _write_tensor(stream, tensor, on_progress)


def _write_tensor(stream: BinaryIO, tensor: Tensor, on_progress: Callable[[int], None]) -> None:
    size = tensor_bytes(tensor)
    written = 0
    for piece in tensor.read():
        view = piece.data.cast("B")
        _put(stream, view)
        written += len(view)
        on_progress(len(view))
    if written != size:
        raise AssertionError(f"{tensor.name} gave {written} bytes, not {size}")
    fill = padded(size) - size
    if fill:
        _put(stream, bytes(fill))
        on_progress(fill)


def _put(stream: BinaryIO, data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[stream.write(view) :]
