"""Strict reading of the parsed JSON object that facts are: every field is there, known, and of its type."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeGuard

from registry.errors import MalformedFile
from registry.formats.quote import quoted

MAX_PER_LAYER = 1024
"""The longest list that says something layer by layer; twice the layers that llama.cpp can hold."""

MAX_ROWS = 4096
_MAX_NUMBER = 2**63 - 1
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)


class Fields:
    """The fields of one object, which must be exactly `names`; `where` names it in errors (MalformedFile)."""

    def __init__(self, document: object, where: str, names: Sequence[str]) -> None:
        if not isinstance(document, dict):
            raise MalformedFile(f"The {where} are {quoted(document)}, which is no JSON object.")
        if missing := [name for name in names if name not in document]:
            raise MalformedFile(f"The {where} lack the field {missing[0]}.")
        if unknown := [name for name in document if name not in names]:
            raise MalformedFile(f"The {where} have a field {quoted(unknown[0])}, which this schema lacks.")
        self._values: dict[str, object] = document
        self._where = where

    def text(self, name: str) -> str:
        value = self._values[name]
        if not isinstance(value, str):
            raise self._wrong(name, "a string")
        return value

    def label(self, name: str) -> str:
        value = self.text(name)
        if not _LABEL.fullmatch(value):
            raise self._wrong(name, "a short name of letters, digits, dots, dashes and underscores")
        return value

    def label_or_none(self, name: str) -> str | None:
        return None if self._values[name] is None else self.label(name)

    def count(self, name: str) -> int:
        value = self._values[name]
        if not _is_count(value):
            raise self._wrong(name, "a whole number of at most 63 bits")
        return value

    def count_or_none(self, name: str) -> int | None:
        return None if self._values[name] is None else self.count(name)

    def flag_or_none(self, name: str) -> bool | None:
        value = self._values[name]
        if value is not None and not isinstance(value, bool):
            raise self._wrong(name, "true, false or null")
        return value

    def per_layer_or_none(self, name: str) -> int | tuple[int, ...] | None:
        value = self._values[name]
        if not isinstance(value, list):
            return self.count_or_none(name)
        numbers = tuple(item for item in value if _is_count(item))
        if not 1 <= len(value) <= MAX_PER_LAYER or len(numbers) != len(value):
            raise self._wrong(name, f"a number or 1 to {MAX_PER_LAYER} of them")
        return numbers

    def pattern_or_none(self, name: str) -> tuple[bool, ...] | None:
        value = self._values[name]
        if value is None:
            return None
        flags = tuple(item for item in value if isinstance(item, bool)) if isinstance(value, list) else ()
        if not isinstance(value, list) or not 1 <= len(value) <= MAX_PER_LAYER or len(flags) != len(value):
            raise self._wrong(name, f"1 to {MAX_PER_LAYER} of true and false")
        return flags

    def child_or_none(self, name: str, names: Sequence[str]) -> Fields | None:
        value = self._values[name]
        return None if value is None else Fields(value, f"fields of {name}", names)

    def children(self, name: str, names: Sequence[str]) -> list[Fields]:
        value = self._values[name]
        if not isinstance(value, list) or len(value) > MAX_ROWS:
            raise self._wrong(name, f"a list of at most {MAX_ROWS} objects")
        return [Fields(item, f"fields of {name}[{index}]", names) for index, item in enumerate(value)]

    def _wrong(self, name: str, wanted: str) -> MalformedFile:
        return MalformedFile(
            f"The {self._where} say {quoted(self._values[name])} for {name}; it takes {wanted}."
        )


def _is_count(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 <= value <= _MAX_NUMBER
