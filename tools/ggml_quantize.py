"""Quantize with ggml's own kernels, out of the shared library in the xllamacpp wheel.

Native code of a build that nobody has tried on this processor may end the process: call it in a child
(`python -m tools.random_build`). The K-quants of 1 million values take 0.05 to 0.1 s.
"""

from __future__ import annotations

import ctypes
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt

_FLOATS = (gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.F16)


def quantize(rows: npt.NDArray[np.float32], kind: gguf.GGMLQuantizationType) -> npt.NDArray[np.generic]:
    """Rows of values (2-D, or 1-D for floats) to rows of blocks, as bytes; without an importance matrix.

    Raises ValueError where the kernel refuses.
    """
    if kind in _FLOATS:
        return gguf.quants.quantize(rows, kind)
    block, size = gguf.GGML_QUANT_SIZES[kind]
    count, columns = rows.shape
    made = np.empty((count, columns // block * size), np.uint8)
    values = np.ascontiguousarray(rows, np.float32)
    written = _kernel()(int(kind), values.ctypes.data, made.ctypes.data, 0, count, columns, None)
    if written != made.nbytes:
        raise ValueError(f"ggml made {written} bytes of {kind.name}, not {made.nbytes}")
    return made


@cache
def _kernel() -> Any:
    """`size_t ggml_quantize_chunk(type, src, dst, first value, rows, values in a row, importance)`."""
    found = find_spec("xllamacpp")
    if found is None or not found.submodule_search_locations:
        raise ValueError("xllamacpp is not installed")
    library = next(Path(found.submodule_search_locations[0]).glob("xllamacpp*.so"))
    function = ctypes.CDLL(str(library)).ggml_quantize_chunk
    function.restype = ctypes.c_size_t
    function.argtypes = [
        ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p,
        ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p,
    ]  # fmt: skip
    return function
