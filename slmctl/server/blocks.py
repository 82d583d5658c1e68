"""The blocks of an answer: a row of pieces in, the beginning, growing and end of blocks out.

Anthropic's messages are lists of blocks (text, thinking, tool_use), OpenAI's responses of items (message,
reasoning, function_call). Which piece of an engine's answer belongs to which is the same question for both.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from runtimes.errors import EngineSpokeNonsense
from runtimes.protocol import TextDelta, ThinkingDelta, TokenLogprob, ToolCallDelta

Kind = Literal["text", "thinking", "call"]


@dataclass(slots=True)
class Block:
    """One block, which grows. A call's text is its arguments as JSON; `call_id` is "" where the engine gave
    none."""

    index: int
    kind: Kind
    call_id: str = ""
    name: str = ""
    pieces: list[str] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    def arguments(self) -> Mapping[str, object]:
        """What a call calls with. Raises EngineSpokeNonsense where that is no JSON object."""
        try:
            value = json.loads(self.text or "{}")
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise EngineSpokeNonsense("The engine called a tool with something that is no JSON object.")
        return value

    @property
    def is_whole(self) -> bool:
        """Whether it is no call that was cut off in the middle."""
        try:
            return self.kind != "call" or self.arguments() is not None
        except EngineSpokeNonsense:
            return False


@dataclass(frozen=True, slots=True)
class Began:
    block: Block


@dataclass(frozen=True, slots=True)
class Grew:
    block: Block
    piece: str
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class Ended:
    block: Block


Change = Began | Grew | Ended


class Blocks:
    """Which block each piece of an answer belongs to. With `hide_thoughts` those stay empty."""

    def __init__(self, *, hide_thoughts: bool = False) -> None:
        self._hide_thoughts = hide_thoughts
        self._open: Block | None = None
        self._call: int | None = None
        self.all: list[Block] = []

    def take(self, piece: object) -> Iterator[Change]:
        """What `piece` changes; anything but text, thoughts and calls changes nothing."""
        match piece:
            case TextDelta():
                yield from self._grow("text", piece.text, piece.logprobs)
            case ThinkingDelta():
                yield from self._grow("thinking", piece.text, ())
            case ToolCallDelta():
                if self._open is None or self._open.kind != "call" or piece.index != self._call:
                    self._call = piece.index
                    yield from self._begin("call", piece.id or "", piece.name or "")
                yield from self._grow("call", piece.arguments, ())

    def end(self) -> Iterator[Change]:
        if self._open is not None:
            yield Ended(self._open)
            self._open = None

    def _grow(self, kind: Kind, text: str, logprobs: tuple[TokenLogprob, ...]) -> Iterator[Change]:
        if not text and not logprobs:
            return
        if self._open is None or self._open.kind != kind:
            yield from self._begin(kind)
        assert self._open is not None
        if kind == "thinking" and self._hide_thoughts:
            return
        self._open.pieces.append(text)
        self._open.logprobs.extend(logprobs)
        yield Grew(self._open, text, logprobs)

    def _begin(self, kind: Kind, call_id: str = "", name: str = "") -> Iterator[Change]:
        yield from self.end()
        self._open = Block(index=len(self.all), kind=kind, call_id=call_id, name=name)
        self.all.append(self._open)
        yield Began(self._open)
