"""What is left out of a conversation, or of tokens, that is longer than a context.

The oldest goes first. System messages stay, and the end: a call of tools stays with its results, and what
stays begins with the user, since many templates demand that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from slmctl.app.questions import Messages

USUAL_KEEP = 4
"""Ollama's num_keep: so many tokens stay at the beginning."""


@dataclass(frozen=True, slots=True)
class Rest:
    """What stays of a conversation when `dropped` messages go."""

    dropped: int
    messages: Messages


def rests(messages: Messages) -> list[Rest]:
    """What may stay, the most first, the least last."""
    begins = _beginnings(messages)
    found = []
    for begin in begins:
        kept = [message for at, message in enumerate(messages) if at >= begin or _is_system(message)]
        if len(kept) < len(messages):
            found.append(Rest(len(messages) - len(kept), kept))
    return found


def room_for_answer(context: int, num_predict: int | None) -> int:
    """How many tokens are left free when a prompt is cut: the answer's, up to a quarter of the context.

    The engine does not shift its context, as Ollama's did: a prompt that fills it leaves no answer.
    """
    wanted = num_predict if num_predict is not None and num_predict > 0 else context
    return max(1, min(wanted, context // 4))


def cut_tokens(tokens: Sequence[int], most: int, keep: int | None) -> tuple[int, ...]:
    """`most` of the tokens: the first `keep` and the last."""
    first = min(USUAL_KEEP if keep is None else len(tokens) if keep < 0 else keep, most - 1)
    return (*tokens[:first], *tokens[len(tokens) - (most - first) :])


def longest_text(messages: Messages) -> int | None:
    """Where the longest text stands among the messages that are no system messages; None without any."""
    sizes = {
        at: len(content)
        for at, message in enumerate(messages)
        if isinstance(content := message.get("content"), str) and content and not _is_system(message)
    }
    return max(sizes, key=lambda at: (sizes[at], at), default=None)


def with_text(messages: Messages, at: int, text: str) -> Messages:
    """The same with another text in message number `at`."""
    return [*messages[:at], {**messages[at], "content": text}, *messages[at + 1 :]]


def _beginnings(messages: Messages) -> list[int]:
    """Where what stays may begin: at each message of the user, and at what the end is made of."""
    last = len(messages) - 1
    while last > 0 and _role(messages[last]) == "tool":
        last -= 1  # to the message that called
    users = [at for at, message in enumerate(messages) if at <= last and _role(message) == "user"]
    return users if users and users[-1] == last else [*users, last]


def _is_system(message: Mapping[str, object]) -> bool:
    return _role(message) in ("system", "developer")


def _role(message: Mapping[str, object]) -> object:
    return message.get("role")
