"""The functions that Ollama adds to Go's: json, currentDate, yesterdayDate, toTypeScriptType."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from types import MappingProxyType

from modelfiles.template.go import values
from modelfiles.template.go.functions import BUILTINS, Arguments, Function
from modelfiles.template.go.json_text import json_text
from modelfiles.template.go.meter import Meter
from modelfiles.template.go.values import Record, Value

PROPERTY_TYPE = "api.ToolProperty"

NAMES = frozenset([*BUILTINS, "currentDate", "json", "toTypeScriptType", "yesterdayDate"])

_TYPESCRIPT = {
    "array": "any[]",
    "boolean": "boolean",
    "integer": "number",
    "null": "null",
    "number": "number",
    "object": "Record<string, any>",
    "string": "string",
}


def functions(today: dt.date) -> Mapping[str, Function]:
    """Every function that a template may call, on the day `today` where the model's user is."""

    def current_date(arguments: Arguments, meter: Meter) -> Value:
        return today.isoformat()  # the arguments are for formats that Ollama may have one day

    def yesterday_date(arguments: Arguments, meter: Meter) -> Value:
        return (today - dt.timedelta(days=1)).isoformat()

    return MappingProxyType(
        {
            **BUILTINS,
            "currentDate": Function(current_date, 0, None, strings=None),
            "json": Function(_json, 1, 1),
            "toTypeScriptType": Function(_to_typescript, 1, 1),
            "yesterdayDate": Function(yesterday_date, 0, None, strings=None),
        }
    )


def _json(arguments: Arguments, meter: Meter) -> Value:
    text = json_text(arguments[0])
    meter.write(len(text))
    return text


def _to_typescript(arguments: Arguments, meter: Meter) -> Value:
    return _typescript(arguments[0])


def _typescript(value: Value) -> str:
    """The type of a tool's parameter in TypeScript; "any" for whatever is none."""
    if not isinstance(value, Record) or value.type_name != PROPERTY_TYPE:
        return "any"
    alternatives = values.elements(value.fields["AnyOf"].value)
    if alternatives:
        return " | ".join(map(_typescript, alternatives))
    names = values.elements(value.fields["Type"].value)
    return " | ".join(_TYPESCRIPT.get(name, "any") for name in names) or "any"
