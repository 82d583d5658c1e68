"""Values as JSON in the way of Go's encoding/json: keys sorted, < > & and line separators escaped.

Where Go's versions differ (a form feed is \\f since Go 1.22, \\u000c before) this is the newer one.
"""

from __future__ import annotations

import base64
import math
import re

from modelfiles.template.errors import Fault
from modelfiles.template.go import values
from modelfiles.template.go.floats import shortest
from modelfiles.template.go.values import MISSING, Kind, Record, Slice, Value

MAX_DEPTH = 100  # of values inside each other

_SPECIAL = re.compile('["\\\\<>&\u2028\u2029\x00-\x1f\ud800-\udfff]')
_SHORT = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def json_text(value: Value) -> str:
    """The JSON text, or "" for a number that JSON cannot hold: Ollama's `json` drops the error.

    Raises Fault for a value that no template can hold.
    """
    parts: list[str] = []
    try:
        _encode(value, parts, MAX_DEPTH)
    except _NoJson:
        return ""
    return "".join(parts)


class _NoJson(Exception):
    """Infinity, or not a number."""


def _encode(value: Value, parts: list[str], depth: int) -> None:
    if depth == 0:
        raise Fault("a value is nested too deeply to be JSON")
    if isinstance(value, Record):
        _record(value, parts, depth)
        return
    match values.kind(value):
        case Kind.MISSING:
            parts.append("null")
        case Kind.STRING:
            parts.append(_string(value))
        case Kind.BOOL:
            parts.append("true" if value else "false")
        case Kind.FLOAT:
            parts.append(_float(value))
        case Kind.SLICE:
            _slice(value, parts, depth)
        case Kind.MAP if values.is_nil(value):
            parts.append("null")
        case Kind.MAP:
            _object(values.sorted_entries(value), parts, depth)
        case _:
            parts.append(str(int(value)))


def _slice(value: Value, parts: list[str], depth: int) -> None:
    if isinstance(value, bytes):
        parts.append(f'"{base64.b64encode(value).decode("ascii")}"')
    elif isinstance(value, Slice) and value.json is not None:
        _encode(value.json(value), parts, depth - 1)
    elif values.is_nil(value):
        parts.append("null")
    else:
        separator = "["
        for element in values.elements(value):
            parts.append(separator)
            _encode(element, parts, depth - 1)
            separator = ","
        parts.append("]" if separator == "," else "[]")


def _record(value: Record, parts: list[str], depth: int) -> None:
    if isinstance(value.json, dict):
        _object(list(value.json.items()), parts, depth)
    elif value.json is not MISSING:
        _encode(value.json, parts, depth - 1)
    else:
        entries = [
            (entry.json or name, entry.value)
            for name, entry in value.fields.items()
            if not (entry.omit_empty and _is_empty(entry.value))
        ]
        _object(entries, parts, depth)


def _object(entries: list[tuple[str, Value]], parts: list[str], depth: int) -> None:
    """In the order of `entries`."""
    separator = "{"
    for key, entry in entries:
        parts.append(f"{separator}{_string(key)}:")
        _encode(entry, parts, depth - 1)
        separator = ","
    parts.append("}" if separator == "," else "{}")


def _is_empty(value: Value) -> bool:
    """encoding/json's omitempty: false, 0, nil, and what has no elements."""
    return values.kind(value) is not Kind.STRUCT and not values.truth(value)


def _string(text: str) -> str:
    return f'"{_SPECIAL.sub(_escape, text)}"'


def _escape(match: re.Match[str]) -> str:
    character = match.group()
    if character >= "\ud800":
        return "\\ufffd"  # a byte that is not UTF-8
    return _SHORT.get(character) or f"\\u{ord(character):04x}"


def _float(value: float) -> str:
    """The shortest digits, with an exponent for what is below 1e-6 or 1e21 and more, as ECMAScript does."""
    if not math.isfinite(value):
        raise _NoJson
    digits, exponent = shortest(value)
    sign = "-" if math.copysign(1.0, value) < 0 else ""
    if value and not -6 <= exponent < 21:
        point = "." if len(digits) > 1 else ""
        return f"{sign}{digits[0]}{point}{digits[1:]}e{exponent:+d}"
    if exponent < 0:
        return f"{sign}0.{'0' * (-exponent - 1)}{digits}"
    whole = digits[: exponent + 1].ljust(exponent + 1, "0")
    return f"{sign}{whole}.{digits[exponent + 1 :]}" if len(digits) > exponent + 1 else sign + whole
