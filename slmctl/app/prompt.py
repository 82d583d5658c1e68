"""Prompts from templates that nobody here has looked at: rendered in a child process, within limits.

A template is a program. Jinja's sandbox keeps it from the interpreter's inside, and nothing keeps it from
looping, recursing or filling the memory; so it gets a process of its own (`slmctl.app.render_child`) and
every way in which that can end becomes a text or one TemplateError.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import IO

from modelfiles.template.errors import TemplateError, TemplateRefusal
from registry.errors import OperationFailed
from runtimes.environment import worker_environment

_HOME = Path(__file__).parents[2]
_PROGRAM = "import sys; sys.path.append(sys.argv[1]); from slmctl.app.render_child import main; main()"

_PIECE_BYTES = 65536
_HINT = "The template may be broken, or hostile; TEMPLATE in a Modelfile replaces it."
_RESERVED = frozenset(
    {"messages", "tools", "documents", "add_generation_prompt", "now", "bos_token", "eos_token"}
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RenderLimits:
    """What a template may take.

    `computing_seconds` is processor time, so that a busy machine fails no honest template; `deadline_seconds`
    is by the clock, from the start of the child. `memory_bytes` is the address space beyond what the child
    needs for itself. `output_bytes` bounds the answer as JSON in UTF-8: the caller's own memory stays within
    nine times of that. `template_characters` bounds the template's text.
    """

    computing_seconds: float = 0.4
    deadline_seconds: float = 5.0
    memory_bytes: int = 192 * 2**20
    output_bytes: int = 4 * 2**20
    template_characters: int = 2**20


DEFAULT_LIMITS = RenderLimits()


def render_outside(
    template: str,
    messages: Sequence[Mapping[str, object]],
    *,
    syntax: str = "jinja",
    tools: Sequence[Mapping[str, object]] = (),
    documents: Sequence[Mapping[str, object]] = (),
    add_generation_prompt: bool = True,
    now: datetime,
    bos_token: str | None = None,
    eos_token: str | None = None,
    variables: Mapping[str, object] | None = None,
    environment: Mapping[str, str],
    limits: RenderLimits = DEFAULT_LIMITS,
) -> str:
    """`modelfiles.template.jinja.render` in a child process; `variables` are the further ones.

    With `syntax` "go" it is `modelfiles.template.ollama.render`; its variables are prompt, suffix, think.

    `environment` is slmctl's own, of which the child gets what workers get. Blocking, thread-safe, and leaves
    no process behind, also when it is interrupted.

    Raises TemplateError however the template fails (TemplateRefusal by its own will), OperationFailed when no
    process can be started.
    """
    variables = dict(variables or {})
    if syntax not in SYNTAXES:
        raise TemplateError(f"slmctl renders no {syntax} templates.")
    if reserved := sorted(_RESERVED & variables.keys()):
        raise TemplateError(f"A template variable cannot be named {reserved[0]}: that is given already.")
    if len(template) > limits.template_characters:
        raise TemplateError(
            f"The template is longer than {limits.template_characters:,} characters.", hint=_HINT
        )
    document = _encoded(
        {
            "syntax": syntax,
            "template": template,
            "messages": list(messages),
            "tools": list(tools),
            "documents": list(documents),
            "add_generation_prompt": add_generation_prompt,
            "now": now.isoformat(),
            "bos_token": bos_token,
            "eos_token": eos_token,
            "variables": variables,
            "limits": {
                "output_bytes": limits.output_bytes,
                "memory_bytes": limits.memory_bytes,
                "computing_seconds": limits.computing_seconds,
            },
        }
    )
    said, status = _ask_child(document, worker_environment(environment), limits)
    return _text(said, status, limits)


SYNTAXES = frozenset({"go", "jinja"})


def _encoded(document: Mapping[str, object]) -> bytes:
    try:
        return json.dumps(document).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise TemplateError(f"The conversation cannot be given to a template: {error}.") from None


def _ask_child(
    document: bytes, environment: Mapping[str, str], limits: RenderLimits
) -> tuple[bytearray, int | None]:
    """What the child said, and its status; a status of None means that its time was over."""
    deadline = time.monotonic() + limits.deadline_seconds
    try:
        child = subprocess.Popen(
            [sys.executable, "-P", "-c", _PROGRAM, str(_HOME)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=dict(environment),
            cwd="/",
            start_new_session=True,
            bufsize=0,
        )
    except OSError as error:
        raise OperationFailed(f"No process for the template can be started: {error.strerror}.") from None
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        said = _converse(child.stdin, child.stdout, document, limits.output_bytes, deadline)
        if len(said) > limits.output_bytes:
            return said, 0
        return said, child.wait(max(0.0, deadline - time.monotonic()))
    except (TimeoutError, subprocess.TimeoutExpired):
        return bytearray(), None
    finally:
        if child.returncode is None:  # not reaped yet, so the number is still its own
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        with contextlib.suppress(BrokenPipeError):
            child.stdin.close()
        child.stdout.close()


def _converse(
    stdin: IO[bytes], stdout: IO[bytes], document: bytes, limit_bytes: int, deadline: float
) -> bytearray:
    """Write `document`, and read to the end or one byte past the limit. Raises TimeoutError."""
    said = bytearray()
    rest = memoryview(document)
    os.set_blocking(stdin.fileno(), False)
    with selectors.DefaultSelector() as selector:
        selector.register(stdin, selectors.EVENT_WRITE)
        selector.register(stdout, selectors.EVENT_READ)
        while True:
            ready = selector.select(max(0.0, deadline - time.monotonic()))
            if not ready and time.monotonic() >= deadline:
                raise TimeoutError
            for key, _ in ready:
                if key.fileobj is stdout:
                    piece = os.read(stdout.fileno(), min(_PIECE_BYTES, limit_bytes + 1 - len(said)))
                    said += piece
                    if not piece or len(said) > limit_bytes:
                        return said
                    continue
                try:
                    rest = rest[os.write(stdin.fileno(), rest) :]
                except BrokenPipeError:
                    rest = rest[:0]
                if not rest:
                    selector.unregister(stdin)
                    stdin.close()


def _text(said: bytearray, status: int | None, limits: RenderLimits) -> str:
    """The answer, or what its absence means."""
    if status is None:
        raise TemplateError(
            f"The template was not rendered within {limits.deadline_seconds:g} seconds.", hint=_HINT
        )
    if status in (-signal.SIGPROF, -signal.SIGXCPU):
        raise TemplateError(
            f"The template computes for more than {limits.computing_seconds:g} seconds.", hint=_HINT
        )
    if status < 0:
        name = signal.Signals(-status).name
        raise TemplateError(f"The process that rendered the template was ended by {name}.", hint=_HINT)
    if len(said) > limits.output_bytes:
        raise TemplateError(f"The template writes more than {limits.output_bytes // 2**20} MiB.", hint=_HINT)
    if status > 0:
        raise TemplateError(
            f"The process that rendered the template failed with status {status}.", hint=_HINT
        )
    try:
        answer = json.loads(said)
    except (ValueError, RecursionError):
        answer = None
    match answer:
        case {"text": str(text)}:
            return text
        case {"error": {"message": str(message), **details}}:
            hint, line, column = (details.get(key) for key in ("hint", "line", "column"))
            kind = TemplateRefusal if details.get("refused") is True else TemplateError
            raise kind(
                message,
                hint=hint if isinstance(hint, str) else None,
                line=line if isinstance(line, int) else None,
                column=column if isinstance(column, int) else None,
            )
        case _:
            raise TemplateError("The process that rendered the template answered with nonsense.", hint=_HINT)
