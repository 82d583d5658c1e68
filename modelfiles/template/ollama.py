"""A chat as the prompt that Ollama's rules for Go templates make of it.

There are two kinds of templates. One that reads `.Messages` is rendered once and gets the whole chat. An
older one knows `.System`, `.Prompt` and `.Response` and is rendered once for each turn; the last rendering
ends at `.Response`, where the model goes on. A template that reads neither `.Messages` nor `.Response` gets
`.Response` at its end. With a suffix (fill in the middle) the template gets `.Prompt` and `.Suffix` alone.

Where Ollama fails this goes on: in the last rendering of an older template the functions of Ollama and the
templates that it defines are still known, `.Response` may stand in a branch that has an `else`, and
`{{template "name"}}` needs no value. The marks for images, [img-0], are put in by whoever holds the images.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from modelfiles.template.go import nodes
from modelfiles.template.go.evaluate import MissingKey, evaluate
from modelfiles.template.go.meter import Limits
from modelfiles.template.go.parser import parse
from modelfiles.template.go.strings import clean
from modelfiles.template.go.values import Value
from modelfiles.template.ollama_functions import NAMES, functions
from modelfiles.template.records import Json, Message, message_record, tools_value
from modelfiles.template.response import cut_after_response, identifiers

_RESPONSE = nodes.Action(0, nodes.Pipe(0, (), False, (nodes.Command(0, (nodes.Field(0, ("Response",)),)),)))


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """A template that parsed. `variables` are the names of fields and variables it reads, in lower case."""

    source: str
    parsed: nodes.Template
    variables: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """What is to be rendered.

    `system` comes first where the messages do not begin with a system message. `prompt` counts together with
    `suffix` only: without one it belongs into the messages. `think` is None where the user did not say.
    """

    messages: Sequence[Message] = ()
    tools: Sequence[Json] = ()
    system: str = ""
    prompt: str = ""
    suffix: str = ""
    think: bool | str | None = None


def parse_template(source: str) -> ChatTemplate:
    """Raises TemplateError."""
    parsed = parse(source, NAMES)
    variables = frozenset(name.lower() for name in identifiers(parsed))
    if not variables & {"messages", "response"}:
        main = (*parsed.main, replace(_RESPONSE, at=len(parsed.source)))
        parsed = nodes.Template(parsed.source, {**parsed.bodies, "": main})
        variables |= {"response"}
    return ChatTemplate(source, parsed, variables)


def render(template: ChatTemplate, chat: Chat, *, today: dt.date, limits: Limits | None = None) -> str:
    """The prompt. `today` is what currentDate gives; `limits` hold for each rendering.

    Raises TemplateError, and UsageError for tools that are none.
    """
    return _Rendering(template, chat, today, limits or Limits()).prompt()


def collate(messages: Sequence[Message]) -> tuple[str, list[Message]]:
    """All system texts as one, and the messages, neighbours of one role put together (but not tools')."""
    collated: list[Message] = []
    for message in messages:
        last = collated[-1] if collated else None
        if last is not None and last.role == message.role != "tool":
            collated[-1] = replace(last, content=f"{last.content}\n\n{message.content}")
        else:
            collated.append(message)
    system = "\n\n".join(message.content for message in messages if message.role == "system")
    return system, collated


class _Rendering:
    def __init__(self, template: ChatTemplate, chat: Chat, today: dt.date, limits: Limits) -> None:
        self._template = template
        self._chat = chat
        self._functions = functions(today)
        self._limits = limits

    def prompt(self) -> str:
        chat = self._chat
        messages = [replace(message, role=message.role.lower()) for message in chat.messages]
        if chat.system and not (messages and messages[0].role == "system"):
            messages.insert(0, Message(role="system", content=chat.system))
        if chat.prompt and chat.suffix:
            text = self._run({"Prompt": clean(chat.prompt), "Suffix": clean(chat.suffix), "Response": ""})
        elif "messages" in self._template.variables:
            system, messages = collate(messages)
            text = self._run(
                {
                    "System": clean(system),
                    "Messages": [message_record(message) for message in messages],
                    "Tools": tools_value(chat.tools),
                    "Response": "",
                }
            )
        else:
            text = self._turns(collate(messages)[1])
        return clean(text)  # what is not UTF-8 becomes U+FFFD on its way to the engine, as in Ollama

    def _turns(self, messages: Sequence[Message]) -> str:
        """A template without `.Messages`: once for each turn, the last time up to `.Response`."""
        parts: list[str] = []
        turn = {"System": "", "Prompt": "", "Response": ""}
        for message in messages:
            if message.role == "system":
                if turn["Prompt"] or turn["Response"]:
                    parts.append(self._run(turn))
                    turn = dict.fromkeys(turn, "")
                turn["System"] = clean(message.content)
            elif message.role == "user":
                if turn["Response"]:
                    parts.append(self._run(turn))
                    turn = dict.fromkeys(turn, "")
                turn["Prompt"] = clean(message.content)
            elif message.role == "assistant":
                turn["Response"] = clean(message.content)
        last = cut_after_response(self._template.parsed)
        return "".join(parts) + self._run(turn, last, MissingKey.INVALID)

    def _run(
        self,
        variables: Mapping[str, Value],
        template: nodes.Template | None = None,
        missing_key: MissingKey = MissingKey.ZERO,
    ) -> str:
        think = self._chat.think
        level = think if isinstance(think, str) else "medium" if think else ""  # as Ollama takes a bare true
        return evaluate(
            template or self._template.parsed,
            {**variables, "Think": bool(think), "ThinkLevel": clean(level), "IsThinkSet": think is not None},
            self._functions,
            limits=self._limits,
            missing_key=missing_key,
        )
