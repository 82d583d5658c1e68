"""Numbers that are read in pieces of whole rows, what is done to them on the way, and their bytes at the end.

Sources: ggml's ggml-quants.c and ggml-impl.h for the types (BF16 is rounded to the nearest even, Q8_0 and the
ternary types as gguf's quants.py does it), LlamaModel.permute in llama.cpp's converter for the order of rows.
"""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf import quants as gguf_quants

from registry.errors import OperationFailed

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
StoredType = Literal["F32", "F16", "BF16"]

STORED: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),  # numpy has no BF16
}
"""How numpy holds a type of number."""

THREADS = min(8, os.cpu_count() or 1)
"""How many pieces are encoded at once: reading and writing them takes as long as two or three of these."""

_SMALL = 1 << 20
_PLAIN = {
    GGMLQuantizationType.F32: "F32",
    GGMLQuantizationType.F16: "F16",
    GGMLQuantizationType.BF16: "BF16",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """A tensor's numbers. `shape` has the rows' length last; a vector's rows have one number each.

    `pieces(unit)` reads them from the first to the last, in arrays of (rows, row's length) of the type that
    STORED has for `stored`; each but the last has a multiple of `unit` rows.
    """

    name: str
    stored: StoredType
    shape: tuple[int, ...]
    pieces: Callable[[int], Iterator[Array]]

    def interleaved(self, heads: int) -> Rows:
        """The rows of each head as llama.cpp has them: those that Transformers keeps half a head apart, and
        rotates together, beside each other. The shape must be a multiple of heads of an even size."""
        size = self.shape[0] // heads

        def pieces(unit: int) -> Iterator[Array]:
            for piece in self.pieces(size * unit):
                count, columns = piece.shape
                halves = piece.reshape(count // size, 2, size // 2, columns)
                yield np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(count, columns)

        return replace(self, pieces=pieces)

    def plus(self, amount: float) -> Rows:
        """Every number that much larger, in F32."""

        def pieces(unit: int) -> Iterator[Array]:
            for piece in self.pieces(unit):
                yield floats(piece, self.stored) + np.float32(amount)

        return replace(self, stored="F32", pieces=pieces)

    def times(self, factor: float) -> Rows:
        """Every number so many times, in F32."""

        def pieces(unit: int) -> Iterator[Array]:
            for piece in self.pieces(unit):
                yield floats(piece, self.stored) * np.float32(factor)

        return replace(self, stored="F32", pieces=pieces)

    def first(self, count: int) -> Rows:
        """The first so many rows of a matrix."""
        if count >= self.shape[0]:
            return self

        def pieces(unit: int) -> Iterator[Array]:
            left = count
            for piece in self.pieces(unit):
                yield piece[:left]
                left -= len(piece)
                if left <= 0:
                    return

        return replace(self, shape=(count, *self.shape[1:]), pieces=pieces)

    def encoded(self, kind: GGMLQuantizationType) -> Iterator[Array]:
        """The bytes of the file, in pieces. Raises OperationFailed for a number that F16 cannot hold."""
        if _PLAIN.get(kind) == self.stored or math.prod(self.shape) < _SMALL:
            yield from (encode(piece, self.stored, kind, self.name) for piece in self.pieces(1))
            return
        # numpy lets go of the interpreter's lock while it works: pieces are encoded on other cores meanwhile
        waiting: deque[Future[Array]] = deque()
        with ThreadPoolExecutor(THREADS) as pool:
            for piece in self.pieces(1):
                waiting.append(pool.submit(encode, piece, self.stored, kind, self.name))
                if len(waiting) > THREADS:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()


def made(name: str, values: Floats) -> Rows:
    """Numbers that were worked out, not read."""
    flat = np.ascontiguousarray(values, np.float32).reshape(-1, values.shape[-1] if values.ndim > 1 else 1)
    return Rows(name=name, stored="F32", shape=values.shape, pieces=lambda _unit: iter((flat,)))


def fits(columns: int, kind: GGMLQuantizationType) -> bool:
    """Whether rows of this length can have this type."""
    return columns % GGML_QUANT_SIZES[kind][0] == 0


def floats(piece: Array, stored: StoredType) -> Floats:
    """A piece in F32, without loss."""
    if stored == "BF16":
        return (piece.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return piece.astype(np.float32, copy=False)


def encode(piece: Array, stored: StoredType, kind: GGMLQuantizationType, name: str) -> Array:
    """A piece as the file has it. Raises OperationFailed about the tensor `name`."""
    if _PLAIN.get(kind) == stored:
        return piece
    if stored == "BF16" and kind == GGMLQuantizationType.F16:
        return _half_of_brain(piece, name)
    values = floats(piece, stored)
    if kind == GGMLQuantizationType.F32:
        return values
    if kind == GGMLQuantizationType.F16:
        return _half(values, name)
    if kind == GGMLQuantizationType.BF16:
        return _brain(values)
    return gguf_quants.quantize(values, kind)


def _half(values: Floats, name: str) -> npt.NDArray[np.float16]:
    with np.errstate(over="raise", under="ignore", invalid="ignore"):
        try:
            return values.astype(np.float16)
        except FloatingPointError:
            raise _too_large(name) from None


def _half_of_brain(piece: Array, name: str) -> npt.NDArray[np.float16]:
    """By a table of all 65,536: three times as fast as over F32, and twenty times where many are tiny."""
    found: npt.NDArray[np.float16] = np.take(_halves_of_brains(), piece)
    endless = (found.view(np.uint16) & np.uint16(0x7FFF)) == 0x7C00
    if endless.any() and np.isfinite(floats(piece[endless], "BF16")).any():
        raise _too_large(name)
    return found


@cache
def _halves_of_brains() -> npt.NDArray[np.float16]:
    every = floats(np.arange(1 << 16, dtype=np.uint16), "BF16")
    with np.errstate(all="ignore"):
        return every.astype(np.float16)


def _too_large(name: str) -> OperationFailed:
    return OperationFailed(
        f"The tensor {name} holds a number beyond 65504, which F16 cannot hold.",
        hint="Convert to BF16 or F32.",
    )


def _brain(values: Floats) -> npt.NDArray[np.uint16]:
    """Rounded to the nearest, ties to even; what is no number stays none."""
    bits = values.view(np.uint32)
    rounded = (bits + (np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1)))) >> np.uint32(16)
    quiet = (bits >> np.uint32(16)) | np.uint32(64)
    nothing = (bits & np.uint32(0x7FFFFFFF)) > np.uint32(0x7F800000)
    return np.where(nothing, quiet, rounded).astype(np.uint16)
