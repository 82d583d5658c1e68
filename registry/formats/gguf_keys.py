"""The keys of a header that belong to its architecture (`llama.block_count`), read by type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeGuard

from registry.errors import MalformedFile
from registry.formats.facts import Pattern, PerLayer
from registry.formats.facts_json import MAX_PER_LAYER
from registry.formats.gguf import Value
from registry.formats.quote import quoted

_MAX_NUMBER = 2**63 - 1


class ModelKeys:
    """Typed access to `<architecture>.<name>`; an absent key is None, a wrong type raises MalformedFile."""

    def __init__(self, metadata: Mapping[str, Value], architecture: str) -> None:
        self._metadata = metadata
        self.architecture = architecture

    def number(self, name: str) -> int | None:
        """A whole number from 0."""
        value = self._value(name)
        if value is not None and not _is_number(value):
            raise self._wrong(name, "a whole number from 0")
        return value

    def period(self, name: str) -> int | None:
        """A number of layers after which a pattern repeats, small enough to write out."""
        value = self.number(name)
        if value is not None and value > MAX_PER_LAYER:
            raise self._wrong(name, f"at most {MAX_PER_LAYER} layers")
        return value

    def flag(self, name: str) -> bool | None:
        value = self._value(name)
        if value is not None and not isinstance(value, bool):
            raise self._wrong(name, "a bool")
        return value

    def is_array(self, name: str) -> bool:
        return not isinstance(self._value(name), int | None)

    def flags(self, name: str) -> Pattern | None:
        """An array of bools, or of numbers that stand for them, one per layer or a pattern that repeats."""
        value = self._value(name)
        if value is None:
            return None
        if not isinstance(value, tuple) or not 1 <= len(value) <= MAX_PER_LAYER:
            raise self._wrong(name, f"an array of 1 to {MAX_PER_LAYER} bools")
        flags = tuple(bool(item) for item in value if isinstance(item, int))
        if len(flags) != len(value):
            raise self._wrong(name, "an array of bools")
        return (flags[0],) if len(set(flags)) == 1 else flags

    def per_layer(self, name: str, layers: int | None) -> PerLayer | None:
        """One number for all layers, or an array with one for each; equal ones become one number."""
        value = self._value(name)
        if not isinstance(value, tuple):
            return self.number(name)
        if not 1 <= len(value) <= MAX_PER_LAYER or (layers is not None and len(value) != layers):
            raise self._wrong(name, f"one number for each of the {layers} layers")
        numbers = tuple(item for item in value if _is_number(item))
        if len(numbers) != len(value):
            raise self._wrong(name, "whole numbers from 0")
        return numbers[0] if len(set(numbers)) == 1 else numbers

    def _value(self, name: str) -> Value | None:
        return self._metadata.get(f"{self.architecture}.{name}")

    def _wrong(self, name: str, wanted: str) -> MalformedFile:
        value = self._value(name)
        shown = quoted(value[:8] if isinstance(value, tuple) else value)
        return MalformedFile(f"{self.architecture}.{name} is {shown}; it takes {wanted}.")


def _is_number(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 <= value <= _MAX_NUMBER
