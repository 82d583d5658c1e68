"""From an ask to a stream of events, for every API alike.

    check (capabilities, schema, grammar) -> prompt (the engine's template, or ours in a child) -> engine
        -> thoughts and tool calls taken out -> structured output validated -> events

Generators close what is below them: iterate them inside `aclosing`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

from runtimes.protocol import Event
from slmctl.app.asks import ChatAsk, CompletionAsk, EmbedAsk, Embedded, RankAsk, Ranked
from slmctl.server.scheduler import Served


@dataclass(frozen=True, slots=True)
class Cut:
    """The prompt was too long: so many messages, or tokens, were left out at its beginning. Comes first."""

    messages: int
    tokens: int


AnswerEvent = Event | Cut


def chat(served: Served, ask: ChatAsk) -> AsyncGenerator[AnswerEvent]:
    """Answer a conversation; the last event is `Finished`, whose reason is "tool_calls" after tool calls.

    A tool call comes whole or in pieces (`ToolCallDelta`). Structured output comes only once it is known to
    be what was asked for.

    Raises NotSupported for what this model or engine cannot do, PromptTooLong, UsageError for a schema or
    grammar that is not let in, SchemaNotMet, and as `EngineClient.stream`.
    """
    raise NotImplementedError


def complete(served: Served, ask: CompletionAsk) -> AsyncGenerator[AnswerEvent]:
    """Continue a text. Raises as `chat`."""
    raise NotImplementedError


async def prompt_of(served: Served, ask: ChatAsk) -> str:
    """The text that the model would see. Raises as `chat`."""
    raise NotImplementedError


async def embed(served: Served, ask: EmbedAsk) -> Embedded:
    """Raises NotSupported, PromptTooLong, and as `EngineClient.body`."""
    raise NotImplementedError


async def rank(served: Served, ask: RankAsk) -> Ranked:
    """Raises NotSupported, PromptTooLong, and as `EngineClient.body`."""
    raise NotImplementedError


async def tokenize(served: Served, text: str, *, add_special: bool = False) -> Sequence[int]:
    raise NotImplementedError


async def detokenize(served: Served, tokens: Sequence[int]) -> str:
    raise NotImplementedError
