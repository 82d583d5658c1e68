"""Chat templates in Jinja, as Hugging Face Transformers defines them.

The environment is the one that "Writing a chat template" of the Transformers documentation describes
(https://huggingface.co/docs/transformers/chat_templating_writing): Jinja's immutable sandbox with trimmed
blocks, `tojson` without HTML escaping, `raise_exception`, `strftime_now`, loop controls and
`{% generation %}` blocks. A template sees `messages`, `tools`, `documents`, `add_generation_prompt`, the
special tokens and whatever else the caller names (`enable_thinking`, ...).

The sandbox keeps a template away from the interpreter, but it bounds neither time nor memory: what comes
from a stranger is rendered through `slmctl.app.prompt.render_outside`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any

import jinja2
import jinja2.exceptions
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import jinja2.sandbox
import jinja2.utils

from modelfiles.template.errors import TemplateError, TemplateRefusal
from modelfiles.words import printable

Messages = Sequence[Mapping[str, object]]

_CODE_NAME = "<template>"  # what Jinja calls the file of a template that came as text
_SHOWN_CHARACTERS = 300
_REASONING_NAMES = ("reasoning_content", "thinking", "reasoning")


def render(
    template: str,
    messages: Messages,
    /,
    *,
    tools: Sequence[Mapping[str, object]] = (),
    documents: Sequence[Mapping[str, object]] = (),
    add_generation_prompt: bool = True,
    now: datetime,
    bos_token: str | None = None,
    eos_token: str | None = None,
    **kwargs: object,
) -> str:
    """The prompt that `template` makes of `messages`; raises TemplateError.

    `tools` (JSON Schema function descriptions) and `documents` are None in the template where they are
    empty, and a token that is None is not defined there, as in Transformers. `now` is what `strftime_now`
    tells. `kwargs` are the template's further variables.
    """
    return "".join(
        pieces(
            template,
            messages,
            tools=tools,
            documents=documents,
            add_generation_prompt=add_generation_prompt,
            now=now,
            bos_token=bos_token,
            eos_token=eos_token,
            **kwargs,
        )
    )


def pieces(
    template: str,
    messages: Messages,
    /,
    *,
    tools: Sequence[Mapping[str, object]] = (),
    documents: Sequence[Mapping[str, object]] = (),
    add_generation_prompt: bool = True,
    now: datetime,
    bos_token: str | None = None,
    eos_token: str | None = None,
    **kwargs: object,
) -> Iterator[str]:
    """`render`, piece by piece as the template writes it: a caller can stop where it has enough."""
    tokens = {"bos_token": bos_token, "eos_token": eos_token}
    variables = {
        **{name: token for name, token in tokens.items() if token is not None},
        **kwargs,
        "messages": [_with_reasoning(message) for message in messages],
        "tools": tools or None,
        "documents": documents or None,
        "add_generation_prompt": add_generation_prompt,
    }
    try:
        yield from _environment(now).from_string(template).generate(variables)
    except Exception as error:  # noqa: BLE001 - templates are programs, and fail in every way programs do
        raise _explained(error) from None


def _with_reasoning(message: Mapping[str, object]) -> Mapping[str, object]:
    """Templates read what a model thought under several names; Transformers fills the two usual ones."""
    for name in _REASONING_NAMES:
        if message.get(name) is not None:
            thought = message[name]
            return {"thinking": thought, **message, "reasoning_content": thought}
    return message


class _Refused(jinja2.TemplateError):
    """The template itself called `raise_exception`."""


class _GenerationBlock(jinja2.ext.Extension):
    """`{% generation %}` ... `{% endgeneration %}` marks what an assistant wrote; the text stays as it is."""

    tags = {"generation"}  # noqa: RUF012 - Jinja's own interface

    def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_written"), [], [], body).set_lineno(line)

    @staticmethod
    def _written(caller: Callable[[], str]) -> str:
        return caller()


class _Namespace(jinja2.utils.Namespace):
    """Jinja's, without names that begin with an underscore: Python gives some of them a meaning."""

    def __init__(*args: Any, **values: object) -> None:  # so that "self" can be a name in it
        self, *rest = args
        given = dict(*rest, **values)
        jinja2.utils.Namespace.__init__(self)
        for name, value in given.items():
            _Namespace.__setitem__(self, name, value)

    def __setitem__(self, name: str, value: object) -> None:
        if str(name).startswith("_"):
            raise jinja2.exceptions.SecurityError(f"a namespace holds no {name!r}")
        jinja2.utils.Namespace.__setitem__(self, name, value)


def _environment(now: datetime) -> jinja2.Environment:
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[_GenerationBlock, jinja2.ext.loopcontrols],
    )

    def strftime_now(format: str) -> str:  # noqa: A002 - the name that templates may use
        return now.strftime(format)

    environment.filters["tojson"] = _to_json
    environment.globals["namespace"] = _Namespace
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = strftime_now
    return environment


def _to_json(
    value: object,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _refuse(message: object) -> str:
    raise _Refused(str(message))


def _explained(error: Exception) -> TemplateError:
    """What went wrong inside of a template, in a sentence."""
    if isinstance(error, jinja2.TemplateSyntaxError):
        line: int | None = error.lineno
    else:
        line = _line_of(error.__traceback__)
    where = f" on line {line}" if line is not None else ""
    text = _text_of(error)[: 4 * _SHOWN_CHARACTERS]
    said = printable(" ".join(text.split()), limit=_SHOWN_CHARACTERS).rstrip(".")
    match error:
        case _Refused():
            return TemplateRefusal(f"The chat template refuses this conversation: {said}.", line=line)
        case jinja2.TemplateSyntaxError():
            sentence = f"The chat template has a mistake{where}: {said}."
        case jinja2.exceptions.SecurityError():
            sentence = f"The chat template reaches for what is closed to templates{where}: {said}."
        case jinja2.UndefinedError():
            sentence = f"The chat template uses what is not there{where}: {said}."
        case TypeError() if "no loader" in said:
            sentence = f"The chat template wants another file{where}, and has none."
        case RecursionError():
            sentence = f"The chat template is nested too deeply, or calls itself without end{where}."
        case MemoryError():
            sentence = f"The chat template needs more memory than it may have{where}."
        case _:
            sentence = f"The chat template fails{where}: {said} ({type(error).__name__})."
    return TemplateError(sentence, line=line)


def _text_of(error: Exception) -> str:
    if isinstance(error, jinja2.TemplateError):
        return error.message or "no reason given"
    return str(error) or "no reason given"


def _line_of(traceback: TracebackType | None) -> int | None:
    """The innermost line of the template; Jinja puts its lines in the place of the compiled code's."""
    line = None
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == _CODE_NAME:
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return line
