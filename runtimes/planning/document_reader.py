"""Reading a plan's document: one JSON object, and a complaint that names the place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

from registry.errors import MalformedFile


class Fields:
    """One JSON object at `place`. Every method raises MalformedFile for what is missing or mistyped."""

    def __init__(self, value: object, place: str) -> None:
        self._place = place
        if not isinstance(value, dict):
            self._refuse("", "is no JSON object")
        self._values: Mapping[str, object] = value

    def text(self, name: str) -> str:
        value = self._get(name)
        return value if isinstance(value, str) else self._refuse(name, "is no text")

    def text_or_none(self, name: str) -> str | None:
        return None if self._get(name) is None else self.text(name)

    def texts(self, name: str) -> tuple[str, ...]:
        value = self._list(name)
        if not all(isinstance(each, str) for each in value):
            self._refuse(name, "has an item that is no text")
        return tuple(str(each) for each in value)

    def whole(self, name: str) -> int:
        value = self._get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            self._refuse(name, "is no whole number")
        return value

    def whole_or_none(self, name: str) -> int | None:
        return None if self._get(name) is None else self.whole(name)

    def number(self, name: str) -> float:
        return self._number(self._get(name), name)

    def numbers(self, name: str, count: int) -> list[float]:
        value = self._list(name)
        if len(value) != count:
            self._refuse(name, f"has not {count} items")
        return [self._number(each, name) for each in value]

    def flag(self, name: str) -> bool:
        value = self._get(name)
        return value if isinstance(value, bool) else self._refuse(name, "is neither true nor false")

    def child(self, name: str) -> Fields:
        return Fields(self._get(name), f"{self._place}.{name}")

    def child_or_none(self, name: str) -> Fields | None:
        return None if self._get(name) is None else self.child(name)

    def children(self, name: str) -> list[Fields]:
        return [
            Fields(each, f"{self._place}.{name}[{number}]") for number, each in enumerate(self._list(name))
        ]

    def _number(self, value: object, name: str) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool):
            self._refuse(name, "is no number")
        return float(value)

    def _list(self, name: str) -> list[object]:
        value = self._get(name)
        return value if isinstance(value, list) else self._refuse(name, "is no list")

    def _get(self, name: str) -> object:
        if name not in self._values:
            self._refuse(name, "is missing")
        return self._values[name]

    def _refuse(self, name: str, problem: str) -> NoReturn:
        place = f"{self._place}.{name}" if name else self._place
        raise MalformedFile(f"This plan is wrong: {place:.120} {problem}.")
