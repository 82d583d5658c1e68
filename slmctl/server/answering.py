"""From an ask to a stream of events, for every API alike.

    check (capabilities, schema, grammar) -> prompt (the engine's template, or ours in a child) -> engine
        -> thoughts and tool calls taken out -> structured output validated -> events

Generators close what is below them: iterate them inside `aclosing`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from registry.errors import UsageError
from runtimes import protocol
from runtimes.errors import EngineRefused
from slmctl.app.ask_limits import check_tokens
from slmctl.app.asks import ChatAsk, CompletionAsk, EmbedAsk, Embedded, RankAsk, Ranked
from slmctl.server import overflowing, vectors
from slmctl.server.checks import check_chat, check_completion, vocabulary_of
from slmctl.server.completing import completed
from slmctl.server.cut import AnswerEvent, Cut
from slmctl.server.prompting import count_of, messages_of, text_of, tokens_of
from slmctl.server.scheduler import Served
from slmctl.server.shaping import validated

__all__ = [
    "AnswerEvent",
    "Cut",
    "chat",
    "complete",
    "count",
    "detokenize",
    "embed",
    "prompt_of",
    "rank",
    "tokenize",
]


async def chat(served: Served, ask: ChatAsk) -> AsyncGenerator[AnswerEvent]:
    """Answer a conversation; the last event is `Finished`, whose reason is "tool_calls" after tool calls.

    A tool call comes whole or in pieces (`ToolCallDelta`). Structured output comes only once it is known to
    be what was asked for; an answer that its limit of tokens has cut comes as it is, the reason is "length".

    Raises NotSupported for what this model or engine cannot do, PromptTooLong, UsageError for a schema or
    grammar that is not let in, SchemaNotMet, and as `EngineClient.stream`.
    """
    checked = await check_chat(served, ask)
    events = overflowing.chat(served, checked)
    async with aclosing(
        events if checked.structure is None else validated(events, checked.structure)
    ) as events:
        async for event in events:
            yield event


async def complete(served: Served, ask: CompletionAsk) -> AsyncGenerator[AnswerEvent]:
    """Continue a text. Raises as `chat`."""
    shape, structure = await check_completion(served, ask)
    events = completed(served, ask, shape)
    async with aclosing(events if structure is None else validated(events, structure)) as events:
        async for event in events:
            yield event


async def prompt_of(served: Served, ask: ChatAsk) -> str:
    """The text that the model would see. Raises as `chat`."""
    checked = await check_chat(served, ask)
    return await text_of(served, checked.ask, messages_of(served, ask))


async def count(served: Served, ask: ChatAsk) -> int:
    """How many tokens the prompt has, whether they fit or not. Raises as `chat`."""
    checked = await check_chat(served, ask)
    return await count_of(served, checked.ask, messages_of(served, ask))


async def embed(served: Served, ask: EmbedAsk) -> Embedded:
    """Raises NotSupported, PromptTooLong, UsageError, and as `EngineClient.body`."""
    return await vectors.embed(served, ask)


async def rank(served: Served, ask: RankAsk) -> Ranked:
    """Raises NotSupported, PromptTooLong, UsageError, and as `EngineClient.body`."""
    return await vectors.rank(served, ask)


async def tokenize(served: Served, text: str, *, add_special: bool = False) -> Sequence[int]:
    """The tokens of a text; `add_special` adds those that begin and end one."""
    return await tokens_of(served, text, add_special=add_special)


async def detokenize(served: Served, tokens: Sequence[int]) -> str:
    """The text of tokens. Raises UsageError for ids that the model has not."""
    if not tokens:
        return ""
    check_tokens(tokens, vocabulary_of(served))
    try:
        return protocol.parse_text(await served.engine.body(protocol.detokenize_request(tokens)))
    except EngineRefused:
        raise UsageError("A token id lies outside of the model's vocabulary.") from None
