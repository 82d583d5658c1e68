"""The weights of a model as its makers publish it: safetensors files, whose tensors are read when they are
asked for, a few megabytes at a time.

Sources: the safetensors format (registry.formats.safetensors), and the index of a sharded checkpoint as
Transformers writes it (`model.safetensors.index.json`: `{"weight_map": {TENSOR: FILE}}`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt

from registry.errors import DoesNotFit, MalformedFile, NotFound
from registry.formats.quote import quoted
from registry.formats.safetensors import SafeTensor, SafetensorsHeader, read_header
from runtimes.convert.files import SourceFiles
from runtimes.convert.rows import STORED, Array, Rows, StoredType

PIECE_BYTES = 4 << 20
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_HINT = "Download the model again from where its makers publish it."
_WHOLE_NUMBERS = {"U8": np.dtype("u1"), "I8": np.dtype("i1")}


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceTensor:
    """A tensor of the checkpoint: `offset` in bytes from the beginning of the file `file`."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    files: SourceFiles
    file: str
    offset: int

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    def rows(self, shape: tuple[int, ...] | None = None) -> Rows:
        """Its numbers, in another shape of as many if one is given. Raises DoesNotFit where it holds no
        floats of 16 or 32 bits."""
        if self.dtype not in STORED:
            raise DoesNotFit(
                f"The tensor {quoted(self.name)} is stored as {self.dtype}, which cannot be converted.",
                hint="Convert the model's original weights, in BF16, F16 or F32.",
            )
        shape = self.shape if shape is None else shape
        return Rows(
            name=quoted(self.name),
            stored=cast("StoredType", self.dtype),
            shape=shape,
            pieces=lambda unit: self._pieces(unit, STORED[self.dtype], shape),
        )

    def numbers(self) -> Array:
        """All of a small tensor of floats, in F32. Raises as `rows`."""
        flat = [piece.reshape(-1) for piece in self.rows().pieces(1)]
        whole = np.concatenate(flat) if flat else np.empty(0, STORED[self.dtype])
        if self.dtype == "BF16":
            whole = (whole.astype(np.uint32) << np.uint32(16)).view(np.float32)
        return whole.astype(np.float32).reshape(self.shape)

    def packed(self, unit: int) -> Iterator[Array]:
        """Its bytes where it holds whole numbers of 8 bits, as `Rows.pieces` gives them."""
        kind = _WHOLE_NUMBERS.get(self.dtype)
        if kind is None:
            raise DoesNotFit(
                f"The tensor {quoted(self.name)} is stored as {self.dtype}, not packed in bytes."
            )
        return self._pieces(unit, kind, self.shape)

    def _pieces(self, unit: int, kind: np.dtype[Any], shape: tuple[int, ...]) -> Iterator[npt.NDArray[Any]]:
        columns = shape[-1] if len(shape) > 1 else 1
        count = math.prod(shape) // columns if columns else 0
        at_once = max(PIECE_BYTES // (columns * kind.itemsize or 1) // unit, 1) * unit
        if not count:
            return
        with self.files.open(self.file) as stream:
            stream.seek(self.offset)
            for begin in range(0, count, at_once):
                piece = np.empty((min(at_once, count - begin), columns), kind)
                _fill(stream, piece, self.file)
                yield piece


@dataclass(frozen=True, slots=True)
class Source:
    """All tensors by name, in the order of the files and of the data in them."""

    tensors: Mapping[str, SourceTensor]

    @classmethod
    def of(cls, files: SourceFiles, stem: str = "model") -> Source:
        """What the weight files hold, by their headers; their names begin with `stem`.

        Raises MalformedFile for files that break the format's rules or do not fit together and for pickles,
        NotFound where there are no weights.
        """
        table = f"{stem}.safetensors.index.json"
        index = _index(files, table)
        names = sorted(set(index.values())) if index else _weight_files(files, stem)
        tensors: dict[str, SourceTensor] = {}
        for file in names:
            header = _header(files, file)
            offset = header.data_offset
            for tensor in header.tensors:
                if tensor.name in tensors:
                    raise MalformedFile(f"Two files hold the tensor {quoted(tensor.name)}.", hint=_HINT)
                tensors[tensor.name] = _placed(tensor, files, file, offset)
                offset += tensor.size_bytes
        _check(index, table, tensors)
        return cls(tensors)

    @property
    def dtype(self) -> str:
        """The type that holds most numbers."""
        held: Counter[str] = Counter()
        for tensor in self.tensors.values():
            held[tensor.dtype] += tensor.elements
        return max(held, key=lambda name: (held[name], name)) if held else "F32"


def _index(files: SourceFiles, table: str) -> dict[str, str]:
    """Tensor -> file, of a checkpoint in several files; empty for one without an index."""
    if table not in files:
        return {}
    weight_map = files.json(table).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise MalformedFile(f"{quoted(table)} has no weight_map.", hint=_HINT)
    for tensor, file in weight_map.items():
        if not isinstance(file, str) or not file or file in (".", ".."):
            raise MalformedFile(
                f"{quoted(table)} has {quoted(file)} as the file of {quoted(tensor)}.", hint=_HINT
            )
        if any(mark in file for mark in "/\\\0:"):
            raise MalformedFile(
                f"{quoted(table)} names a file outside of its folder: {quoted(file)}.",
                hint="This is no model that somebody made in good faith; do not use it.",
            )
        if file not in files:
            raise MalformedFile(f"The file {quoted(file)} is missing, which {table} names.", hint=_HINT)
    return weight_map


def _weight_files(files: SourceFiles, stem: str) -> list[str]:
    """The files of a checkpoint without an index."""
    whole = f"{stem}.safetensors"
    if whole in files:
        return [whole]
    top = [name for name in files.paths if "/" not in name]
    found = [name for name in top if name.startswith(stem) and name.endswith(".safetensors")]
    if found:
        return found
    pickles = [name for name in top if name.endswith(_PICKLES)]
    if pickles:
        raise MalformedFile(
            f"The weights are in a pickle, {quoted(pickles[0])}, which can run code and is never opened.",
            hint="Use a copy of the model that has its weights in safetensors.",
        )
    raise NotFound(f"{files.shown} has no {stem}.safetensors.", hint=_HINT)


def _header(files: SourceFiles, file: str) -> SafetensorsHeader:
    with files.open(file) as stream:
        try:
            return read_header(stream)
        except MalformedFile as error:
            raise MalformedFile(f"{quoted(file)}: {error.message}", hint=error.hint or _HINT) from None


def _placed(tensor: SafeTensor, files: SourceFiles, file: str, offset: int) -> SourceTensor:
    return SourceTensor(
        name=tensor.name, dtype=tensor.dtype, shape=tensor.shape, files=files, file=file, offset=offset
    )


def _check(index: Mapping[str, str], table: str, tensors: Mapping[str, SourceTensor]) -> None:
    if not tensors:
        raise NotFound("The weight files hold no tensor.", hint=_HINT)
    for name, file in index.items():
        if name not in tensors or tensors[name].file != file:
            raise MalformedFile(f"The tensor {quoted(name)} is not in {quoted(file)}.", hint=_HINT)
    if index and (extra := next((name for name in tensors if name not in index), None)):
        raise MalformedFile(f"{quoted(table)} does not name the tensor {quoted(extra)}.", hint=_HINT)


def _fill(stream: BinaryIO, piece: Array, file: str) -> None:
    """Read as many bytes as the piece has. Raises MalformedFile where the file has become shorter."""
    view = piece.data.cast("B")
    done = 0
    while done < len(view):
        count = stream.readinto(view[done:])  # type: ignore[attr-defined]
        if not count:
            raise MalformedFile(f"{quoted(file)} was cut while it was read.", hint=_HINT)
        done += count
