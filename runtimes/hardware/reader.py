"""Reading a machine's document with names of places in every complaint. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NoReturn

from registry.errors import MalformedFile

_MOST_TEXT = 2000
_MOST_ITEMS = 1000
_MOST = 1 << 63


class Reader:
    """One JSON object at `place`. Every method raises MalformedFile for what is missing, or of another kind.

    `done` refuses what nobody has asked for, so that a typing error in a profile that somebody wrote is seen.
    """

    def __init__(self, value: object, place: str) -> None:
        if not isinstance(value, dict):
            self.refuse(place, "is no JSON object")
        self._fields: Mapping[str, object] = value
        self._place = place
        self._asked: set[str] = set()

    def text(self, name: str, *, most: int = _MOST_TEXT) -> str:
        value = self.text_or_none(name, most=most)
        return self.refuse(self._at(name), "is missing") if value is None else value

    def text_or_none(self, name: str, *, most: int = _MOST_TEXT) -> str | None:
        value = self._get(name)
        if value is not None and not isinstance(value, str):
            self.refuse(self._at(name), "is no text")
        if value is not None and (not value or len(value) > most):
            self.refuse(self._at(name), f"is empty or longer than {most} characters")
        return value

    def whole(self, name: str, *, least: int = 0) -> int:
        value = self.whole_or_none(name, least=least)
        return self.refuse(self._at(name), "is missing") if value is None else value

    def whole_or_none(self, name: str, *, least: int = 0) -> int | None:
        value = self._get(name)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool):
            self.refuse(self._at(name), "is no whole number")
        if not least <= value < _MOST:
            self.refuse(self._at(name), f"is less than {least}, or more than any machine has")
        return value

    def number_or_none(self, name: str, *, above: float, most: float) -> float | None:
        value = self._get(name)
        if value is None:
            return None
        if not isinstance(value, int | float) or isinstance(value, bool) or value != value:  # NaN
            self.refuse(self._at(name), "is no number")
        if not above < value <= most:  # whole numbers may be larger than any float
            self.refuse(self._at(name), f"is not above {above:g} and at most {most:g}")
        return float(value)

    def number(self, name: str, *, above: float, most: float) -> float:
        value = self.number_or_none(name, above=above, most=most)
        return self.refuse(self._at(name), "is missing") if value is None else value

    def flag(self, name: str) -> bool:
        value = self._get(name)
        if value is not None and not isinstance(value, bool):
            self.refuse(self._at(name), "is neither true nor false")
        return bool(value)

    def texts(self, name: str) -> tuple[str, ...]:
        return self.texts_or_none(name) or ()

    def texts_or_none(self, name: str) -> tuple[str, ...] | None:
        value = self._list(name)
        if value is None:
            return None
        texts = tuple(each for each in value if isinstance(each, str) and len(each) <= _MOST_TEXT)
        if len(texts) < len(value):
            self.refuse(self._at(name), "has an item that is no text")
        return texts

    def below(self, name: str) -> Reader:
        return Reader(self._get(name, missing={}), self._at(name))

    def each(self, name: str) -> Iterator[Reader]:
        for number, value in enumerate(self._list(name) or []):
            yield Reader(value, f"{self._at(name)}[{number}]")

    def done(self) -> None:
        for name in sorted(self._fields.keys() - self._asked):
            self.refuse(self._at(name), "is no field of this schema")

    def refuse(self, place: str, problem: str) -> NoReturn:
        raise MalformedFile(f"The description of a machine is wrong: {place:.120} {problem}.")

    def _list(self, name: str) -> list[object] | None:
        value = self._get(name)
        if value is not None and (not isinstance(value, list) or len(value) > _MOST_ITEMS):
            self.refuse(self._at(name), "is no list, or too long")
        return value

    def _get(self, name: str, missing: object = None) -> object:
        self._asked.add(name)
        return self._fields.get(name, missing)

    def _at(self, name: str) -> str:
        return f"{self._place}.{name}" if self._place else name
