from __future__ import annotations

import base64
import json

import pytest

from registry.errors import UsageError
from slmctl.server.ollama.fields import Fields
from slmctl.server.ollama.messages import has_images, messages_of, tools_of

PNG = b"\x89PNG\r\n\x1a\n rest"
JPEG = b"\xff\xd8\xff rest"
WEBP = b"RIFF0000WEBP rest"


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def test_messages_get_openais_shape() -> None:
    given = {"messages": [{"role": "System", "content": "s"}, {"role": "USER", "content": "hi"}]}
    assert messages_of(Fields(given)) == [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "hi"},
    ]


def test_thoughts_and_tool_calls_go_along_and_answers_find_their_calls() -> None:
    calls = [
        {"function": {"name": "weather", "arguments": {"city": "Kyiv"}}},
        {"id": "mine", "function": {"index": 1, "name": "time", "arguments": {}}},
        {"function": {"name": "weather", "arguments": {"city": "Lviv"}}},
    ]
    given = {
        "messages": [
            {"role": "assistant", "content": "", "thinking": "hm", "tool_calls": calls},
            {"role": "tool", "tool_name": "weather", "content": "20"},
            {"role": "tool", "tool_name": "weather", "content": "22"},
            {"role": "tool", "content": "12:00"},
            {"role": "tool", "tool_call_id": "other", "content": "?"},
        ]
    }
    said, *answers = messages_of(Fields(given))
    made = said["tool_calls"]
    assert isinstance(made, list)
    ids = [call["id"] for call in made]
    assert ids[1] == "mine"
    assert all(len(each) == 9 and each.isalnum() for each in (ids[0], ids[2]))
    assert [json.loads(call["function"]["arguments"]) for call in made] == [
        {"city": "Kyiv"},
        {},
        {"city": "Lviv"},
    ]
    assert said["reasoning_content"] == "hm"
    assert [answer["tool_call_id"] for answer in answers] == [ids[0], ids[2], "mine", "other"]


def test_images_become_parts_with_the_file_inside() -> None:
    given = {
        "messages": [
            {"role": "user", "content": "what?", "images": [encoded(PNG), encoded(JPEG), encoded(WEBP)]}
        ]
    }
    (message,) = messages_of(Fields(given))
    parts = message["content"]
    assert isinstance(parts, list)
    assert parts[0] == {"type": "text", "text": "what?"}
    urls = [part["image_url"]["url"] for part in parts[1:]]
    assert [url.partition(",")[0] for url in urls] == [
        "data:image/png;base64",
        "data:image/jpeg;base64",
        "data:image/webp;base64",
    ]
    assert base64.b64decode(urls[0].partition(",")[2]) == PNG
    assert has_images([message, {"role": "user", "content": "text"}]) == 3


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ({"content": "x"}, "has no role"),
        ({"role": "user", "images": [encoded(b"GIF no, PDF")]}, "neither PNG"),
        ({"role": "assistant", "tool_calls": [{"function": {}}]}, "needs a function with a name"),
        ({"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}, "arguments"),
        ({"role": "user", "content": [{"type": "text", "text": "x"}]}, "type string"),
    ],
)
def test_what_is_no_message_is_refused(message: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        messages_of(Fields({"messages": [message]}))


def test_tools_are_functions_with_a_name() -> None:
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}}
    given = {"tools": [{"function": {"name": "weather", "description": "d", "parameters": parameters}}]}
    assert tools_of(Fields(given)) == [
        {
            "type": "function",
            "function": {"name": "weather", "description": "d", "parameters": parameters},
        }
    ]
    with pytest.raises(UsageError, match="a tool needs a function"):
        tools_of(Fields({"tools": [{"type": "function"}]}))


def test_a_tools_schema_is_read_as_clients_write_it() -> None:
    parameters = {
        "type": "object",
        "required": None,
        "properties": {
            "city": {"type": "integer, string", "description": None, "enum": None},
            "day": {"type": "string", "default": None},
            "none": {"const": None},
            "more": {"type": "array", "items": {"anyOf": [{"type": "null, number"}, True], "minItems": None}},
        },
    }
    (tool,) = tools_of(Fields({"tools": [{"function": {"name": "f", "parameters": parameters}}]}))
    function = tool["function"]
    assert isinstance(function, dict)
    assert function["parameters"] == {
        "type": "object",
        "properties": {
            "city": {"type": ["integer", "string"]},
            "day": {"type": "string", "default": None},
            "none": {"const": None},
            "more": {"type": "array", "items": {"anyOf": [{"type": ["null", "number"]}, True]}},
        },
    }
    empty = {"tools": [{"function": {"name": "f", "parameters": {"type": None, "properties": None}}}]}
    (tool,) = tools_of(Fields(empty))
    assert tool["function"] == {"name": "f", "parameters": {"type": "object", "properties": {}}}


def test_a_schema_that_lies_too_deep_goes_on_as_it_is() -> None:
    deep: dict[str, object] = {"type": "string"}
    for _ in range(190):
        deep = {"items": deep}
    (tool,) = tools_of(Fields({"tools": [{"function": {"name": "f", "parameters": deep}}]}))
    assert tool["function"] == {"name": "f", "parameters": deep}
