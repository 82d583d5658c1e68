"""Prompts that are too long: found out by the engine's refusal, and cut where that was asked for."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from runtimes import protocol
from runtimes.errors import EngineRefused
from slmctl.app.asks import ChatAsk
from slmctl.app.overflow import longest_text, rests, room_for_answer, with_text
from slmctl.app.questions import Messages
from slmctl.server.chatting import answered
from slmctl.server.checks import Checked
from slmctl.server.cut import AnswerEvent, Cut
from slmctl.server.problems import PromptTooLong
from slmctl.server.prompting import count_of, messages_of, sampling_for, tokens_of
from slmctl.server.scheduler import Served

_TRIES = 4
_SPARE = 8  # tokens more than needed are left out: where a text is cut, its tokens become others


async def chat(served: Served, checked: Checked) -> AsyncGenerator[AnswerEvent]:
    """Answer the whole conversation, or the end of it that fits."""
    messages = messages_of(served, checked.ask)
    refused: EngineRefused | None = None
    try:
        async with aclosing(answered(served, checked, messages)) as events:
            async for event in events:
                yield event
    except EngineRefused as error:
        if not error.is_too_long:
            raise
        refused = error
    if refused is None:
        return
    if not checked.ask.truncate:
        raise too_long(served, refused)
    kept, cut = await _shortened(served, checked.ask, messages, refused)
    yield cut
    try:
        async with aclosing(answered(served, checked, kept)) as events:
            async for event in events:
                yield event
    except EngineRefused as error:
        if error.is_too_long:
            raise too_long(served, error) from None
        raise


def too_long(served: Served, error: EngineRefused) -> PromptTooLong:
    context = error.context or served.about.context_length
    return PromptTooLong(
        f"The prompt has {error.prompt_tokens or 'more'} tokens, and the context {context}.",
        tokens=error.prompt_tokens,
        context=context,
    )


async def _shortened(
    served: Served, ask: ChatAsk, messages: Messages, refused: EngineRefused
) -> tuple[Messages, Cut]:
    """The longest end of the conversation that fits; of a last message that is too long alone, the end.

    Raises PromptTooLong when not even that helps.
    """
    context = refused.context or served.about.context_length
    before = refused.prompt_tokens or await count_of(served, ask, messages)
    most = context - room_for_answer(context, sampling_for(served, ask.parameters).num_predict)
    choices = rests(messages)
    low, high = 0, len(choices)  # the first that fits lies from low to high; high is none
    counts: dict[int, int] = {}
    while low < high:
        middle = (low + high) // 2
        counts[middle] = await count_of(served, ask, choices[middle].messages)
        low, high = (low, middle) if counts[middle] <= most else (middle + 1, high)
    if low < len(choices):
        return choices[low].messages, Cut(choices[low].dropped, before - counts[low])
    kept = choices[-1].messages if choices else messages
    dropped = choices[-1].dropped if choices else 0
    now = counts.get(len(choices) - 1, before)
    if now >= context:
        kept, now = await _with_shorter_text(served, ask, kept, now, most, refused)
    return kept, Cut(dropped, before - now)


async def _with_shorter_text(
    served: Served, ask: ChatAsk, messages: Messages, now: int, most: int, refused: EngineRefused
) -> tuple[Messages, int]:
    """The end of the longest message's text, as much of it as fits."""
    for _ in range(_TRIES):
        at = longest_text(messages)
        if at is None:
            break
        tokens = await tokens_of(served, str(messages[at]["content"]))
        keep = len(tokens) - (now - most) - _SPARE
        if keep < 1:
            break
        request = protocol.detokenize_request(tokens[-keep:])
        text = protocol.parse_text(await served.engine.body(request))
        messages = with_text(messages, at, text)
        now = await count_of(served, ask, messages)
        if now <= most:
            return messages, now
    raise too_long(served, refused)
