from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from openai import BadRequestError, OpenAI
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam
from pydantic import BaseModel

from tests.slmctl.cli.program import Program
from tests.slmctl.server.models import GO_TOOLS, HELLO, TOOLS
from tests.slmctl.server.reciting import GO_TOOLS as RECITING_GO_TOOLS
from tests.slmctl.server.reciting import JINJA_TOOLS
from tools.reciting_model import write_reciting_model

RECITING = ("reciting", "go-reciting")
"""Models that call the tool by heart, and answer when it has: one by Jinja's template, one by Ollama's."""
CALLS = """\
<tool_call>
{"name": "weather", "arguments": {"place": "Rome", "warm": true}}
</tool_call>"""
ANSWER = "It is warm in Rome today."

ASKED: list[ChatCompletionMessageParam] = [{"role": "user", "content": "What is the weather in Rome?"}]
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


@pytest.fixture(scope="module", autouse=True)
def reciting(stocked: Program, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("reciting")
    file, modelfile = folder / "model.gguf", folder / "Modelfile"
    write_reciting_model(file, [CALLS, ANSWER], chat_template=JINJA_TOOLS)
    modelfile.write_text(f'FROM {file}\nTEMPLATE """{RECITING_GO_TOOLS}"""\n')
    for name, source in zip(RECITING, (("--from", str(file)), ("-f", str(modelfile))), strict=True):
        assert stocked("create", name, *source).code == 0
    yield
    for name in RECITING:
        assert stocked("rm", name).code == 0


BOTH = pytest.mark.parametrize("model", RECITING)
CHOICES = pytest.mark.parametrize(
    "choice", ["auto", "required", {"type": "function", "function": {"name": "weather"}}]
)


@BOTH
@CHOICES
def test_a_call_in_a_whole_answer(client: OpenAI, model: str, choice: Any) -> None:
    answer = client.chat.completions.create(
        model=model,
        messages=ASKED,
        tools=[WEATHER] if choice == "required" else [WEATHER, CLOCK],
        tool_choice=choice,
        parallel_tool_calls=False,
        max_tokens=300,
    )
    (found,) = answer.choices
    assert found.finish_reason == "tool_calls"
    assert found.message.content is None
    (call,) = found.message.tool_calls or []
    assert call.type == "function"
    assert call.id
    assert call.function.name == "weather"
    assert json.loads(call.function.arguments) == {"place": "Rome", "warm": True}


@BOTH
@CHOICES
def test_a_call_in_a_stream(client: OpenAI, model: str, choice: Any) -> None:
    stream = client.chat.completions.create(
        model=model,
        messages=ASKED,
        tools=[WEATHER],
        tool_choice=choice,
        parallel_tool_calls=False,
        max_tokens=300,
        stream=True,
    )
    ids, names, arguments, reasons, text = [], [], "", [], ""
    for chunk in stream:
        (found,) = chunk.choices
        reasons.append(found.finish_reason)
        text += found.delta.content or ""
        for piece in found.delta.tool_calls or []:
            assert piece.index == 0
            assert piece.function is not None
            ids += [piece.id] if piece.id else []
            names += [piece.function.name] if piece.function.name else []
            arguments += piece.function.arguments or ""
    assert len(ids) == 1
    assert names == ["weather"]
    assert json.loads(arguments) == {"place": "Rome", "warm": True}
    assert reasons[-1] == "tool_calls"
    assert text.strip() == ""


class Weather(BaseModel):
    place: str
    warm: bool


@BOTH
def test_the_clients_own_reading_of_a_call(client: OpenAI, model: str) -> None:
    strict: Any = {**WEATHER, "function": {**WEATHER["function"], "strict": True}}
    answer = client.chat.completions.parse(
        model=model, messages=ASKED, tools=[strict], parallel_tool_calls=False
    )
    (call,) = answer.choices[0].message.tool_calls or []
    assert Weather.model_validate(call.function.parsed_arguments) == Weather(place="Rome", warm=True)


@BOTH
def test_there_and_back_again(client: OpenAI, model: str) -> None:
    """What the client got goes back as it is, with what the tool said."""
    first = client.chat.completions.create(
        model=model, messages=ASKED, tools=[WEATHER], parallel_tool_calls=False
    )
    message = first.choices[0].message
    (call,) = message.tool_calls or []
    back: Any = [*ASKED, message, {"role": "tool", "tool_call_id": call.id, "content": "warm"}]
    answer = client.chat.completions.create(model=model, messages=back, tools=[WEATHER])
    assert answer.choices[0].finish_reason == "stop"
    assert answer.choices[0].message.content == ANSWER
    assert answer.choices[0].message.tool_calls is None


@pytest.mark.parametrize("model", [TOOLS, GO_TOOLS])
@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "weather"}}])
def test_a_call_from_a_model_that_never_learned_to(client: OpenAI, model: str, choice: Any) -> None:
    answer = client.chat.completions.create(
        model=model,
        messages=ASKED,
        tools=[WEATHER],
        tool_choice=choice,
        parallel_tool_calls=False,
        max_tokens=300,
        seed=1,
    )
    (found,) = answer.choices
    assert found.finish_reason == "tool_calls"
    (call,) = found.message.tool_calls or []
    assert call.type == "function"
    assert Weather.model_validate_json(call.function.arguments).place in {"Paris", "Rome"}


@BOTH
def test_no_tool_may_be_called(client: OpenAI, model: str) -> None:
    answer = client.chat.completions.create(
        model=model, messages=ASKED, tools=[WEATHER], tool_choice="none", max_tokens=60
    )
    assert answer.choices[0].message.tool_calls is None
    assert answer.choices[0].finish_reason != "tool_calls"


def test_a_model_whose_template_knows_no_tools(client: OpenAI) -> None:
    """The engine would answer as if there were none."""
    with pytest.raises(BadRequestError) as caught:
        client.chat.completions.create(model=HELLO, messages=ASKED, tools=[WEATHER])
    assert caught.value.code == "not_supported"


@pytest.mark.parametrize(
    "parameters", [{"type": "stsring"}, {"type": "object", "properties": {"a": {"pattern": "(((("}}}]
)
def test_tools_whose_parameters_are_no_schema(client: OpenAI, parameters: dict[str, object]) -> None:
    tool: Any = {"type": "function", "function": {"name": "f", "parameters": parameters}}
    with pytest.raises(BadRequestError):
        client.chat.completions.create(model=TOOLS, messages=ASKED, tools=[tool])


def test_a_tool_that_the_engine_makes_no_grammar_of(client: OpenAI) -> None:
    parameters = {"type": "object", "properties": {"part": {"$ref": "#"}}}
    tool: Any = {"type": "function", "function": {"name": "f", "parameters": parameters}}
    with pytest.raises(
        BadRequestError, match="no grammar of a tool's parameters: #/properties/part: "
    ) as caught:
        client.chat.completions.create(model=TOOLS, messages=ASKED, tools=[tool])
    assert "template" not in caught.value.message
