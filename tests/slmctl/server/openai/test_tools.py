from __future__ import annotations

import json
from typing import Any

import pytest
from openai import BadRequestError, OpenAI
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam

from tests.slmctl.server.models import GO_TOOLS, HELLO, TOOLS

ASKED: list[ChatCompletionMessageParam] = [{"role": "user", "content": "What is the weather in Paris?"}]
WEATHER: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a place.",
        "parameters": {
            "type": "object",
            "properties": {"place": {"enum": ["Paris", "Rome"]}, "warm": {"type": "boolean"}},
            "required": ["place", "warm"],
            "additionalProperties": False,
        },
    },
}
CLOCK: ChatCompletionToolParam = {
    "type": "function",
    "function": {"name": "clock", "parameters": {"type": "object", "properties": {}}},
}
BOTH = pytest.mark.parametrize("model", [TOOLS, GO_TOOLS])


@BOTH
def test_a_tool_that_has_to_be_called(client: OpenAI, model: str) -> None:
    answer = client.chat.completions.create(
        model=model,
        messages=ASKED,
        tools=[WEATHER, CLOCK],
        tool_choice={"type": "function", "function": {"name": "weather"}},
        max_tokens=200,
        seed=1,
    )
    (choice,) = answer.choices
    assert choice.finish_reason == "tool_calls"
    assert not choice.message.content
    (call,) = choice.message.tool_calls or []
    assert call.id
    assert call.type == "function"
    assert call.function.name == "weather"
    arguments = json.loads(call.function.arguments)
    assert arguments["place"] in {"Paris", "Rome"}
    assert type(arguments["warm"]) is bool


@BOTH
def test_some_tool_has_to_be_called(client: OpenAI, model: str) -> None:
    stream = client.chat.completions.create(
        model=model, messages=ASKED, tools=[WEATHER], tool_choice="required", max_tokens=200, stream=True
    )
    found: dict[str, Any] = {"arguments": ""}
    reasons = []
    for chunk in stream:
        (choice,) = chunk.choices
        reasons.append(choice.finish_reason)
        for piece in choice.delta.tool_calls or []:
            assert piece.index == 0
            assert piece.function is not None
            found["id"] = found.get("id") or piece.id
            found["name"] = found.get("name") or piece.function.name
            found["arguments"] += piece.function.arguments or ""
    assert found["id"]
    assert found["name"] == "weather"
    assert json.loads(found["arguments"])["place"] in {"Paris", "Rome"}
    assert reasons[-1] == "tool_calls"


@BOTH
def test_what_a_tool_said_is_part_of_the_conversation(client: OpenAI, model: str) -> None:
    called: ChatCompletionMessageParam = {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "id": "call_1",
                "type": "function",
                "function": {"name": "weather", "arguments": '{"place":"Rome"}'},
            }
        ],
    }
    told: ChatCompletionMessageParam = {"role": "tool", "tool_call_id": "call_1", "content": "rain"}
    asked: dict[str, Any] = {"model": model, "tools": [WEATHER], "temperature": 0, "max_tokens": 10}
    answer = client.chat.completions.create(messages=[*ASKED, called, told], **asked)
    shorter = client.chat.completions.create(messages=ASKED, **asked)
    assert answer.usage is not None
    assert shorter.usage is not None
    assert answer.usage.prompt_tokens > shorter.usage.prompt_tokens + 5


@BOTH
def test_no_tool_may_be_called(client: OpenAI, model: str) -> None:
    answer = client.chat.completions.create(
        model=model, messages=ASKED, tools=[WEATHER], tool_choice="none", temperature=0, max_tokens=10
    )
    assert answer.choices[0].message.tool_calls is None
    assert answer.choices[0].message.content


def test_a_model_whose_template_knows_no_tools(client: OpenAI) -> None:
    """The engine would answer as if there were none."""
    with pytest.raises(BadRequestError) as caught:
        client.chat.completions.create(model=HELLO, messages=ASKED, tools=[WEATHER])
    assert caught.value.code == "not_supported"


def test_tools_whose_parameters_are_no_schema(client: OpenAI) -> None:
    for bad in ({"type": "stsring"}, {"type": "object", "properties": {"a": {"pattern": "(((("}}}):
        tool: Any = {"type": "function", "function": {"name": "f", "parameters": bad}}
        with pytest.raises(BadRequestError):
            client.chat.completions.create(model=TOOLS, messages=ASKED, tools=[tool])
