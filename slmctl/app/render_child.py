"""The child process in which templates from strangers are rendered: one document in, one document out.

`slmctl.app.prompt` starts it and reads what it says. Standard input is the document, to its end:

    {"syntax": "jinja" or "go", "template", "messages", "tools", "documents", "add_generation_prompt",
     "now" (ISO 8601), "bos_token", "eos_token", "variables": {...},
     "limits": {"output_bytes", "memory_bytes", "computing_seconds"}}

and standard output gets {"text"} or {"error": {"message", "hint", "line", "column", "refused"}}. A template
that computes for too long is ended by the kernel, without a word. When the limits are set everything is
imported, and no file can be opened any more: not even code that got out of the sandbox could read or write
one.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import math
import os
import resource
import signal
import sys
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from modelfiles.template import jinja, ollama
from modelfiles.template.errors import TemplateError, TemplateRefusal
from modelfiles.template.records import Message, ToolCall
from registry.errors import UsageError

Limits = Mapping[str, Any]

_OUT_OF_MEMORY = b'{"error": {"message": "The template needs more memory than it may have."}}'


def main() -> None:
    """Render the document of standard input. Runs in a process of its own, which it restricts for good."""
    document = json.load(sys.stdin.buffer)
    render = _RENDERERS[document["syntax"]]
    _warm_up()
    _restrict(document["limits"])
    try:
        answer = _encoded(_answer(render, document), document["limits"])
    except MemoryError:
        answer = _OUT_OF_MEMORY
    sys.stdout.buffer.write(answer)
    sys.stdout.buffer.flush()
    os._exit(0)  # what a template left behind is not worth tidying up, and may take long


def _answer(render: Callable[[Mapping[str, Any]], Iterator[str]], document: Mapping[str, Any]) -> object:
    limit = document["limits"]["output_bytes"]
    written = 0
    kept: list[str] = []
    try:
        for piece in render(document):
            written += len(piece)
            if written > limit:
                raise _too_long(limit)
            kept.append(piece)
    except TemplateError as error:
        return _refusal(error)
    except UsageError as error:  # of the conversation, not of the template
        return _refusal(TemplateError(error.message, hint=error.hint))
    return {"text": "".join(kept)}


def _encoded(answer: object, limits: Limits) -> bytes:
    try:
        encoded = json.dumps(answer, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        error = TemplateError("The template writes half of a surrogate pair, which is no text.")
        return json.dumps(_refusal(error)).encode()
    limit = limits["output_bytes"]
    if len(encoded) > limit:
        return json.dumps(_refusal(_too_long(limit))).encode()
    return encoded


def _too_long(limit: int) -> TemplateError:
    return TemplateError(f"The template writes more than {limit // 2**20} MiB.")


def _refusal(error: TemplateError) -> object:
    return {
        "error": {
            "message": error.message,
            "hint": error.hint,
            "line": error.line,
            "column": error.column,
            "refused": isinstance(error, TemplateRefusal),
        }
    }


def _jinja(document: Mapping[str, Any]) -> Iterator[str]:
    return jinja.pieces(
        document["template"],
        document["messages"],
        tools=document["tools"],
        documents=document["documents"],
        add_generation_prompt=document["add_generation_prompt"],
        now=datetime.fromisoformat(document["now"]),
        bos_token=document["bos_token"],
        eos_token=document["eos_token"],
        **document["variables"],
    )


def _go(document: Mapping[str, Any]) -> Iterator[str]:
    variables = document["variables"]
    chat = ollama.Chat(
        messages=[_message(message) for message in document["messages"]],
        tools=document["tools"],
        prompt=variables.get("prompt", ""),
        suffix=variables.get("suffix", ""),
        think=variables.get("think"),
    )
    today = datetime.fromisoformat(document["now"]).date()
    yield ollama.render(ollama.parse_template(document["template"]), chat, today=today)


def _message(message: Mapping[str, Any]) -> Message:
    """Ollama's message from OpenAI's, whose arguments of tool calls may be JSON text."""
    calls = []
    for index, call in enumerate(message.get("tool_calls") or ()):
        function = call.get("function") or {}
        arguments = function.get("arguments") or {}
        if isinstance(arguments, str):
            try:
                arguments = json.loads(arguments)
            except (ValueError, RecursionError):
                raise TemplateError("The arguments of a tool call are no JSON.") from None
        name = str(function.get("name") or "")
        calls.append(ToolCall(name=name, arguments=arguments, id=str(call.get("id") or ""), index=index))
    thought = message.get("thinking") or message.get("reasoning_content") or ""
    return Message(
        role=str(message.get("role") or ""),
        content=str(message.get("content") or ""),
        thinking=str(thought),
        tool_calls=tuple(calls),
        tool_name=str(message.get("tool_name") or message.get("name") or ""),
        tool_call_id=str(message.get("tool_call_id") or ""),
    )


_RENDERERS: Mapping[str, Callable[[Mapping[str, Any]], Iterator[str]]] = {"go": _go, "jinja": _jinja}


def _warm_up() -> None:
    """Have everything imported that Jinja and Python import when it is needed first."""
    unicodedata.name("a")
    for module in ("html", "jinja2.constants", "pprint", "textwrap"):
        importlib.import_module(module)
    jinja.render(r"{{ 'é\n' | tojson }}{{ strftime_now('%d %B') }}", [], now=_ANY_TIME)
    with contextlib.suppress(TemplateError):
        jinja.render("{{ 1 % 0 }}", [], now=_ANY_TIME)
    chat = ollama.Chat(messages=[Message(role="user", content="é")])
    ollama.render(ollama.parse_template('{{ printf "%q" .Prompt }}{{ currentDate }}'), chat, today=_ANY_TIME)


def _restrict(limits: Limits) -> None:
    """From here on: so much more memory and time, no files, no core dump.

    macOS does not enforce RLIMIT_AS; there only the time bounds the memory.
    """
    with contextlib.suppress(OSError, ValueError):
        _lower(resource.RLIMIT_AS, _mapped_bytes() + limits["memory_bytes"])
    for what in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE):
        _lower(what, 0)
    seconds = limits["computing_seconds"]
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    signal.setitimer(signal.ITIMER_PROF, seconds)  # the limit; the kernel's own counts in whole seconds
    used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    _lower(resource.RLIMIT_CPU, math.ceil(used + seconds) + 1)


def _lower(what: int, value: int) -> None:
    _, hard = resource.getrlimit(what)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(what, (value, value))


def _mapped_bytes() -> int:
    return int(_STATM.read_text().split()[0]) * resource.getpagesize() if _STATM.exists() else 0


_STATM = Path("/proc/self/statm")
_ANY_TIME = datetime(2000, 1, 1, tzinfo=UTC)
