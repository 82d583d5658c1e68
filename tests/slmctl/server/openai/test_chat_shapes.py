from __future__ import annotations

import json
from typing import Any

import pytest

from runtimes.protocol import (
    Event,
    Finished,
    TextDelta,
    ThinkingDelta,
    TokenLogprob,
    ToolCallDelta,
)
from slmctl.server.answering import Cut
from slmctl.server.openai.answers import Gathered, usage_of
from slmctl.server.openai.chat_shapes import ChunkWriter, choice_of

COMMON = {"id": "chatcmpl-1", "created": 1, "model": 'a "model"', "system_fingerprint": "fp_0"}
TOKEN = TokenLogprob("é", -0.5, "é".encode(), (TokenLogprob("é", -0.5, None), TokenLogprob("e", -1.5, b"e")))


def written(each: Event, *, includes_usage: bool = False, top_logprobs: int = 0) -> dict[str, Any]:
    writer = ChunkWriter(COMMON, 2, includes_usage=includes_usage, top_logprobs=top_logprobs)
    line = writer.of(each)
    assert line.startswith(b"data: ")
    assert line.endswith(b"}\n\n")
    assert line.count(b"\n") == 2
    chunk: dict[str, Any] = json.loads(line[6:])
    assert {name: chunk[name] for name in COMMON} == COMMON
    assert chunk["object"] == "chat.completion.chunk"
    return chunk


@pytest.mark.parametrize(
    "text", ["", "a", 'say "hi"\n\\', "\x00\x1f\x7f", "größer 猫 😀", "\ud83d", "</script>", "\u2028\r\n"]
)
def test_any_text_comes_through(text: str) -> None:
    chunk = written(TextDelta(text))
    assert chunk["choices"] == [
        {"index": 2, "delta": {"content": text}, "logprobs": None, "finish_reason": None}
    ]
    assert "usage" not in chunk
    assert written(TextDelta(text), includes_usage=True)["usage"] is None


def test_thoughts_have_two_names() -> None:
    assert written(ThinkingDelta("hm"))["choices"][0]["delta"] == {
        "reasoning_content": "hm",
        "reasoning": "hm",
    }


def test_pieces_of_a_tool_call() -> None:
    first = written(ToolCallDelta(0, "call_1", "look", ""))["choices"][0]
    assert first["delta"]["tool_calls"] == [
        {"index": 0, "id": "call_1", "type": "function", "function": {"name": "look", "arguments": ""}}
    ]
    more = written(ToolCallDelta(0, None, None, '{"a"'))["choices"][0]
    assert more["delta"]["tool_calls"] == [{"index": 0, "function": {"arguments": '{"a"'}}]


def test_the_end() -> None:
    assert written(Finished(reason="length"))["choices"] == [
        {"index": 2, "delta": {}, "logprobs": None, "finish_reason": "length"}
    ]


def test_what_openais_clients_are_not_told() -> None:
    writer = ChunkWriter(COMMON, 0, includes_usage=False, top_logprobs=0)
    assert writer.of(Cut(messages=1, tokens=5)) == b""


def test_log_probabilities() -> None:
    chunk = written(TextDelta("é", (TOKEN,)), top_logprobs=1)["choices"][0]
    assert chunk["logprobs"] == {
        "content": [
            {
                "token": "é",
                "logprob": -0.5,
                "bytes": [195, 169],
                "top_logprobs": [{"token": "é", "logprob": -0.5, "bytes": None}],
            }
        ],
        "refusal": None,
    }
    assert written(TextDelta("é", (TOKEN,)))["choices"][0]["logprobs"]["content"][0]["top_logprobs"] == []


def test_a_whole_answer_is_what_its_pieces_were() -> None:
    answer = Gathered()
    for each in (
        ThinkingDelta("h"),
        ThinkingDelta("m"),
        ToolCallDelta(1, "b", "two", "{}"),
        ToolCallDelta(0, "a", "one", '{"x"'),
        ToolCallDelta(0, None, None, ":1}"),
        Finished(reason="tool_calls", prompt_tokens=5, cached_tokens=2, generated_tokens=7),
    ):
        answer.add(each)
    choice = choice_of(3, answer, None)
    assert choice == {
        "index": 3,
        "message": {
            "role": "assistant",
            "content": None,
            "refusal": None,
            "reasoning_content": "hm",
            "reasoning": "hm",
            "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "one", "arguments": '{"x":1}'}},
                {"id": "b", "type": "function", "function": {"name": "two", "arguments": "{}"}},
            ],
        },
        "logprobs": None,
        "finish_reason": "tool_calls",
    }
    assert usage_of([answer.finished], [answer.finished] * 2) == {
        "prompt_tokens": 5,
        "completion_tokens": 14,
        "total_tokens": 19,
        "prompt_tokens_details": {"cached_tokens": 2},
    }


def test_an_answer_without_a_word() -> None:
    answer = Gathered()
    answer.add(Finished(reason="stop"))
    choice: Any = choice_of(0, answer, None)
    assert choice["message"]["content"] == ""
