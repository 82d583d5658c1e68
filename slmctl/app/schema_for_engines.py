"""What of a schema an engine makes its grammar of: what its grammars know (llguidance, as of 2026).

What is left out makes the grammar wider; the validation of the answer has it all. Only names that a schema
does not speak of are left out of the grammar, and a schema is met without them all the same.
"""

from __future__ import annotations

from slmctl.app.asks import Schema
from slmctl.app.schema_words import LISTS, MAPS, MOST, MOST_COUNT, NUMBERS, ONE, all_schemas_in

_ENGINE = frozenset(
    {"type", "enum", "const", "anyOf", "allOf", "$ref", "$defs", "properties", "required", "pattern"}
    | {"additionalProperties", "patternProperties", "items", "prefixItems", "format"}
    | {"minItems", "maxItems", "minLength", "maxLength", *NUMBERS}
)
_ENGINE_FORMATS = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"}
)
_LARGEST_NUMBER = 1e15
# one way to write each value: with blanks let in anywhere, small models write blanks without end
_WRITING = {
    "whitespace_flexible": False,
    "item_separator": ", ",
    "key_separator": ": ",
    "coerce_one_of": True,
    "lenient": True,
}


def for_engine(schema: Schema) -> Schema:
    """Of a normalised schema."""
    engine = _part(schema, closed=not any(_is_together(part) for part in all_schemas_in(schema)))
    assert isinstance(engine, dict)
    return {**engine, "x-guidance": _WRITING}


def _is_together(part: object) -> bool:
    """Whether names may be said in one part and needed by another."""
    if not isinstance(part, dict):
        return False
    beside = [name for name in ("properties", "allOf", "anyOf", "oneOf", "$ref") if name in part]
    return "allOf" in part or ("properties" in part and len(beside) > 1)


def _part(part: object, *, closed: bool) -> object:
    """`closed` leaves out names that nobody said: small models write such without end."""
    if not isinstance(part, dict):
        return part
    found: dict[str, object] = {}
    named = part.get("properties") if closed else None
    if named and "additionalProperties" not in part and "patternProperties" not in part:
        found["additionalProperties"] = any(name not in named for name in part.get("required", ()))
    for name, value in part.items():
        if name == "oneOf":
            name = "anyOf" if "anyOf" not in part else name
        if name not in _ENGINE or _is_beyond(name, value):
            continue
        if name in LISTS:
            found[name] = [_part(each, closed=closed) for each in value]
        elif name in MAPS:
            found[name] = {key: _part(each, closed=closed) for key, each in value.items()}
        else:
            found[name] = _part(value, closed=closed) if name in ONE else value
    return found


def _is_beyond(name: str, value: object) -> bool:
    """Whether an engine's grammar would fail over it; the validation of the answer does not."""
    if name in MOST:
        return isinstance(value, int) and value > MOST_COUNT
    if name in NUMBERS:
        return isinstance(value, int | float) and abs(value) > _LARGEST_NUMBER
    return name == "format" and value not in _ENGINE_FORMATS
