from __future__ import annotations

import asyncio
import json
import math
from typing import Any, Literal

import httpx
import pytest
from openai import APIError, AsyncOpenAI, BadRequestError, NotFoundError, OpenAI
from openai.types.chat import ChatCompletionMessageParam
from pydantic import BaseModel

from tests.servers import Server
from tests.slmctl.server.models import HELLO, RANKER

HI: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hello, who are you?"}]


def test_a_whole_answer(client: OpenAI) -> None:
    answer = client.chat.completions.create(model=HELLO, messages=HI, temperature=0, max_tokens=40)
    assert answer.id.startswith("chatcmpl-")
    assert (answer.object, answer.model) == ("chat.completion", HELLO)
    assert (answer.system_fingerprint or "").startswith("fp_")
    (choice,) = answer.choices
    assert choice.index == 0
    assert choice.message.role == "assistant"
    assert choice.message.content
    assert choice.message.refusal is None
    assert choice.message.tool_calls is None
    assert choice.finish_reason == "stop"
    assert choice.logprobs is None
    assert answer.usage is not None
    assert answer.usage.prompt_tokens > 3
    assert 0 < answer.usage.completion_tokens <= 40
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.usage.prompt_tokens_details is not None
    assert answer.usage.prompt_tokens_details.cached_tokens is not None


def test_a_stream_says_the_same(client: OpenAI) -> None:
    whole = client.chat.completions.create(model=HELLO, messages=HI, temperature=0, max_tokens=40)
    chunks = list(
        client.chat.completions.create(
            model=HELLO,
            messages=HI,
            temperature=0,
            max_tokens=40,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert {chunk.id for chunk in chunks} == {chunks[0].id}
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert {chunk.system_fingerprint for chunk in chunks} == {whole.system_fingerprint}
    *pieces, usage = chunks
    assert pieces[0].choices[0].delta.role == "assistant"
    assert (
        "".join(piece.choices[0].delta.content or "" for piece in pieces) == whole.choices[0].message.content
    )
    assert [piece.choices[0].finish_reason for piece in pieces][-2:] == [None, "stop"]
    assert all(piece.usage is None for piece in pieces)
    assert usage.choices == []
    assert usage.usage is not None
    assert whole.usage is not None
    assert usage.usage.completion_tokens == whole.usage.completion_tokens
    assert len(pieces) >= 3  # who speaks, what, and why it ends; tokens that have come together are one piece


def test_the_bytes_of_a_stream(client: OpenAI) -> None:
    with client.chat.completions.with_streaming_response.create(
        model=HELLO, messages=HI, max_tokens=5, stream=True
    ) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["x-accel-buffering"] == "no"
        assert answer.headers["x-slmctl-digest"].startswith("sha256:")
        assert answer.headers["x-request-id"]
        lines = [line for line in answer.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    first = json.loads(lines[0].removeprefix("data: "))
    assert first["choices"] == [
        {"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": None}
    ]
    assert "usage" not in first


def test_the_clients_own_gathering_of_a_stream(client: OpenAI) -> None:
    with client.chat.completions.stream(model=HELLO, messages=HI, temperature=0) as stream:
        events = [event.type for event in stream]
        final = stream.get_final_completion()
    assert "content.delta" in events
    assert final.choices[0].message.content


def test_several_at_once_from_the_async_client(served: Server) -> None:
    async def ask() -> list[str]:
        async with AsyncOpenAI(base_url=f"{served.base_url}/v1", api_key="x", max_retries=0) as client:

            async def one(number: int) -> str:
                stream = await client.chat.completions.create(
                    model=HELLO, messages=HI, seed=number, max_tokens=10, stream=True
                )
                return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

            return await asyncio.gather(*map(one, range(6)))

    answers = asyncio.run(ask())
    assert all(answers)


def test_several_answers(client: OpenAI) -> None:
    asked: dict[str, Any] = {"model": HELLO, "messages": HI, "temperature": 2, "seed": 7, "max_tokens": 12}
    asked |= {"top_p": 1, "extra_body": {"top_k": 0, "min_p": 0}}
    one = client.chat.completions.create(**asked)
    answer = client.chat.completions.create(**asked, n=4)
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert len({choice.message.content for choice in answer.choices}) > 1  # each has a seed of its own
    assert one.usage is not None
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == one.usage.prompt_tokens
    assert answer.usage.completion_tokens > one.usage.completion_tokens


def test_several_answers_in_one_stream(client: OpenAI) -> None:
    asked: dict[str, Any] = {"model": HELLO, "messages": HI, "temperature": 0, "max_tokens": 12}
    text = client.chat.completions.create(**asked).choices[0].message.content
    found, ends = ["", "", ""], []
    roles = []
    for chunk in client.chat.completions.create(**asked, n=3, stream=True):
        (choice,) = chunk.choices
        if choice.delta.role:
            roles.append(choice.index)
        found[choice.index] += choice.delta.content or ""
        if choice.finish_reason:
            ends.append(choice.index)
    assert found == [text] * 3
    assert sorted(roles) == sorted(ends) == [0, 1, 2]


def test_it_ends_where_it_shall(client: OpenAI) -> None:
    whole = client.chat.completions.create(model=HELLO, messages=HI, temperature=0, max_tokens=30)
    text = whole.choices[0].message.content or ""
    word = text.split()[2]
    cut = client.chat.completions.create(
        model=HELLO, messages=HI, temperature=0, max_tokens=30, stop=["§§", word]
    )
    assert cut.choices[0].message.content == text[: text.index(word)]
    assert cut.choices[0].finish_reason == "stop"
    short = client.chat.completions.create(model=HELLO, messages=HI, temperature=0, max_completion_tokens=2)
    assert short.choices[0].finish_reason == "length"
    assert short.usage is not None
    assert short.usage.completion_tokens == 2


def test_log_probabilities(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model=HELLO, messages=HI, temperature=0, max_tokens=5, logprobs=True, top_logprobs=3
    )
    (choice,) = answer.choices
    assert choice.logprobs is not None
    tokens = choice.logprobs.content or []
    assert len(tokens) == 5
    for token in tokens:
        assert token.logprob <= 0
        assert len(token.top_logprobs) == 3
        assert token.top_logprobs[0].token == token.token
        assert math.isclose(token.top_logprobs[0].logprob, token.logprob, abs_tol=1e-3)
    data = b"".join(bytes(token.bytes or []) for token in tokens)
    assert data.decode() == choice.message.content

    streamed = [
        token
        for chunk in client.chat.completions.create(
            model=HELLO, messages=HI, temperature=0, max_tokens=5, logprobs=True, stream=True
        )
        for token in (chunk.choices[0].logprobs.content or [] if chunk.choices[0].logprobs else [])
    ]
    assert [token.token for token in streamed] == [token.token for token in tokens]
    assert all(token.top_logprobs == [] for token in streamed)


def test_a_token_can_be_forbidden(client: OpenAI, served: Server) -> None:
    asked: dict[str, Any] = {
        "model": HELLO,
        "messages": HI,
        "temperature": 0,
        "max_tokens": 1,
        "logprobs": True,
    }
    first = client.chat.completions.create(**asked).choices[0]
    assert first.logprobs is not None
    (token,) = first.logprobs.content or []
    every = httpx.post(
        f"{served.base_url}/tokenize", json={"model": HELLO, "content": token.token, "with_pieces": True}
    ).json()["tokens"]
    biases = {str(each["id"]): -100 for each in every}
    other = client.chat.completions.create(**asked, logit_bias=biases).choices[0]
    assert other.message.content != first.message.content


class Animal(BaseModel):
    kind: Literal["cat", "dog"]
    legs: Literal[4]


def test_structured_output(client: OpenAI) -> None:
    answer = client.chat.completions.parse(model=HELLO, messages=HI, response_format=Animal, max_tokens=60)
    parsed = answer.choices[0].message.parsed
    assert isinstance(parsed, Animal)

    whole = client.chat.completions.create(
        model=HELLO, messages=HI, response_format={"type": "json_object"}, max_tokens=200, seed=1
    )
    if whole.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(whole.choices[0].message.content or ""), dict)


def test_structured_output_as_a_stream(client: OpenAI) -> None:
    with client.chat.completions.stream(
        model=HELLO, messages=HI, response_format=Animal, max_tokens=60
    ) as stream:
        final = stream.get_final_completion()
    assert isinstance(final.choices[0].message.parsed, Animal)


def test_a_grammar(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model=HELLO, messages=HI, extra_body={"grammar": 'root ::= "yes" | "no"'}, max_tokens=20
    )
    assert answer.choices[0].message.content in {"yes", "no"}


def test_a_last_message_of_the_assistant_goes_on(client: OpenAI) -> None:
    begun: list[ChatCompletionMessageParam] = [*HI, {"role": "assistant", "content": "I am"}]
    answer = client.chat.completions.create(model=HELLO, messages=begun, temperature=0, max_tokens=10)
    assert answer.choices[0].message.content
    assert not (answer.choices[0].message.content or "").startswith("I am")


def test_parts_and_roles(client: OpenAI) -> None:
    messages: list[ChatCompletionMessageParam] = [
        {"role": "developer", "content": "Be kind."},
        {"role": "user", "content": [{"type": "text", "text": "Hello"}, {"type": "text", "text": "you"}]},
        {"role": "assistant", "content": "Hi.", "refusal": None},
        {"role": "user", "content": "Who are you?"},
    ]
    answer = client.chat.completions.create(model=HELLO, messages=messages, temperature=0, max_tokens=10)
    assert answer.choices[0].message.content


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_that_is_too_long(client: OpenAI, stream: bool) -> None:
    with pytest.raises(BadRequestError) as caught:
        client.chat.completions.create(
            model=HELLO,
            messages=[{"role": "user", "content": "hello " * 3000}],
            stream=stream,
            extra_body={"options": {"num_ctx": 256}},
        )
    assert caught.value.code == "context_length_exceeded"
    assert caught.value.param == "messages"
    assert "maximum context length is 256 tokens" in caught.value.message


@pytest.mark.parametrize("stream", [False, True])
def test_a_model_that_is_not_here(client: OpenAI, stream: bool) -> None:
    with pytest.raises(NotFoundError) as caught:
        client.chat.completions.create(model="nobody", messages=HI, stream=stream)
    assert caught.value.code == "model_not_found"


@pytest.mark.parametrize("name", ["/etc/passwd", "./x", "file:///x", "hf.co/a/b", ""])
def test_models_outside_of_the_store(client: OpenAI, name: str) -> None:
    with pytest.raises(APIError) as caught:
        client.chat.completions.create(model=name, messages=HI)
    assert isinstance(caught.value, BadRequestError | NotFoundError)


def test_what_a_model_cannot_do(client: OpenAI) -> None:
    image: list[ChatCompletionMessageParam] = [
        {
            "role": "user",
            "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}],
        }
    ]
    with pytest.raises(BadRequestError) as caught:
        client.chat.completions.create(model=HELLO, messages=image)
    assert caught.value.code == "not_supported"
    with pytest.raises(BadRequestError) as caught:
        client.chat.completions.create(model=RANKER, messages=HI)
    assert caught.value.code == "not_supported"


def test_what_is_wrong_with_a_request_is_told_in_openais_shape(served: Server) -> None:
    answer = httpx.post(
        f"{served.base_url}/v1/chat/completions",
        json={"model": HELLO, "messages": HI, "temperature": "hot"},
    )
    assert answer.status_code == 400
    assert answer.json() == {
        "error": {
            "message": "'temperature' must be a number.",
            "type": "invalid_request_error",
            "param": "temperature",
            "code": "invalid_type",
        }
    }
