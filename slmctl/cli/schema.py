"""What `--format` and `/set format` take: `json`, a JSON Schema, or a file with one."""

from __future__ import annotations

import json
import math
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from registry.errors import UsageError
from runtimes.protocol import ANY_OBJECT

_MAX_BYTES = 1 << 20
_MAX_DEPTH = 128
"""More than people write, and little enough for every parser on the way to the engine."""

_HINT = 'Take json, a schema such as {"type": "object"}, or the path of a file with one.'


def schema_of(given: str) -> Mapping[str, object]:
    """The JSON Schema that answers have to fit. Raises UsageError."""
    text = given.strip()
    if text.lower() == "json":
        return ANY_OBJECT
    where = "The schema"
    if not text.startswith("{"):
        text, where = _read(Path(given)), f"The schema in {given:.200}"
    try:
        schema = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
        if _is_deeper(schema, _MAX_DEPTH):
            raise RecursionError
    except RecursionError:
        raise UsageError(f"{where} is nested too deeply.", hint="Make it flatter.") from None
    except ValueError as error:
        raise UsageError(f"{where} is not valid JSON: {error}.", hint=_HINT) from None
    if not isinstance(schema, dict):
        raise UsageError(f"{where} is no JSON object.", hint=_HINT)
    from jsonschema import Draft202012Validator  # slow to import, and few runs have a schema
    from jsonschema.exceptions import SchemaError

    try:
        with warnings.catch_warnings(action="ignore"):  # of Python's about a pattern, and no user's business
            Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        place = "/".join(str(part) for part in error.absolute_path) or "its top"
        raise UsageError(
            f"{where} is no JSON Schema: {error.message:.200} (at {place}).", hint=_HINT
        ) from None
    except RecursionError:
        raise UsageError(f"{where} is nested too deeply.", hint="Make it flatter.") from None
    except OverflowError as error:  # a{99999999999}
        raise UsageError(f"{where} has a pattern that is too large: {error}.", hint=_HINT) from None
    return schema


def _read(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            data = stream.read(_MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = os.strerror(error.errno or 0) if isinstance(error, OSError) else str(error)
        raise UsageError(f"The format {str(path)!r:.80} is no file to read ({reason}).", hint=_HINT) from None
    if len(data) > _MAX_BYTES:
        raise UsageError(f"The schema in {path} is longer than {_MAX_BYTES >> 20} MiB.", hint="Send less.")
    try:
        return data.decode("utf-8-sig")  # some editors on Windows put a byte order mark before it
    except UnicodeDecodeError:
        raise UsageError(f"The schema in {path} is not UTF-8.", hint="Save it as UTF-8.") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON's")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"the number {text:.40} is too large")
    return number


def _is_deeper(value: object, most: int) -> bool:
    """Whether lists and objects are nested in each other more than `most` times."""
    level: list[object] = [value]
    for _ in range(most + 1):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return bool(level)


def misfit(answer: str, schema: Mapping[str, object]) -> str | None:
    """Why `answer` is no JSON text that fits `schema`, as a sentence; None when it is one.

    Engines hold to a schema while they write, mostly: some tokenizers defeat llama.cpp, which then goes on
    without, and every answer may be cut short.
    """
    try:
        value = json.loads(answer, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        begun = answer.lstrip().startswith(("{", "[", '"'))
        return f"The answer is {'not complete' if begun else 'no'} JSON."
    from jsonschema import Draft202012Validator
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    try:  # the empty registry: a $ref is never fetched
        error = next(Draft202012Validator(schema, registry=Registry()).iter_errors(value), None)
    except Unresolvable as unresolvable:
        return f"The schema refers to {unresolvable.ref!r:.100}, which it does not contain."
    except RecursionError:
        return "The schema refers to itself without end, or the answer is nested too deeply."
    except Exception as failure:  # noqa: BLE001 - a $ref into the schema's own keywords, say: it raises anything
        return f"The answer cannot be held against the schema ({type(failure).__name__}: {failure!s:.200})."
    return f"The answer does not fit the schema: {error.message:.200}." if error is not None else None
