"""Messages and tools as templates see them: Go structs with the fields and the JSON of Ollama's.

A template reads `.Role` of a message and `.Function.Name` of a tool, prints all tools as one JSON text, and
ranges over a tool's properties sorted by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from modelfiles.template.go.json_text import json_text
from modelfiles.template.go.strings import clean
from modelfiles.template.go.values import LIST_TYPE, Map, Record, RecordField, Slice, Value
from modelfiles.template.ollama_functions import PROPERTY_TYPE
from registry.errors import UsageError

MAX_DEPTH = 60  # of a tool's schema

Json = Value  # what json.loads gives: None, bool, int, float, str, list, dict


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A call that the model made; `index` is its place among the calls of one message."""

    name: str
    arguments: Mapping[str, Json]
    id: str = ""
    index: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message of a chat. `role` is system, user, assistant, tool, or a model's own word in lower case."""

    role: str
    content: str = ""
    thinking: str = ""
    images: tuple[bytes, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    tool_name: str = ""
    tool_call_id: str = ""


def message_record(message: Message) -> Record:
    """Raises UsageError for the arguments of a tool call that are no JSON."""
    return _record(
        "template.templateMessage",
        pointer=True,
        Role=clean(message.role),
        Content=clean(message.content),
        Thinking=clean(message.thinking),
        Images=_slice("[]api.ImageData", message.images),
        ToolCalls=_slice("[]template.templateToolCall", [_call(call) for call in message.tool_calls]),
        ToolName=clean(message.tool_name),
        ToolCallID=clean(message.tool_call_id),
    )


def _call(call: ToolCall) -> Record:
    arguments = _json(dict(call.arguments), f"the arguments of {call.name}", MAX_DEPTH)
    function = _record(
        "template.templateToolCallFunction",
        Index=call.index,
        Name=clean(call.name),
        Arguments=Map(type_name="template.templateArgs", items=arguments, text=_map_text),
    )
    return _record("template.templateToolCall", ID=clean(call.id), Function=function)


def tools_value(tools: Sequence[Json]) -> Slice:
    """Tools as in Ollama's and OpenAI's API: `{"type": "function", "function": {...}}` each.

    Raises UsageError where one is no such thing.
    """
    items = [_tool(tool, f"tools[{index}]") for index, tool in enumerate(tools)]
    return Slice(type_name="template.templateTools", items=items, nil=not items, text=json_text)


def _tool(tool: Json, where: str) -> Record:
    tool = _object(tool, where)
    function = _object(tool.get("function"), f"{where}.function")
    inside = f"{where}.function.parameters"
    given = _object(function.get("parameters"), inside)
    properties = given.get("properties")
    parameters = _fields(
        "template.templateToolFunctionParameters",
        type=("Type", _text(given.get("type"), inside), False),
        defs=("Defs", _json(given.get("$defs"), inside, MAX_DEPTH), True),
        items=("Items", _json(given.get("items"), inside, MAX_DEPTH), True),
        required=("Required", _texts(given.get("required"), inside), True),
        properties=("Properties", _properties(properties, inside), False),
    )
    described = _fields(
        "template.templateToolFunction",
        name=("Name", _text(function.get("name"), where), False),
        description=("Description", _text(function.get("description"), where), False),
        parameters=("Parameters", parameters, False),
    )
    return _fields(
        "template.templateTool",
        type=("Type", _text(tool.get("type"), where), False),
        items=("Items", _json(tool.get("items"), where, MAX_DEPTH), True),
        function=("Function", described, False),
    )


def _properties(given: Json, where: str) -> Map:
    items = {
        clean(name): _property(entry, f"{where}.{name}", MAX_DEPTH)
        for name, entry in _object(given, where).items()
    }
    return Map(
        type_name="template.templateProperties",
        items=items,
        absent=_property({}, where, MAX_DEPTH),
        nil=given is None,
        text=_map_text,
    )


def _property(given: Json, where: str, depth: int) -> Record:
    """One parameter of a tool, or one inside another."""
    if depth == 0:
        raise UsageError(f"{where[:100]} is nested too deeply")
    given = _object(given, where)
    alternatives = [_property(entry, where, depth - 1) for entry in _list(given.get("anyOf"), where)]
    types = given.get("type")
    inner = given.get("properties")
    nested = None
    if inner is not None:
        entries = {
            clean(name): _property(entry, f"{where}.{name}", depth - 1)
            for name, entry in _object(inner, where).items()
        }
        # templates cannot look into it; in JSON it keeps the order that it was given in
        nested = Record(type_name="api.ToolPropertiesMap", fields={}, pointer=True, json=entries)
    enum = [_json(entry, where, depth) for entry in _list(given.get("enum"), where)]
    return _fields(
        PROPERTY_TYPE,
        anyOf=("AnyOf", _slice("[]api.ToolProperty", alternatives), True),
        type=("Type", _types([types] if isinstance(types, str) else types, where), True),
        items=("Items", _json(given.get("items"), where, depth), True),
        description=("Description", _text(given.get("description"), where), True),
        enum=("Enum", _slice(LIST_TYPE, enum), True),
        properties=("Properties", nested, True),
    )


def _types(given: Json, where: str) -> Slice:
    """A JSON Schema type: one is written as a string, several as a list."""
    items = _texts(given, where).items
    return Slice(
        type_name="api.PropertyType",
        items=items,
        nil=not items,
        text=lambda types: types.items[0] if len(types.items) == 1 else _listed(types.items),
        json=lambda types: types.items[0] if len(types.items) == 1 else list(types.items),
    )


def _listed(items: Sequence[str]) -> str:
    return f"[{' '.join(items)}]" if items else ""


def _map_text(value: Map) -> str:
    return "{}" if value.nil else json_text(value)


def _record(type_name: str, *, pointer: bool = False, **entries: Value) -> Record:
    """A struct whose fields have their Go names in JSON."""
    fields = {name: RecordField(value=value) for name, value in entries.items()}
    return Record(type_name=type_name, fields=fields, pointer=pointer)


def _fields(type_name: str, **entries: tuple[str, Value, bool]) -> Record:
    """A struct; its fields by their JSON names: Go name, value, and whether JSON omits it when empty."""
    fields = {
        name: RecordField(value=value, json="$defs" if json == "defs" else json, omit_empty=omit_empty)
        for json, (name, value, omit_empty) in entries.items()
    }
    return Record(type_name=type_name, fields=fields)


def _slice(type_name: str, items: Sequence[Value]) -> Slice:
    return Slice(type_name=type_name, items=items, nil=not items)


def _text(given: Json, where: str) -> str:
    if given is None:
        return ""
    if not isinstance(given, str):
        raise UsageError(f"{where[:100]} has {given!r:.40} where text belongs")
    return clean(given)


def _texts(given: Json, where: str) -> Slice:
    return _slice("[]string", [_text(entry, where) for entry in _list(given, where)])


def _list(given: Json, where: str) -> Sequence[Json]:
    if given is None:
        return ()
    if not isinstance(given, list | tuple):
        raise UsageError(f"{where[:100]} has {given!r:.40} where a list belongs")
    return given


def _object(given: Json, where: str) -> Mapping[str, Json]:
    if given is None:
        return {}
    if not isinstance(given, dict) or not all(isinstance(key, str) for key in given):
        raise UsageError(f"{where[:100]} is {given!r:.40} and not an object")
    return given


def _json(given: Json, where: str, depth: int) -> Value:
    """A JSON value as Go decodes it where it knows no type: every number is a float."""
    if depth == 0:
        raise UsageError(f"{where[:100]} is nested too deeply")
    match given:
        case None | bool() | float():
            return given
        case str():
            return clean(given)
        case int():
            try:
                return float(given)
            except OverflowError:
                raise UsageError(f"{where[:100]} has a number that is too large") from None
        case list() | tuple():
            return [_json(entry, where, depth - 1) for entry in given]
        case dict():
            entries = _object(given, where)
            return {clean(key): _json(entry, where, depth - 1) for key, entry in entries.items()}
    raise UsageError(f"{where[:100]} has a {type(given).__name__}, which is no JSON")
