"""What is told of a prompt that was too long."""

from __future__ import annotations

from dataclasses import dataclass

from runtimes.protocol import Event


@dataclass(frozen=True, slots=True)
class Cut:
    """The prompt was too long: so many messages, or tokens, were left out at its beginning. Comes first."""

    messages: int
    tokens: int


AnswerEvent = Event | Cut
