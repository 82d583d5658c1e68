"""What a conversation becomes before a model sees it, whichever transport brings it there.

a TEMPLATE (Go's) of the author   slmctl renders it, and the engine continues the text
a chat template in Jinja          the engine renders it, and takes thoughts and tool calls out
neither                           the system message and the last message, as plain text
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from modelfiles.builtin import PARSERS, known_renderer
from modelfiles.spec import Message, ModelSpec
from slmctl.app.formats import jinja_format

Messages = Sequence[Mapping[str, object]]
"""A conversation in OpenAI's shape: role and content."""


@dataclass(frozen=True, slots=True)
class Manner:
    """Whose template makes a model's prompts.

    `go_template` is the author's, where it counts. `chat_template` is the text that counts, the same or the
    Jinja that the engine has; None where there is none, and where it is too large to be held.
    """

    go_template: str | None
    chat_template: str | None
    has_chat_template: bool

    @classmethod
    def of(cls, spec: ModelSpec, chat_template: str | None, has_chat_template: bool) -> Manner:
        """From the spec, and what the files say: RENDERER comes first, then TEMPLATE, then the files."""
        renderer = known_renderer(spec.renderer)
        go_template = None if renderer else spec.template
        authored = jinja_format(renderer) if renderer else go_template
        return cls(
            go_template,
            chat_template if authored is None else authored,
            has_chat_template or authored is not None,
        )


def parses_thoughts(spec: ModelSpec) -> bool:
    """Whether PARSER names the marks of thoughts; else the engine knows them by the chat template."""
    return spec.parser in PARSERS


def conversation(system: str | None, *turns: tuple[str, str], opening: Sequence[Message] = ()) -> Messages:
    """Messages: the system message, where there is one, the author's `opening`, and (role, content) pairs."""
    authored = [(message.role, message.content) for message in opening]
    first = [("system", system)] if system else []
    return [{"role": role, "content": content} for role, content in (*first, *authored, *turns)]


def opened(spec: ModelSpec, messages: Messages, system: str | None) -> Messages:
    """The messages behind the system message (`system`, else theirs, else the author's) and the opening."""
    first: Messages
    rest = list(messages)
    if system is None and rest and rest[0].get("role") == "system":
        first = [rest.pop(0), *conversation(None, opening=spec.messages)]
    else:
        first = conversation(spec.system if system is None else system, opening=spec.messages)
    return [*first, *rest]


def plain_text(messages: Messages) -> str:
    """What a model without a template gets: the system messages and the last message."""
    texts = [text_in(message) for message in messages if message.get("role") == "system"]
    last = text_in(messages[-1]) if messages else ""
    return "\n\n".join((*texts, last))


def text_in(message: Mapping[str, object]) -> str:
    """The text of a message's content, which may stand in parts."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list | tuple) else ()
    return "\n".join(
        str(part.get("text") or "") for part in parts if isinstance(part, Mapping) and "text" in part
    )


def in_plain_text(messages: Messages) -> Messages:
    """The same with each content as a text, for templates that know no parts."""
    return [
        message if isinstance(message.get("content"), str) else {**message, "content": text_in(message)}
        for message in messages
    ]


def may_begin_twice(tokens: Sequence[int]) -> bool:
    """Whether `tokens`, the engine's own first one before them, may begin with the same token twice."""
    return tokens[:1] == tokens[1:2]
