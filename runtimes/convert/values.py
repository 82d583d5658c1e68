"""What a conversion is: the keys and tensors of a GGUF file that does not exist yet, its tensors to be read
when they are written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from gguf import GGMLQuantizationType, GGUFValueType

Scalar = str | bool | int | float
KeyValue = Scalar | list[str] | list[int] | list[float] | list[bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A key of the header. For a list, `kind` is ARRAY and `item_kind` that of what is in it."""

    name: str
    value: KeyValue
    kind: GGUFValueType
    item_kind: GGUFValueType | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """A tensor of the file. `shape` has the rows' length last, as numpy's (GGUF's own order is the reverse).

    `read` gives its bytes in order as `kind` lays them out, in pieces of whole rows (last axes in one), each
    piece an array of any type of number whose bytes are those of the file: never more at once than the
    largest tensor of the source in the source's own type, twice.
    """

    name: str
    shape: tuple[int, ...]
    kind: GGMLQuantizationType
    read: Callable[[], Iterator[npt.NDArray[Any]]]

    @property
    def elements(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """A model in GGUF, before it is written: keys in the order of the file, then tensors in that of theirs.

    `notes` are sentences for whoever converts: what was left out, what was guessed.
    """

    architecture: str
    keys: tuple[Key, ...]
    tensors: tuple[Tensor, ...]
    notes: tuple[str, ...] = ()
