"""Whether an answer is what its schema asks for.

jsonschema judges, by the normalised form of a schema that was let in (`schema_limits`): its references lead
nowhere else, and its patterns are matched by `patterns`, whose work is bounded.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jsonschema
from jsonschema.validators import extend

from slmctl.app.asks import Schema
from slmctl.app.patterns import Pattern
from slmctl.app.schema_limits import check_schema

MOST_KEPT = 64
"""Schemas that are kept in mind, the last ones."""


_Errors = Iterator[jsonschema.ValidationError]


class NotMet(Exception):
    """`str` says what is wrong, in words that may be shown."""


@dataclass(frozen=True, slots=True)
class Structure:
    """A schema that was let in. `engine` is what an engine makes its grammar of."""

    normalised: Schema
    engine: Schema

    def check(self, text: str) -> None:
        """Raise NotMet unless `text` is JSON that fits."""
        try:
            value = json.loads(text, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            raise NotMet("it is no JSON") from None
        try:
            error = next(_VALIDATOR(self.normalised).iter_errors(value), None)
        except RecursionError:
            raise NotMet("it lies too deep") from None
        if error is not None:
            where = "/".join(str(step) for step in error.absolute_path)[:80]
            at = f" at {where!r}" if where else ""
            raise NotMet(f"its value{at} does not keep to the schema's {error.validator}")


def structure_of(schema: Schema) -> Structure:
    """Raises UsageError as `schema_limits.check_schema`."""
    try:
        key = json.dumps(schema, allow_nan=False)  # in the author's order, which an answer keeps
    except (TypeError, ValueError, RecursionError):
        key = None
    return _structure(key) if key is not None else _made(schema)


@functools.lru_cache(maxsize=MOST_KEPT)
def _structure(text: str) -> Structure:
    return _made(json.loads(text))


def _made(schema: Schema) -> Structure:
    checked = check_schema(schema)
    return Structure(checked.normalised, checked.engine)


def _no_constant(name: str) -> float:
    raise ValueError(name)


@functools.lru_cache(maxsize=256)
def _compiled(pattern: str) -> Pattern:
    return Pattern(pattern)


def _pattern(validator: Any, pattern: str, instance: object, schema: object) -> _Errors:
    if isinstance(instance, str) and not _compiled(pattern).found_in(instance):
        yield jsonschema.ValidationError("a text does not match its pattern")


def _pattern_properties(
    validator: Any, patterns: Mapping[str, object], instance: object, schema: object
) -> _Errors:
    for pattern, part in patterns.items():
        for name, value in instance.items() if isinstance(instance, dict) else ():
            if _compiled(pattern).found_in(name):
                yield from validator.descend(value, part, path=name, schema_path=pattern)


def _additional(validator: Any, extra: object, instance: object, schema: Mapping[str, Any]) -> _Errors:
    if not isinstance(instance, dict):
        return
    named, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    for name, value in instance.items():
        if name in named or any(_compiled(pattern).found_in(name) for pattern in patterns):
            continue
        if extra is False:
            yield jsonschema.ValidationError("there is a name that is not let in")
        elif extra is not True:
            yield from validator.descend(value, extra, path=name)


_VALIDATOR: Any = extend(  # type: ignore[no-untyped-call]
    jsonschema.Draft202012Validator,
    {"pattern": _pattern, "patternProperties": _pattern_properties, "additionalProperties": _additional},
)
