"""Reading the fields of requests as Ollama reads them: names in any case, null as not given.

What is not known is passed over, as Go's JSON does it; what has another type than it should is a 400 that
names the field. `keep_alive`, `format`, `think` and `options` have readers of their own, with Ollama's texts.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence

from modelfiles.spec import DEPRECATED, PARAMETERS, Kind, ParameterValue
from registry.errors import UsageError
from runtimes.protocol import ANY_OBJECT, Think
from slmctl.app.asks import Schema

_EFFORTS = ("low", "medium", "high", "max")
_TYPES = {bool: "bool", int: "number", float: "number", str: "string", list: "array", dict: "object"}
_LONGEST_SECONDS = 100 * 366 * 86400.0
"""What stays longer than this stays for ever."""

_INT64 = 1 << 63

MOST_OBJECTS = 10_000
"""How many messages, or other objects, there may be in a list: each takes its time."""


class Fields:
    """The fields of one JSON object. Every reader gives its default for what is absent or null."""

    def __init__(self, given: Mapping[str, object], *, where: str = "") -> None:
        self._given = given
        self._where = where
        self._folded: Mapping[str, object] | None = None

    def value(self, name: str) -> object:
        """The value of a field, in the spelling that is there; None where there is none."""
        if name in self._given:
            return self._given[name]
        if self._folded is None:
            self._folded = {each.casefold(): value for each, value in self._given.items()}
        return self._folded.get(name)

    def text(self, *names: str) -> str:
        """The first of these fields that is not empty, or an empty text."""
        for name in names:
            value = self.value(name)
            if value is None:
                continue
            if not isinstance(value, str):
                raise self._wrong(name, value, "string")
            if value:
                return value
        return ""

    def flag(self, name: str, *, default: bool = False) -> bool:
        value = self.value(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self._wrong(name, value, "bool")
        return value

    def whole(self, name: str) -> int | None:
        value = self.value(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            raise self._wrong(name, value, "int")
        return value

    def array(self, name: str) -> Sequence[object]:
        value = self.value(name)
        if value is None:
            return ()
        if not isinstance(value, list):
            raise self._wrong(name, value, "array")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of strings."""
        for value in (found := self.array(name)):
            if not isinstance(value, str):
                raise self._wrong(name, value, "string")
        return tuple(str(value) for value in found)

    def mapping(self, name: str) -> Mapping[str, object]:
        value = self.value(name)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self._wrong(name, value, "object")
        return value

    def mappings(self, name: str) -> list[Fields]:
        """A list of objects, each with its own fields."""
        if len(self.array(name)) > MOST_OBJECTS:
            raise UsageError(f"{self._where}{name} has more than {MOST_OBJECTS:,} items")
        found = []
        for number, value in enumerate(self.array(name)):
            if not isinstance(value, dict):
                raise self._wrong(name, value, "object")
            found.append(Fields(value, where=f"{self._where}{name}[{number}]."))
        return found

    def inside(self, name: str) -> Fields:
        """The fields of an object that is a field."""
        return Fields(self.mapping(name), where=f"{self._where}{name}.")

    @property
    def given(self) -> Mapping[str, object]:
        return self._given

    def _wrong(self, name: str, value: object, wanted: str) -> UsageError:
        found = "null" if value is None else _TYPES.get(type(value), "value")
        return UsageError(f"json: cannot unmarshal {found} into field {self._where}{name} of type {wanted}")


def model_name(fields: Fields) -> str:
    """The model of a request, under the name of old clients too. Raises UsageError without one."""
    name = fields.text("model", "name")
    if not name:
        raise UsageError("model is required")
    return name


def images_of(fields: Fields) -> tuple[bytes, ...]:
    """The images of a message. Raises UsageError for what is no base64: addresses are never fetched."""
    return tuple(_image(text) for text in fields.texts("images"))


def _image(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise UsageError(
            "illegal base64 data in images",
            hint="An image is given as the base64 of its file.",
        ) from None


# keep_alive


def keep_seconds(value: object) -> float | None:
    """What `keep_alive` says: seconds, infinity for ever, None where it says nothing.

    A number is seconds, a text a duration of Go's (`5m`), which has units; a negative one is for ever.
    Raises UsageError in Go's words.
    """
    if value is None:
        return None
    if isinstance(value, str):
        seconds = go_duration(value)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        seconds = math.inf if value > _LONGEST_SECONDS else max(-1.0, value)  # which may be enormous
    else:
        raise UsageError(f"Unsupported type: '{_GO_TYPES[type(value)]}'")
    return math.inf if seconds < 0 or seconds > _LONGEST_SECONDS else seconds


_GO_TYPES = {bool: "bool", list: "[]interface {}", dict: "map[string]interface {}"}
_UNITS_NS = {"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9}
_UNITS_NS["h"] = 3600 * 10**9
_NUMBER = re.compile(r"([0-9]*)(?:\.([0-9]*))?", re.ASCII)
_UNIT = re.compile(r"[^.0-9]*")


def go_duration(text: str) -> float:
    """Seconds in a duration as Go's time.ParseDuration reads it. Raises UsageError with its texts."""
    shown = _quoted(text if len(text) <= 100 else f"{text[:97]}...")
    rest = text[1:] if text[:1] in ("-", "+") and text else text
    if rest == "0":
        return 0.0
    if not rest or len(text) > 1000:
        raise UsageError(f"time: invalid duration {shown}")
    total = 0
    while rest:
        number = _NUMBER.match(rest)
        assert number is not None  # it matches nothing, too
        if not (number[1] or number[2]):
            raise UsageError(f"time: invalid duration {shown}")
        rest = rest[number.end() :]
        found = _UNIT.match(rest)
        unit = found[0] if found else ""
        if not unit:
            raise UsageError(f"time: missing unit in duration {shown}")
        if unit not in _UNITS_NS:
            raise UsageError(f"time: unknown unit {_quoted(unit[:40])} in duration {shown}")
        fraction = number[2] or ""
        total += int(number[1] or "0") * _UNITS_NS[unit]
        total += int(fraction or "0") * _UNITS_NS[unit] // 10 ** len(fraction)
        if total >= _INT64:
            raise UsageError(f"time: invalid duration {shown}")
        rest = rest[len(unit) :]
    return -total / 1e9 if text.startswith("-") else total / 1e9


# format and think


def schema_of(value: object) -> Schema | None:
    """The schema that `format` asks for. Raises UsageError for what is neither "json" nor a schema."""
    if value is None or value == "":
        return None
    if value == "json":
        return ANY_OBJECT
    if isinstance(value, dict):
        return value
    shown = json.dumps(value, ensure_ascii=False)[:100]
    raise UsageError(f'invalid format: {_quoted(shown)}; expected "json" or a valid JSON Schema object')


def think_of(value: object) -> Think | None:
    """What `think` says. Raises UsageError."""
    if value is None or isinstance(value, bool):
        return value
    for effort in _EFFORTS:
        if value == effort:
            return effort  # type: ignore[return-value]  # it is one of them
    choices = '"high", "medium", "low", "max", true, or false'
    if isinstance(value, str):
        raise UsageError(f"invalid think value: {_quoted(value[:60])} (must be {choices})")
    raise UsageError(f"think must be a boolean or string ({choices})")


# options

_OPTION_TYPES = {
    Kind.INT32: "integer",
    Kind.INT64: "integer",
    Kind.FLOAT: "float32",
    Kind.BOOL: "boolean",
    Kind.STRINGS: "array",
}
_LARGEST_FLOAT = (2 - 2**-23) * 2.0**127


def options_of(given: Mapping[str, object], on_unknown: Callable[[str], None]) -> dict[str, ParameterValue]:
    """The options of a request, each of its type; `on_unknown` is told of those that are passed over.

    Raises UsageError in Ollama's words for a value of another type.
    """
    found: dict[str, ParameterValue] = {}
    for name, value in given.items():
        kind = PARAMETERS.get(name)
        if kind is None:
            if name not in DEPRECATED:
                on_unknown(name)
            continue
        if value is not None:
            found[name] = _option(name, kind, value)
    return found


def _option(name: str, kind: Kind, value: object) -> ParameterValue:
    wrong = UsageError(f'option "{name}" must be of type {_OPTION_TYPES[kind]}')
    if kind is Kind.BOOL:
        if not isinstance(value, bool):
            raise wrong
        return value
    if kind is Kind.STRINGS:
        if not isinstance(value, list):
            raise wrong
        if not all(isinstance(text, str) for text in value):
            raise UsageError(f'option "{name}" must be of an array of strings')
        return tuple(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong
    if kind is Kind.FLOAT:
        if not -_LARGEST_FLOAT <= value <= _LARGEST_FLOAT:
            raise wrong
        return float(value)
    limit = 1 << (31 if kind is Kind.INT32 else 63)
    if not -limit <= value < limit:
        raise wrong
    return int(value)  # Go drops what stands behind the point, and so do Ollama's


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
