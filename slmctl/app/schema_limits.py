"""JSON Schemas from strangers: which are let in, and what of them an engine is given.

An engine makes a grammar of a schema. Some it dies of (two thousand million items, twenty thousand levels),
and where it cannot make one it answers without any, and does not say so. So a schema is read here first:

    limits      size, number and depth of its parts, counts, patterns
    sense       types that exist, references that lead somewhere in the schema itself, an end to each value
    normalised  the parts that say something about a value, in the words of draft 2020-12
    for engine  of these what its grammars know; the rest is left to the validation of the answer
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from registry.errors import UsageError
from slmctl.app.asks import Schema
from slmctl.app.patterns import Pattern
from slmctl.app.schema_ends import check_ends, target
from slmctl.app.schema_for_engines import for_engine
from slmctl.app.schema_words import LEAST, LISTS, MAPS, MOST, MOST_COUNT, NUMBERS, ONE

MOST_CHARACTERS = 256 << 10
MOST_PARTS = 1000
MOST_DEPTH = 32
MOST_VALUES = 2000
MOST_IN_A_ROW = 32
MOST_COUNTED = 5000

_TYPES = frozenset({"object", "array", "string", "number", "integer", "boolean", "null"})
_SAID = frozenset(
    {
        *ONE,
        *LISTS,
        *MAPS,
        *LEAST,
        *MOST,
        *NUMBERS,
        "type",
        "enum",
        "const",
        "required",
        "$ref",
        "pattern",
    }
    | {"uniqueItems", "dependentRequired", "format"}
)
_UNKNOWN = ("$dynamicRef", "$recursiveRef", "unevaluatedItems", "unevaluatedProperties", "dependencies")


@dataclass(frozen=True, slots=True)
class CheckedSchema:
    """`normalised` is what an answer is validated against, `engine` what an engine makes its grammar of."""

    normalised: Schema
    engine: Schema


def check_schema(schema: Schema) -> CheckedSchema:
    """Raise UsageError for a schema that is none, or that is not let in."""
    try:
        text = json.dumps(schema, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        raise UsageError("The schema is no JSON that can be read.") from None
    if len(text) > MOST_CHARACTERS:
        raise UsageError(f"The schema has more than {MOST_CHARACTERS >> 10} KiB.")
    reader = _Reader()
    normalised = reader.part(schema, 0)
    if not isinstance(normalised, dict):
        raise UsageError("The schema is no object.")
    reader.check_references(normalised)
    check_ends(normalised)
    return CheckedSchema(normalised, for_engine(normalised))


class _Reader:
    """One walk through a schema: counts, checks, and gives its normalised form."""

    def __init__(self) -> None:
        self._parts = 0
        self._values = 0
        self._counted = 0
        self._references: list[str] = []

    def part(self, schema: object, depth: int) -> dict[str, object] | bool:
        if isinstance(schema, bool):
            return schema
        if not isinstance(schema, Mapping):
            raise UsageError("A part of the schema is neither an object nor true nor false.")
        self._parts += 1
        if self._parts > MOST_PARTS:
            raise UsageError(f"The schema has more than {MOST_PARTS} parts.")
        if depth > MOST_DEPTH:
            raise UsageError(f"The schema lies more than {MOST_DEPTH} levels deep.")
        if unknown := next((name for name in _UNKNOWN if name in schema), None):
            raise UsageError(f"The schema says {unknown}, which is not supported.")
        found: dict[str, object] = {}
        for name, value in schema.items():
            if name in _SAID:
                found[name] = self._said(name, value, depth)
        return _modern(found)

    def _said(self, name: str, value: object, depth: int) -> object:
        if name in ONE and not (name == "items" and isinstance(value, list)):
            return self.part(value, depth + 1)
        if name in LISTS or name == "items":
            if not isinstance(value, list) or not (value or name in ("prefixItems", "items")):
                raise UsageError(f"The schema's {name} is no list of schemas.")
            return [self.part(each, depth + 1) for each in value]
        if name in MAPS:
            if not isinstance(value, Mapping):
                raise UsageError(f"The schema's {name} is no object of schemas.")
            if name == "patternProperties":
                for pattern in value:
                    Pattern(pattern)
            return {key: self.part(each, depth + 1) for key, each in value.items()}
        if name in LEAST or name in MOST:
            return self._count(name, value)
        return _CHECKS[name](self, name, value)

    def _count(self, name: str, value: object) -> int:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if type(value) is not int or value < 0:
            raise UsageError(f"The schema's {name} is no whole number from 0 on.")
        if name in LEAST and value > MOST_COUNT:
            raise UsageError(f"The schema's {name} is larger than {MOST_COUNT}.")
        self._counted += value if value <= MOST_COUNT else 0
        if self._counted > MOST_COUNTED:
            raise UsageError(f"The schema counts to more than {MOST_COUNTED} all together.")
        return value

    def type(self, name: str, value: object) -> object:
        types = value if isinstance(value, list) else [value]
        if not types or not all(isinstance(each, str) and each in _TYPES for each in types):
            raise UsageError(f"The schema has a type that there is not: {str(value)[:60]!r}.")
        return value

    def values(self, name: str, value: object) -> object:
        if not isinstance(value, list) or not value:
            raise UsageError(f"The schema's {name} is no list of values.")
        self._values += len(value)
        if self._values > MOST_VALUES:
            raise UsageError(f"The schema lists more than {MOST_VALUES} values.")
        return value

    def texts(self, name: str, value: object) -> object:
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise UsageError(f"The schema's {name} is no list of names.")
        return value

    def number(self, name: str, value: object) -> object:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise UsageError(f"The schema's {name} is no number.")
        if name == "multipleOf" and value <= 0:
            raise UsageError("The schema's multipleOf is not larger than 0.")
        return value

    def pattern(self, name: str, value: object) -> object:
        if not isinstance(value, str):
            raise UsageError("The schema's pattern is no text.")
        Pattern(value)
        return value

    def reference(self, name: str, value: object) -> object:
        if not isinstance(value, str) or not value.startswith("#"):
            raise UsageError(
                "The schema refers to something outside of itself, which is never fetched.",
                hint="Put what it refers to under $defs.",
            )
        value = value.replace("#/definitions/", "#/$defs/", 1)
        self._references.append(value)
        return value

    def truth(self, name: str, value: object) -> object:
        if not isinstance(value, bool):
            raise UsageError(f"The schema's {name} is neither true nor false.")
        return value

    def text(self, name: str, value: object) -> object:
        if not isinstance(value, str):
            raise UsageError(f"The schema's {name} is no text.")
        return value

    def anything(self, name: str, value: object) -> object:
        return value

    def dependent(self, name: str, value: object) -> object:
        if not isinstance(value, Mapping):
            raise UsageError(f"The schema's {name} is no object.")
        return {key: self.texts(name, each) for key, each in value.items()}

    def check_references(self, schema: dict[str, object]) -> None:
        for reference in self._references:
            part = target(schema, reference)
            for _ in range(MOST_IN_A_ROW):
                if not isinstance(part, dict) or "$ref" not in part:
                    break
                part = target(schema, str(part["$ref"]))
            else:
                raise UsageError(f"The schema refers in circles, or {MOST_IN_A_ROW} times in a row.")


_CHECKS: Mapping[str, Callable[[_Reader, str, object], object]] = {
    "type": _Reader.type,
    "enum": _Reader.values,
    "const": _Reader.anything,
    "required": _Reader.texts,
    "$ref": _Reader.reference,
    "pattern": _Reader.pattern,
    "uniqueItems": _Reader.truth,
    "dependentRequired": _Reader.dependent,
    "format": _Reader.text,
    **dict.fromkeys(NUMBERS, _Reader.number),
}


def _modern(found: dict[str, object]) -> dict[str, object]:
    """Draft 2020-12's words for what earlier drafts said."""
    if isinstance(found.get("items"), list):
        found["prefixItems"] = found.pop("items")
    if "definitions" in found:
        older, newer = found.pop("definitions"), found.get("$defs", {})
        assert isinstance(older, dict)
        assert isinstance(newer, dict)
        found["$defs"] = {**older, **newer}
    return found
