from __future__ import annotations

from typing import Any

import httpx
import pytest
from openai import BadRequestError, OpenAI
from pydantic import ValidationError

from slmctl.server.openai.completions import CompletionRequest
from slmctl.server.openai.fields import inputs_of
from tests.servers import Server
from tests.slmctl.server.models import HELLO, TINY


def test_a_text_goes_on(client: OpenAI) -> None:
    answer = client.completions.create(model=HELLO, prompt="Hello", temperature=0, max_tokens=8)
    assert answer.id.startswith("cmpl-")
    assert (answer.object, answer.model) == ("text_completion", HELLO)
    (choice,) = answer.choices
    assert choice.text
    assert choice.finish_reason in {"stop", "length"}
    assert answer.usage is not None
    assert answer.usage.prompt_tokens > 0

    chunks = list(
        client.completions.create(
            model=HELLO,
            prompt="Hello",
            temperature=0,
            max_tokens=8,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == choice.text
    assert chunks[-2].choices[0].finish_reason == choice.finish_reason
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == answer.usage.completion_tokens


def test_several_prompts_and_several_answers_to_each(client: OpenAI) -> None:
    asked: dict[str, Any] = {"model": TINY, "temperature": 1, "seed": 3, "max_tokens": 4}
    alone = [client.completions.create(prompt=prompt, **asked) for prompt in ("one", "two words")]
    both = client.completions.create(prompt=["one", "two words"], n=2, **asked)
    assert [choice.index for choice in both.choices] == [0, 1, 2, 3]
    assert [both.choices[0].text, both.choices[2].text] == [each.choices[0].text for each in alone]
    assert both.choices[0].text != both.choices[1].text
    assert both.usage is not None
    assert both.usage.prompt_tokens == sum(each.usage.prompt_tokens for each in alone if each.usage)
    assert both.usage.completion_tokens == 16


def test_tokens_in_place_of_a_text(client: OpenAI, served: Server) -> None:
    tokens = httpx.post(
        f"{served.base_url}/tokenize", json={"model": HELLO, "content": "Hello", "add_special": True}
    ).json()["tokens"]
    asked: dict[str, Any] = {"model": HELLO, "temperature": 0, "max_tokens": 6}
    text = client.completions.create(prompt="Hello", **asked).choices[0].text
    assert client.completions.create(prompt=tokens, **asked).choices[0].text == text
    assert client.completions.create(prompt=[tokens], **asked).choices[0].text == text


def test_tokens_that_the_model_does_not_have(client: OpenAI) -> None:
    with pytest.raises(BadRequestError):
        client.completions.create(model=HELLO, prompt=[2_000_000_000], max_tokens=1)
    assert client.completions.create(model=HELLO, prompt="Hello", max_tokens=1).choices


def test_the_prompt_comes_along(client: OpenAI) -> None:
    asked: dict[str, Any] = {"model": HELLO, "prompt": "Hello", "temperature": 0, "max_tokens": 4}
    text = client.completions.create(**asked).choices[0].text
    assert client.completions.create(**asked, echo=True).choices[0].text == f"Hello{text}"
    chunks = client.completions.create(**asked, echo=True, stream=True)
    assert "".join(chunk.choices[0].text for chunk in chunks) == f"Hello{text}"


def test_log_probabilities_in_the_older_shape(client: OpenAI) -> None:
    answer = client.completions.create(model=HELLO, prompt="Hello", temperature=0, max_tokens=4, logprobs=2)
    (choice,) = answer.choices
    told = choice.logprobs
    assert told is not None
    assert told.tokens is not None
    assert "".join(told.tokens) == choice.text
    assert told.token_logprobs is not None
    assert all(value <= 0 for value in told.token_logprobs)
    assert told.top_logprobs is not None
    assert all(len(alternatives) == 2 for alternatives in told.top_logprobs)
    assert told.text_offset is not None
    assert told.text_offset[:2] == [0, len(told.tokens[0])]


@pytest.mark.parametrize(
    ("fields", "parameter", "code"),
    [
        ({"best_of": 3}, "best_of", "unsupported_parameter"),
        ({"best_of": 10**9}, "best_of", "unsupported_parameter"),
        ({"echo": True, "logprobs": 1}, "echo", "unsupported_parameter"),
        ({"prompt": []}, "prompt", "invalid_value"),
        ({"prompt": ["a"] * 17}, "prompt", "invalid_value"),
        ({"prompt": ["a"] * 16, "n": 16}, "n", "invalid_value"),
        ({"prompt": [-1]}, "prompt[0]", "invalid_value"),
        ({"prompt": [1, "a"]}, "prompt[1]", "invalid_type"),
        ({"prompt": None}, "prompt", "invalid_type"),
        ({"n": 1_000_000}, "n", "invalid_value"),
        ({"logprobs": 2_000_000_000}, "logprobs", "invalid_value"),
        ({"response_format": {"type": "json_object"}}, "response_format", "unknown_parameter"),
    ],
)
def test_what_cannot_be_is_refused(client: OpenAI, fields: dict[str, Any], parameter: str, code: str) -> None:
    with pytest.raises(BadRequestError) as caught:
        client.post("/completions", cast_to=object, body={"model": HELLO, "prompt": "a", **fields})
    assert (caught.value.param, caught.value.code) == (parameter, code)


def test_a_model_that_cannot_fill_in(client: OpenAI) -> None:
    with pytest.raises(BadRequestError) as caught:
        client.completions.create(model=HELLO, prompt="a", suffix="b")
    assert caught.value.code == "not_supported"


def test_a_prompt_that_is_empty(client: OpenAI) -> None:
    assert client.completions.create(model=TINY, prompt="", max_tokens=2).choices[0].finish_reason


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("echo", [False, True])
def test_a_prompt_that_is_too_long(client: OpenAI, stream: bool, echo: bool) -> None:
    with pytest.raises(BadRequestError) as caught:
        client.completions.create(
            model=HELLO,
            prompt="hello " * 20_000,
            stream=stream,
            echo=echo,
            extra_body={"options": {"num_ctx": 256}},
        )
    assert caught.value.code == "context_length_exceeded"
    assert caught.value.param == "prompt"


@pytest.mark.parametrize(
    ("prompt", "inputs"),
    [
        ("a", ["a"]),
        ([1, 2], [(1, 2)]),
        (["a", "b"], ["a", "b"]),
        ([[1], [2, 3]], [(1,), (2, 3)]),
    ],
)
def test_the_kinds_of_prompts(prompt: Any, inputs: list[object]) -> None:
    assert inputs_of(CompletionRequest(model="m", prompt=prompt).prompt) == inputs


def test_no_prompt_of_many_kinds() -> None:
    with pytest.raises(ValidationError):
        CompletionRequest.model_validate({"model": "m", "prompt": ["a", [1]]})
