"""Anthropic's own client against a running server."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import anthropic
import pytest
from anthropic.types import MessageParam, ThinkingConfigParam
from pydantic import BaseModel

from tests.servers import Server
from tests.slmctl.server.models import GO_TOOLS, HELLO, SEER, THINKER, TOOLS
from tests.slmctl.server.test_images import BLUE, RED

HI: list[MessageParam] = [{"role": "user", "content": "Which runtimes can slmctl use?"}]
GREEDY: dict[str, Any] = {"temperature": 0}  # the client has no argument for it any more


def create(client: anthropic.Anthropic, **fields: Any) -> anthropic.types.Message:
    asked: dict[str, Any] = {"model": HELLO, "max_tokens": 40, "messages": HI, "extra_body": GREEDY}
    message = client.messages.create(**{**asked, **fields})
    assert isinstance(message, anthropic.types.Message)
    return message


def text_of(message: anthropic.types.Message) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def prompt_tokens(message: anthropic.types.Message) -> int:
    return message.usage.input_tokens + (message.usage.cache_read_input_tokens or 0)


def test_a_message(client: anthropic.Anthropic) -> None:
    message = create(client)
    assert message.id.startswith("msg_")
    assert (message.type, message.role, message.model) == ("message", "assistant", HELLO)
    assert (message.stop_reason, message.stop_sequence) == ("end_turn", None)
    assert [block.type for block in message.content] == ["text"]
    assert text_of(message)
    assert message.usage.cache_creation_input_tokens == 0
    assert 0 < message.usage.output_tokens < 40


def test_its_headers(client: anthropic.Anthropic) -> None:
    raw = client.messages.with_raw_response.create(
        model=HELLO, max_tokens=1, messages=HI, extra_headers={"x-request-id": "r-1"}
    )
    assert raw.headers["request-id"] == raw.headers["x-request-id"] == "r-1"
    assert raw.headers["x-slmctl-digest"].startswith("sha256:")


def test_a_stream_says_the_same(client: anthropic.Anthropic) -> None:
    whole = create(client)
    with client.messages.stream(model=HELLO, max_tokens=40, messages=HI, extra_body=GREEDY) as stream:
        assert "".join(stream.text_stream) == text_of(whole)
        last = stream.get_final_message()
    assert text_of(last) == text_of(whole)
    assert (last.stop_reason, last.model, last.role) == ("end_turn", HELLO, "assistant")
    assert last.usage.output_tokens == whole.usage.output_tokens
    assert prompt_tokens(last) == prompt_tokens(whole)


def test_the_events_of_a_stream(client: anthropic.Anthropic) -> None:
    counted = client.messages.count_tokens(model=HELLO, messages=HI)
    events = list(
        client.messages.create(model=HELLO, max_tokens=3, messages=HI, extra_body=GREEDY, stream=True)
    )
    deltas = sum(event.type == "content_block_delta" for event in events)
    assert 1 <= deltas <= 3, "tokens that have come together are one piece"
    assert [event.type for event in events] == [
        "message_start",
        "content_block_start",
        *["content_block_delta"] * deltas,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    start, end = events[0], events[-2]
    assert start.type == "message_start"
    assert start.message.stop_reason is None
    assert prompt_tokens(start.message) == counted.input_tokens
    assert end.type == "message_delta"
    assert (end.delta.stop_reason, end.usage.output_tokens) == ("max_tokens", 3)


def test_the_asynchronous_client(served: Server) -> None:
    async def ask() -> list[str]:
        async with anthropic.AsyncAnthropic(
            base_url=served.base_url, api_key="none", max_retries=0
        ) as client:

            async def streamed() -> str:
                async with client.messages.stream(
                    model=HELLO, max_tokens=40, messages=HI, extra_body=GREEDY
                ) as stream:
                    return "".join([text async for text in stream.text_stream])

            async def whole() -> str:
                return text_of(
                    await client.messages.create(model=HELLO, max_tokens=40, messages=HI, extra_body=GREEDY)
                )

            return list(await asyncio.gather(streamed(), whole(), streamed(), whole()))

    assert len(set(asyncio.run(ask()))) == 1


@pytest.mark.parametrize("model", [HELLO, GO_TOOLS])
def test_which_stop_sequence_it_was(client: anthropic.Anthropic, model: str) -> None:
    words = text_of(create(client, model=model)).split()
    assert len(words) > 4
    stop = f" {words[3]}"
    message = create(client, model=model, stop_sequences=["<never>", stop])
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", stop)
    assert text_of(message) == " ".join(words[:3])
    assert 0 < message.usage.output_tokens < 40
    assert prompt_tokens(message) == client.messages.count_tokens(model=model, messages=HI).input_tokens
    with client.messages.stream(
        model=model, max_tokens=40, messages=HI, stop_sequences=["<never>", stop], extra_body=GREEDY
    ) as stream:
        assert "".join(stream.text_stream) == " ".join(words[:3])
        last = stream.get_final_message()
    assert (last.stop_reason, last.stop_sequence) == ("stop_sequence", stop)
    assert last.usage.output_tokens == message.usage.output_tokens


def test_system_messages_and_a_begun_answer(client: anthropic.Anthropic) -> None:
    plain = client.messages.count_tokens(model=HELLO, messages=HI).input_tokens
    system = "You only ever answer with the word no."
    counted = client.messages.count_tokens(model=HELLO, messages=HI, system=system).input_tokens
    assert counted > plain
    assert prompt_tokens(create(client, system=[{"type": "text", "text": system}])) == counted
    begun: list[MessageParam] = [*HI, {"role": "assistant", "content": "llama.cpp is the"}]
    message = create(client, messages=begun, max_tokens=4)
    assert not text_of(message).startswith("llama.cpp is the")


PICK: Any = {
    "name": "pick",
    "description": "Pick a colour.",
    "input_schema": {
        "type": "object",
        "properties": {"colour": {"enum": ["red", "blue"]}},
        "required": ["colour"],
        "additionalProperties": False,
    },
}
FORCED: dict[str, Any] = {
    "model": GO_TOOLS,
    "max_tokens": 900,
    "messages": HI,
    "tools": [PICK],
    "tool_choice": {"type": "tool", "name": "pick"},
    "extra_body": GREEDY,
}


def test_a_call_its_result_and_the_answer(client: anthropic.Anthropic) -> None:
    message = client.messages.create(**FORCED)
    assert message.stop_reason == "tool_use"
    (call,) = [block for block in message.content if block.type == "tool_use"]
    assert call.name == "pick"
    assert call.input["colour"] in ("red", "blue")
    result: MessageParam = {
        "role": "user",
        "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "Done."}],
    }
    turns: list[MessageParam] = [*HI, {"role": "assistant", "content": message.content}, result]
    answer = create(client, model=GO_TOOLS, messages=turns, tools=[PICK])
    assert answer.stop_reason in ("end_turn", "max_tokens")
    asked = client.messages.count_tokens(model=GO_TOOLS, messages=turns, tools=[PICK]).input_tokens
    assert prompt_tokens(answer) == asked > client.messages.count_tokens(
        model=GO_TOOLS, messages=HI, tools=[PICK]
    ).input_tokens  # fmt: skip


def test_a_call_in_a_stream(client: anthropic.Anthropic) -> None:
    with client.messages.stream(**FORCED) as stream:
        pieces = [event.partial_json for event in stream if event.type == "input_json"]
        last = stream.get_final_message()
    (call,) = [block for block in last.content if block.type == "tool_use"]
    assert json.loads("".join(pieces)) == call.input
    assert (last.stop_reason, call.name) == ("tool_use", "pick")


def test_tools_that_are_only_offered(client: anthropic.Anthropic) -> None:
    message = create(client, model=TOOLS, tools=[PICK])
    assert text_of(message)
    without = create(client, model=TOOLS, tools=[PICK], tool_choice={"type": "none"})
    assert prompt_tokens(without) < prompt_tokens(message)


def test_thoughts_are_a_block_and_have_a_budget(client: anthropic.Anthropic) -> None:
    budget = 8
    message = create(client, model=THINKER, thinking={"type": "enabled", "budget_tokens": budget})
    first = message.content[0]
    assert first.type == "thinking"
    assert first.thinking
    assert 0 < len(first.thinking.split()) <= budget
    back: list[MessageParam] = [*HI, {"role": "assistant", "content": message.content}, *HI]
    assert create(client, model=THINKER, messages=back).stop_reason


def test_thoughts_in_a_stream(client: anthropic.Anthropic) -> None:
    asked: dict[str, Any] = {
        "model": THINKER,
        "max_tokens": 40,
        "messages": HI,
        "thinking": {"type": "enabled", "budget_tokens": 8},
        "extra_body": GREEDY,
    }
    whole = client.messages.create(**asked)
    with client.messages.stream(**asked) as stream:
        thought = "".join(event.thinking for event in stream if event.type == "thinking")
        last = stream.get_final_message()
    assert text_of(last) == text_of(whole)
    assert last.content[0] == whole.content[0]
    assert last.content[0].type == "thinking"
    assert thought == last.content[0].thinking


@pytest.mark.parametrize("thinking", [None, {"type": "disabled"}])
def test_nothing_thinks_that_was_not_asked_to(
    client: anthropic.Anthropic, thinking: ThinkingConfigParam | None
) -> None:
    fields: dict[str, Any] = {} if thinking is None else {"thinking": thinking}
    message = create(client, model=THINKER, **fields)
    assert [block.type for block in message.content] == ["text"]


@pytest.mark.parametrize("effort", [{}, {"effort": "high"}])
def test_adaptive_thinking_leaves_it_to_a_model_that_cannot_think(
    client: anthropic.Anthropic, effort: dict[str, str]
) -> None:
    """Claude Code asks so of every model."""
    fields: dict[str, Any] = {"thinking": {"type": "adaptive"}, "output_config": effort}
    message = create(client, extra_body={**GREEDY, **fields})
    assert [block.type for block in message.content] == ["text"]
    counted = client.messages.count_tokens(model=HELLO, messages=HI, extra_body=fields)
    assert counted.input_tokens == prompt_tokens(message)


def test_thoughts_can_be_left_out(client: anthropic.Anthropic) -> None:
    thinking = {"type": "enabled", "budget_tokens": 8, "display": "omitted"}
    first = create(client, model=THINKER, thinking=thinking).content[0]
    assert first.type == "thinking"
    assert first.thinking == ""


class Colour(BaseModel):
    red: bool
    blue: bool


def test_structured_output(client: anthropic.Anthropic) -> None:
    message = client.messages.parse(
        model=HELLO, max_tokens=400, messages=HI, output_format=Colour, extra_body=GREEDY
    )
    assert isinstance(message.parsed_output, Colour)


@pytest.mark.parametrize("model", [HELLO, TOOLS, GO_TOOLS, THINKER])
def test_the_count_is_what_the_answer_counts(client: anthropic.Anthropic, model: str) -> None:
    turns: list[MessageParam] = [
        *HI,
        {"role": "assistant", "content": "¿Qué?"},
        {"role": "user", "content": "日本語"},
    ]
    counted = client.messages.count_tokens(model=model, messages=turns, system="Be short.")
    assert counted.input_tokens == prompt_tokens(
        create(client, model=model, messages=turns, system="Be short.")
    )


def test_what_a_tool_has_shown_is_seen(client: anthropic.Anthropic) -> None:
    def asked(picture: str) -> anthropic.types.Message:
        source: Any = {"type": "base64", "media_type": "image/png", "data": picture}
        use: Any = {"type": "tool_use", "id": "t", "name": "look", "input": {}}
        shown: Any = {
            "type": "tool_result",
            "tool_use_id": "t",
            "content": [{"type": "image", "source": source}],
        }
        turns: list[MessageParam] = [
            {"role": "user", "content": "look"},
            {"role": "assistant", "content": [use]},
            {"role": "user", "content": [shown, {"type": "text", "text": "now"}]},
        ]
        counted = client.messages.count_tokens(model=SEER, messages=turns)
        message = create(client, model=SEER, messages=turns, max_tokens=8)
        assert prompt_tokens(message) == counted.input_tokens
        return message

    assert text_of(asked(RED)) != text_of(asked(BLUE))


def test_the_same_under_its_beta_address(client: anthropic.Anthropic) -> None:
    message = client.beta.messages.create(
        model=HELLO, max_tokens=2, messages=[{"role": "user", "content": "Hi"}]
    )
    assert message.usage.output_tokens == 2
