"""The JSON Schema of a tool call, for models that have to make one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from slmctl.app.asks import Schema


def parameters_of(tool: Mapping[str, object]) -> Schema:
    """The schema of a tool's arguments; any object where it says nothing."""
    function = tool.get("function")
    parameters = function.get("parameters") if isinstance(function, Mapping) else None
    return parameters if isinstance(parameters, Mapping) and parameters else {"type": "object"}


def call_schema(tools: Sequence[Mapping[str, object]], *, arguments: str) -> Schema:
    """An object with a tool's name, and under the name `arguments` what that tool takes."""
    definitions: dict[str, object] = {}
    calls = []
    for number, tool in enumerate(tools):
        function = tool["function"]
        assert isinstance(function, Mapping)
        definitions[f"tool{number}"] = _moved(parameters_of(tool), f"#/$defs/tool{number}")
        calls.append(
            {
                "type": "object",
                "properties": {
                    "name": {"const": function["name"]},
                    arguments: {"$ref": f"#/$defs/tool{number}"},
                },
                "required": ["name", arguments],
                "additionalProperties": False,
            }
        )
    shape = calls[0] if len(calls) == 1 else {"anyOf": calls}
    return {**shape, "$defs": definitions}


def _moved(value: object, to: str) -> object:
    """The same schema where "#" is now `to`."""
    if isinstance(value, Mapping):
        return {
            key: to + each[1:]
            if key == "$ref" and isinstance(each, str) and each.startswith("#")
            else _moved(each, to)
            for key, each in value.items()
        }
    if isinstance(value, list | tuple):
        return [_moved(each, to) for each in value]
    return value
