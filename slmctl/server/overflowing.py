"""Prompts that are too long: found out by the engine's refusal, and cut where that was asked for."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from runtimes.errors import EngineRefused
from slmctl.server.chatting import answered
from slmctl.server.checks import Checked
from slmctl.server.cut import AnswerEvent
from slmctl.server.problems import PromptTooLong
from slmctl.server.prompting import messages_of
from slmctl.server.scheduler import Served


async def chat(served: Served, checked: Checked) -> AsyncGenerator[AnswerEvent]:
    """Answer the whole conversation, or the end of it that fits."""
    messages = messages_of(served, checked.ask)
    try:
        async with aclosing(answered(served, checked, messages)) as events:
            async for event in events:
                yield event
    except EngineRefused as error:
        if not error.is_too_long:
            raise
        raise too_long(served, error) from None


def too_long(served: Served, error: EngineRefused) -> PromptTooLong:
    context = error.context or served.about.context_length
    return PromptTooLong(
        f"The prompt has {error.prompt_tokens or 'more'} tokens, and the context {context}.",
        tokens=error.prompt_tokens,
        context=context,
    )
