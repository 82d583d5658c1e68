"""Anthropic's own client runs tools, and would like to have the conversation kept."""

from __future__ import annotations

from typing import Literal

import anthropic
import pytest
from anthropic import beta_tool
from anthropic.types.beta import BetaMessageParam

from tests.slmctl.server.models import GO_TOOLS, HELLO, TOOLS

HI: list[BetaMessageParam] = [{"role": "user", "content": "How is the weather?"}]


@pytest.mark.parametrize("model", [TOOLS, GO_TOOLS])
def test_tools_are_run_and_the_whole_conversation_is_sent_each_time(
    client: anthropic.Anthropic, model: str
) -> None:
    asked: list[str] = []

    @beta_tool
    def weather(city: Literal["Kyiv", "Oslo"]) -> str:
        """The weather.

        Args:
            city: Where.
        """
        asked.append(city)
        return "20 degrees"

    runner = client.beta.messages.tool_runner(
        model=model,
        max_tokens=200,
        messages=HI,
        tools=[weather],
        tool_choice={"type": "tool", "name": "weather"},
        max_iterations=2,
    )
    first, second = list(runner)
    assert first.stop_reason == second.stop_reason == "tool_use"
    assert asked
    assert second.usage.input_tokens + (second.usage.cache_read_input_tokens or 0) > (
        first.usage.input_tokens + (first.usage.cache_read_input_tokens or 0)
    )


def test_no_conversation_is_kept(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.BadRequestError, match="No conversation is kept here") as caught:
        client.beta.messages.create(model=HELLO, max_tokens=2, messages=HI, thread={"type": "create"})
    body = caught.value.body
    assert isinstance(body, dict)
    assert body["error"]["details"] == {"error_code": "thread_unsupported_request"}
    with pytest.raises(anthropic.BadRequestError, match="does not support thinking") as caught:
        client.beta.messages.create(
            model=HELLO, max_tokens=2000, messages=HI, thinking={"type": "enabled", "budget_tokens": 1024}
        )
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["error"].keys() == {"type", "message"}
