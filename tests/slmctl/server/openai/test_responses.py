"""OpenAI's own client and its responses, against a running server."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from typing import Any

import pytest
from openai import AsyncOpenAI, BadRequestError, NotFoundError, OpenAI
from openai.types.responses import Response
from pydantic import BaseModel

from tests.servers import Server, serving, until_workers
from tests.slmctl.cli.program import Program
from tests.slmctl.server.models import GO_TOOLS, HELLO, SEER, THINKER, TINY, TOOLS
from tests.slmctl.server.test_images import BLUE, RED

HI = "Which runtimes can slmctl use?"


def create(client: OpenAI, **fields: Any) -> Response:
    asked: dict[str, Any] = {"model": HELLO, "input": HI, "temperature": 0, "max_output_tokens": 40}
    response = client.responses.create(**{**asked, **fields})
    assert isinstance(response, Response)
    return response


def test_a_response(client: OpenAI) -> None:
    response = create(client, metadata={"a": "b"}, instructions="Be short.")
    assert response.id.startswith("resp_")
    assert (response.object, response.status, response.model) == ("response", "completed", HELLO)
    (item,) = response.output
    assert item.type == "message"
    assert (item.role, item.status) == ("assistant", "completed")
    assert response.output_text
    assert response.incomplete_details is None
    assert response.error is None
    assert (response.metadata, response.instructions) == ({"a": "b"}, "Be short.")
    assert response.usage is not None
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens
    assert 0 < response.usage.output_tokens < 40


def test_a_stream_says_the_same(client: OpenAI) -> None:
    whole = create(client)
    with client.responses.stream(model=HELLO, input=HI, temperature=0, max_output_tokens=40) as stream:
        events = list(stream)
        last = stream.get_final_response()
    assert last.output_text == whole.output_text
    assert last.usage is not None
    assert whole.usage is not None
    assert last.usage.total_tokens == whole.usage.total_tokens
    pieces = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(pieces) == whole.output_text
    assert [event.sequence_number for event in events] == sorted({event.sequence_number for event in events})


def test_an_answer_that_is_cut_is_incomplete(client: OpenAI) -> None:
    response = create(client, max_output_tokens=3)
    assert response.status == "incomplete"
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"
    assert response.usage is not None
    assert response.usage.output_tokens == 3
    events = list(client.responses.create(model=HELLO, input=HI, max_output_tokens=3, stream=True))
    assert events[-1].type == "response.incomplete"


def test_the_asynchronous_client(served: Server) -> None:
    async def ask() -> list[str]:
        async with AsyncOpenAI(base_url=f"{served.base_url}/v1", api_key="x", max_retries=0) as client:

            async def streamed() -> str:
                async with client.responses.stream(
                    model=HELLO, input=HI, temperature=0, max_output_tokens=40
                ) as stream:
                    return (await stream.get_final_response()).output_text

            async def whole() -> str:
                response = await client.responses.create(
                    model=HELLO, input=HI, temperature=0, max_output_tokens=40
                )
                return response.output_text

            return list(await asyncio.gather(streamed(), whole(), streamed(), whole()))

    assert len(set(asyncio.run(ask()))) == 1


PICK: Any = {
    "type": "function",
    "name": "pick",
    "description": "Pick a colour.",
    "parameters": {
        "type": "object",
        "properties": {"colour": {"enum": ["red", "blue"]}},
        "required": ["colour"],
        "additionalProperties": False,
    },
    "strict": True,
}
FORCED: dict[str, Any] = {
    "model": GO_TOOLS,
    "max_output_tokens": 900,
    "input": HI,
    "temperature": 0,
    "tools": [PICK],
    "tool_choice": {"type": "function", "name": "pick"},
}


def test_a_call_its_output_and_the_answer(client: OpenAI) -> None:
    response = client.responses.create(**FORCED)
    assert response.status == "completed"
    (call,) = [item for item in response.output if item.type == "function_call"]
    assert (call.name, call.status) == ("pick", "completed")
    assert json.loads(call.arguments)["colour"] in ("red", "blue")
    items: list[Any] = [
        {"role": "user", "content": HI},
        *response.output,
        {"type": "function_call_output", "call_id": call.call_id, "output": "Done."},
    ]
    answer = create(client, model=GO_TOOLS, input=items, tools=[PICK])
    assert answer.output_text


def test_a_call_in_a_stream(client: OpenAI) -> None:
    events = list(client.responses.create(**FORCED, stream=True))
    pieces = [event.delta for event in events if event.type == "response.function_call_arguments.delta"]
    (done,) = [event for event in events if event.type == "response.function_call_arguments.done"]
    assert "".join(pieces) == done.arguments
    assert json.loads(done.arguments)["colour"] in ("red", "blue")
    last = events[-1]
    assert last.type == "response.completed"
    assert [item.type for item in last.response.output] == ["function_call"]


class Colour(BaseModel):
    red: bool
    blue: bool


def test_structured_output(client: OpenAI) -> None:
    response = client.responses.parse(
        model=HELLO, input=HI, text_format=Colour, max_output_tokens=400, temperature=0
    )
    assert isinstance(response.output_parsed, Colour)
    mode: Any = {"format": {"type": "json_object"}}
    answer = create(client, text=mode, max_output_tokens=900)
    assert answer.status == "incomplete" or isinstance(json.loads(answer.output_text), dict)


def test_thoughts_are_an_item_and_are_counted(client: OpenAI) -> None:
    response = create(client, model=THINKER, reasoning={"effort": "low"})
    first = response.output[0]
    assert first.type == "reasoning"
    assert first.content
    assert first.content[0].text
    assert first.summary == []
    assert response.usage is not None
    assert 0 < response.usage.output_tokens_details.reasoning_tokens <= response.usage.output_tokens
    back: list[Any] = [{"role": "user", "content": HI}, *response.output, {"role": "user", "content": HI}]
    assert create(client, model=THINKER, input=back, reasoning={"effort": "none"}).output[0].type == "message"


def test_thoughts_as_a_summary(client: OpenAI) -> None:
    asked: dict[str, Any] = {
        "model": THINKER,
        "input": HI,
        "reasoning": {"summary": "auto"},
        "temperature": 0,
    }
    with client.responses.stream(**asked, max_output_tokens=20) as stream:
        events = list(stream)
    told = [event.delta for event in events if event.type == "response.reasoning_summary_text.delta"]
    last = events[-1]
    assert last.type == "response.incomplete" or last.type == "response.completed"
    first = last.response.output[0]
    assert first.type == "reasoning"
    assert first.summary[0].text == "".join(told) != ""


def test_probabilities(client: OpenAI) -> None:
    response = create(client, max_output_tokens=3, top_logprobs=2)
    item = response.output[0]
    assert item.type == "message"
    part = item.content[0]
    assert part.type == "output_text"
    assert part.logprobs is not None
    assert [len(each.top_logprobs) for each in part.logprobs] == [2, 2, 2]
    assert "".join(each.token for each in part.logprobs) == part.text
    included = create(client, max_output_tokens=3, include=["message.output_text.logprobs"])
    item = included.output[0]
    assert item.type == "message"
    assert item.content[0].type == "output_text"
    assert item.content[0].logprobs


@pytest.mark.parametrize("model", [HELLO, TOOLS, GO_TOOLS, THINKER])
def test_the_count_is_what_the_answer_counts(client: OpenAI, model: str) -> None:
    counted = client.responses.input_tokens.count(model=model, input=HI, instructions="Be short.")
    assert counted.object == "response.input_tokens"
    usage = create(client, model=model, instructions="Be short.").usage
    assert usage is not None
    assert counted.input_tokens == usage.input_tokens


def test_an_image(client: OpenAI) -> None:
    def asked(picture: str) -> str:
        parts: Any = [
            {"type": "input_image", "image_url": f"data:image/png;base64,{picture}", "detail": "auto"},
            {"type": "input_text", "text": "look"},
        ]
        items: Any = [{"role": "user", "content": parts}]
        counted = client.responses.input_tokens.count(model=SEER, input=items)
        response = create(client, model=SEER, input=items, max_output_tokens=8)
        assert response.usage is not None
        assert response.usage.input_tokens == counted.input_tokens
        return response.output_text

    assert asked(RED) != asked(BLUE)


def test_what_is_left_out_is_told(client: OpenAI) -> None:
    items: list[Any] = [{"role": "user", "content": f"{number} " * 200} for number in range(8)]
    with pytest.raises(BadRequestError) as caught:
        create(client, input=items)
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "input")
    raw = client.responses.with_raw_response.create(
        model=HELLO, input=items, truncation="auto", max_output_tokens=3
    )
    assert int(raw.headers["x-slmctl-truncated"]) > 0
    assert raw.parse().truncation == "auto"


def test_what_is_refused(client: OpenAI) -> None:
    asked: list[tuple[dict[str, Any], str]] = [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"background": True}, "background"),
        ({"store": True}, "store"),
        ({"tools": [{"type": "web_search"}]}, "tools[0]"),
        ({"extra_body": {"unknown": 1}}, "unknown"),
        ({"include": ["file_search_call.results"]}, "include[0]"),
    ]
    for fields, parameter in asked:
        for stream in (False, True):
            with pytest.raises(BadRequestError) as caught:
                create(client, **fields, stream=stream)
            assert caught.value.param == parameter
            assert caught.value.type == "invalid_request_error"


def test_a_model_that_there_is_not(client: OpenAI) -> None:
    with pytest.raises(NotFoundError) as caught:
        create(client, model="nobody")
    assert caught.value.code == "model_not_found"


def test_nothing_is_kept(client: OpenAI) -> None:
    with pytest.raises(NotFoundError):
        client.responses.retrieve(create(client).id)


def test_an_engine_that_dies_ends_the_stream_with_a_response_that_failed(stocked: Program) -> None:
    with serving(stocked) as server:
        client = OpenAI(base_url=f"{server.base_url}/v1", api_key="x", max_retries=0)
        with client.responses.create(model=TINY, input=HI, stream=True) as stream:
            for number, _ in enumerate(stream):
                if number == 5:
                    break
            (worker,) = until_workers(server, 1)
            os.kill(worker, signal.SIGKILL)
            *_, last = stream
        assert last.type == "response.failed"
        assert last.response.status == "failed"
        assert last.response.error is not None
        assert last.response.error.code == "server_error"
        item = last.response.output[0]
        assert item.type == "message"
        assert item.status == "incomplete"
