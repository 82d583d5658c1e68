"""Keys of a GGUF header by the type of their value."""

from __future__ import annotations

from collections.abc import Sequence

from gguf import GGUFValueType

from runtimes.convert.values import Key


def text(name: str, value: str) -> Key:
    return Key(name=name, value=value, kind=GGUFValueType.STRING)


def whole(name: str, value: int) -> Key:
    """A whole number of 32 bits without sign, as nearly all of llama.cpp's are."""
    return Key(name=name, value=value, kind=GGUFValueType.UINT32)


def real(name: str, value: float) -> Key:
    return Key(name=name, value=float(value), kind=GGUFValueType.FLOAT32)


def flag(name: str, value: bool) -> Key:
    return Key(name=name, value=value, kind=GGUFValueType.BOOL)


def flags(name: str, value: Sequence[bool]) -> Key:
    return Key(name=name, value=list(value), kind=GGUFValueType.ARRAY, item_kind=GGUFValueType.BOOL)


def texts(name: str, value: Sequence[str]) -> Key:
    return Key(name=name, value=list(value), kind=GGUFValueType.ARRAY, item_kind=GGUFValueType.STRING)


def wholes(name: str, value: Sequence[int], item_kind: GGUFValueType = GGUFValueType.INT32) -> Key:
    return Key(name=name, value=list(value), kind=GGUFValueType.ARRAY, item_kind=item_kind)


def reals(name: str, value: Sequence[float]) -> Key:
    return Key(name=name, value=list(value), kind=GGUFValueType.ARRAY, item_kind=GGUFValueType.FLOAT32)
