"""What the worker contract is about: requests to a worker, and the events of a streamed answer."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

from registry.errors import SlmctlError

StopReason = Literal["stop", "length", "tool_calls"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """A request to a worker. Its repr shows neither the key nor the prompt."""

    method: Literal["GET", "POST"]
    path: str
    headers: Mapping[str, str] = dataclasses.field(repr=False)
    body: bytes = dataclasses.field(repr=False)

    def with_key(self, key: str) -> HttpRequest:
        """The same request as the holder of the worker's key sends it."""
        return dataclasses.replace(self, headers={**self.headers, "Authorization": f"Bearer {key}"})


@dataclasses.dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token and the natural logarithm of its probability. `data` are the token's bytes, which may be a part
    of a character; `top` the likeliest tokens at its place, which may include it."""

    token: str
    logprob: float
    data: bytes | None = None
    top: tuple[TokenLogprob, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class TextDelta:
    """A piece of the answer. `logprobs`, where they were asked for, belong to the tokens since the last
    delta; with them the text may be empty, where a token is half of a character."""

    text: str
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class ThinkingDelta:
    """Text that a reasoning parser took out of the answer."""

    text: str
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A piece of tool call number `index`: `id` and `name` come with its first piece, `arguments` in many."""

    index: int
    id: str | None
    name: str | None
    arguments: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The end of an answer. `prompt_tokens` counts the whole prompt, `cached_tokens` what was cached of it.

    Durations are in seconds. `stopped_by` is the stop text that ended it. What the engine did not tell is
    None: of a chat it never tells the stop text.
    """

    reason: StopReason
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    generated_tokens: int | None = None
    prompt_seconds: float | None = None
    generation_seconds: float | None = None
    stopped_by: str | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far an answer is, where that was asked for; counts as in `Finished`. The first may come before any
    token. One that comes with a piece of the answer counts that piece in."""

    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    generated_tokens: int | None = None


Event = TextDelta | ThinkingDelta | ToolCallDelta | Finished | Progress


def joined(events: Iterable[Event]) -> Iterator[Event]:
    """The same events, texts that follow each other made one; those whose tokens are told apart stay apart.

    `events` are what is there already, so that nothing waits. What came before an error comes before it.
    """
    held: TextDelta | ThinkingDelta | None = None
    try:
        for event in events:
            if held is not None and type(event) is type(held) and not (held.logprobs or event.logprobs):
                held = type(held)(held.text + event.text)
                continue
            if held is not None:
                yield held
            held = event if isinstance(event, TextDelta | ThinkingDelta) else None
            if held is None:
                yield event
    except SlmctlError:
        if held is not None:
            yield held
        raise
    if held is not None:
        yield held
