"""What OpenAI's API does not have: reasoning that is told, Ollama's options, and how long a model stays."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from openai import BadRequestError, OpenAI

from tests.servers import Server
from tests.slmctl.server.models import HELLO, THINKER, TINY

HI: Any = [{"role": "user", "content": "Hello, who are you?"}]


def test_reasoning_is_told_beside_the_answer(client: OpenAI) -> None:
    asked: dict[str, Any] = {"model": THINKER, "messages": HI, "temperature": 0, "max_tokens": 8}
    message: Any = client.chat.completions.create(**asked, reasoning_effort="low").choices[0].message
    assert message.reasoning_content
    assert message.reasoning == message.reasoning_content
    assert "<think>" not in message.reasoning_content
    assert not message.content

    deltas: list[Any] = [
        chunk.choices[0].delta
        for chunk in client.chat.completions.create(**asked, reasoning_effort="low", stream=True)
    ]
    thoughts = [delta.reasoning_content for delta in deltas if hasattr(delta, "reasoning_content")]
    assert "".join(thoughts).strip() == message.reasoning_content.strip()
    assert len(thoughts) > 2


@pytest.mark.parametrize(
    "wish",
    [
        {"reasoning_effort": "none"},
        {"extra_body": {"think": False}},
        {"extra_body": {"chat_template_kwargs": {"enable_thinking": False}}},
    ],
)
def test_no_reasoning_is_wanted(client: OpenAI, wish: dict[str, Any]) -> None:
    message: Any = (
        client.chat.completions.create(model=THINKER, messages=HI, temperature=0, max_tokens=8, **wish)
        .choices[0]
        .message
    )
    assert message.content
    assert not hasattr(message, "reasoning_content")


def test_reasoning_from_a_model_that_cannot(client: OpenAI) -> None:
    with pytest.raises(BadRequestError) as caught:
        client.chat.completions.create(model=HELLO, messages=HI, reasoning_effort="high")
    assert caught.value.code == "not_supported"
    without = client.chat.completions.create(model=HELLO, messages=HI, reasoning_effort="none", max_tokens=2)
    assert without.choices[0].message.content


def test_what_was_thought_before_can_come_along(client: OpenAI) -> None:
    asked: dict[str, Any] = {"model": THINKER, "max_tokens": 1, "reasoning_effort": "low"}
    said: Any = {"role": "assistant", "content": "I am hello."}
    thought: Any = {**said, "reasoning_content": "Who am I? That is a good question."}
    without = client.chat.completions.create(messages=[*HI, said, *HI], **asked)
    with_it = client.chat.completions.create(messages=[*HI, thought, *HI], **asked)
    assert without.usage is not None
    assert with_it.usage is not None
    assert with_it.usage.prompt_tokens > without.usage.prompt_tokens + 5


def test_the_context_can_be_set(client: OpenAI, served: Server) -> None:
    client.completions.create(model=TINY, prompt="a", max_tokens=1, extra_body={"options": {"num_ctx": 300}})
    loaded = httpx.get(f"{served.base_url}/api/ps").json()["models"]
    assert 300 in {model["context_length"] for model in loaded if model["name"].startswith(TINY)}


def test_a_model_can_be_told_to_go(client: OpenAI, served: Server) -> None:
    client.completions.create(model=TINY, prompt="a", max_tokens=1, extra_body={"keep_alive": "1h"})
    assert TINY in _loaded(served)
    client.completions.create(model=TINY, prompt="a", max_tokens=1, extra_body={"keep_alive": 0})
    assert TINY not in _loaded(served)


@pytest.mark.parametrize("keep", ["soon", "1y", [5], {"a": 1}, True, 10**300, 1e300])
def test_no_length_of_time(client: OpenAI, keep: object) -> None:
    with pytest.raises(BadRequestError) as caught:
        client.completions.create(model=TINY, prompt="a", max_tokens=1, extra_body={"keep_alive": keep})
    assert caught.value.param == "keep_alive"


def _loaded(served: Server) -> set[str]:
    models = httpx.get(f"{served.base_url}/api/ps").json()["models"]
    return {model["name"].removesuffix(":latest") for model in models}
