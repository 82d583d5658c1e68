"""What the stream of a response tells, held against OpenAI's own reading of it in test_responses.py."""

from __future__ import annotations

import json
from typing import Any

from runtimes.protocol import Event, Finished, TextDelta, ThinkingDelta, TokenLogprob, ToolCallDelta
from slmctl.server.blocks import Blocks
from slmctl.server.openai.responses_request import read_response
from slmctl.server.openai.responses_shapes import EventWriter, Shape, status_of
from slmctl.server.problems import Problem


def events(pieces: list[Event], **fields: object) -> list[dict[str, Any]]:
    writer, blocks = EventWriter(Shape(read_response({"model": "m", "input": "Hi"} | fields))), Blocks()
    told = list(writer.begins())
    for piece in pieces:
        is_cut = isinstance(piece, Finished) and piece.reason == "length"
        changes = [*blocks.take(piece), *(blocks.end() if isinstance(piece, Finished) else ())]
        told += [event for change in changes for event in writer.of(change, is_cut=is_cut)]
        if isinstance(piece, Finished):
            told.append(writer.ends(blocks.all, piece))
    parsed = []
    for event in told:
        name, data = event.decode().strip().split("\n")
        value = json.loads(data.removeprefix("data: "))
        assert name == f"event: {value['type']}"
        parsed.append(value)
    assert [event["sequence_number"] for event in parsed] == list(range(len(parsed)))
    return parsed


ALL: list[Event] = [
    ThinkingDelta("Hm."),
    TextDelta("Hi", (TokenLogprob("Hi", -0.5, b"Hi", (TokenLogprob("Ho", -1.0, b"Ho"),)),)),
    ToolCallDelta(0, "c1", "f", ""),
    ToolCallDelta(0, None, None, "{}"),
    Finished(reason="tool_calls", prompt_tokens=9, cached_tokens=4, generated_tokens=5),
]


def test_every_event_in_its_order() -> None:
    told = events(ALL)
    assert [event["type"].removeprefix("response.") for event in told] == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "reasoning_text.delta",
        "reasoning_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]
    items = [event["item"] for event in told if event["type"] == "response.output_item.done"]
    last = told[-1]["response"]
    assert last["output"] == items
    assert [item["type"] for item in items] == ["reasoning", "message", "function_call"]
    assert items[0]["content"] == [{"type": "reasoning_text", "text": "Hm."}]
    assert items[1]["content"][0]["logprobs"] == [
        {
            "token": "Hi",
            "logprob": -0.5,
            "bytes": [72, 105],
            "top_logprobs": [{"token": "Ho", "logprob": -1.0, "bytes": [72, 111]}],
        }
    ]
    assert (items[2]["call_id"], items[2]["name"], items[2]["arguments"]) == ("c1", "f", "{}")
    assert last["usage"] == {
        "input_tokens": 9,
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 14,
    }
    ids = {event["item_id"] for event in told if "item_id" in event}
    assert ids == {item["id"] for item in items}


def test_thoughts_as_a_summary() -> None:
    told = events(ALL[:1] + ALL[-1:], reasoning={"summary": "auto"})
    assert [event["type"].removeprefix("response.") for event in told[2:-1]] == [
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
    ]
    (item,) = told[-1]["response"]["output"]
    assert (item["summary"], item["content"]) == ([{"type": "summary_text", "text": "Hm."}], [])


def test_an_answer_that_was_cut() -> None:
    last = events([TextDelta("Hi"), Finished(reason="length")])[-1]
    assert last["type"] == "response.incomplete"
    assert last["response"]["incomplete_details"] == {"reason": "max_output_tokens"}
    assert last["response"]["output"][0]["status"] == "incomplete"


def test_an_answer_that_broke_off() -> None:
    shape, blocks = Shape(read_response({"model": "m", "input": "Hi"})), Blocks()
    list(blocks.take(TextDelta("Hi")))
    problem = Problem(status=502, kind="api_error", code="engine_failed", message="The engine died.")
    (event,) = EventWriter(shape).fails(blocks.all, problem)
    told = json.loads(event.decode().partition("data: ")[2])
    assert told["type"] == "response.failed"
    assert told["response"]["status"] == "failed"
    assert told["response"]["error"] == {"code": "server_error", "message": "The engine died."}
    assert told["response"]["output"][0]["content"][0]["text"] == "Hi"


def test_what_was_asked_is_said_back() -> None:
    asked = {
        "instructions": "Be short.",
        "metadata": {"a": "b"},
        "max_output_tokens": 7,
        "temperature": 0.5,
        "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True}],
        "tool_choice": {"type": "function", "name": "f"},
        "text": {"format": {"type": "json_schema", "name": "x", "schema": {"type": "object"}}},
        "truncation": "auto",
        "parallel_tool_calls": False,
    }
    request = read_response({"model": "m", "input": "Hi"} | asked)
    told = Shape(request).response(status_of(Finished(reason="stop")), (), Finished(reason="stop"))
    assert {name: told[name] for name in asked} == asked
