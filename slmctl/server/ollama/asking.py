"""What generate, chat and embed have in common: the model, how it is loaded, and how it is to answer."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal

from modelfiles.spec import ParameterValue
from registry.errors import InvalidReference, NotFound, SlmctlError, UsageError
from runtimes.protocol import Think
from slmctl.app.asks import Schema
from slmctl.server.call import Call
from slmctl.server.ollama.fields import Fields, keep_seconds, model_name, options_of, schema_of, think_of
from slmctl.server.ollama.names import is_here
from slmctl.server.problems import NotSupported
from slmctl.server.scheduler import Served, Want
from slmctl.server.telling import begin

MOST_ALTERNATIVES = 20

Kind = Literal["generate", "chat", "embed"]
"""What is asked for, in Ollama's words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Which model, under the name that the client wrote, and how it is to answer."""

    name: str
    parameters: Mapping[str, ParameterValue]
    keep_seconds: float | None
    stream: bool = True
    schema: Schema | None = None
    think: Think | None = None
    truncate: bool = True
    top_logprobs: int | None = None
    renders_only: bool = False

    @property
    def unloads(self) -> bool:
        """Whether a request without a question asks for the model to leave."""
        return self.keep_seconds == 0


def asked_of(call: Call, fields: Fields) -> Asked:
    """Raises UsageError, in Ollama's words where it has some."""
    name = model_name(fields)
    if fields.flag("shift"):
        raise UsageError(
            "shift is not supported: a prompt that fills the context ends the answer.",
            hint="Leave it out, or ask for a larger context with the option num_ctx.",
        )
    return Asked(
        name=name,
        parameters=options(call, fields),
        keep_seconds=keep_seconds(fields.value("keep_alive")),
        stream=fields.flag("stream", default=True),
        schema=schema_of(fields.value("format")),
        think=think_of(fields.value("think")),
        truncate=fields.flag("truncate", default=True),
        top_logprobs=_top_logprobs(fields),
        renders_only=fields.flag("_debug_render_only"),
    )


def options(call: Call, fields: Fields) -> dict[str, ParameterValue]:
    """The options; what Ollama does not know is passed over with a line in the log."""
    unknown: list[str] = []
    found = options_of(fields.mapping("options"), unknown.append)
    if unknown:
        shown = ", ".join(f"{name:.40}" for name in unknown[:10])
        call.state.log.note(call, f"Options that are not known are passed over: {shown!r}.")
    return found


def _top_logprobs(fields: Fields) -> int | None:
    wanted = fields.whole("top_logprobs") or 0
    if not 0 <= wanted <= MOST_ALTERNATIVES:
        raise UsageError(f"top_logprobs must be between 0 and {MOST_ALTERNATIVES}")
    return wanted if fields.flag("logprobs") else None


@asynccontextmanager
async def served(call: Call, asked: Asked, kind: Kind) -> AsyncGenerator[Served]:
    """The model, loaded. Raises in Ollama's words where there is none, or it is of another kind, and else as
    `Scheduler.use`."""
    is_served = False
    try:
        async with call.state.scheduler.use(_want(call, asked, kind)) as found:
            is_served = True
            begin(call, found)
            yield found
    except (NotFound, InvalidReference, NotSupported) as error:
        if is_served:
            raise
        raise _reworded(call, asked.name, kind, error) from None


async def load(call: Call, asked: Asked, kind: Kind) -> None:
    """Have the model loaded, without asking it anything. Raises as `served`."""
    try:
        about = await call.state.scheduler.load(_want(call, asked, kind))
    except (NotFound, InvalidReference, NotSupported) as error:
        raise _reworded(call, asked.name, kind, error) from None
    call.told.model, call.told.digest = about.name, str(about.digest)
    call.told.load_seconds = about.load_seconds


def _want(call: Call, asked: Asked, kind: Kind) -> Want:
    return Want(
        name=asked.name,
        purpose="embedding" if kind == "embed" else "text",
        parameters=asked.parameters,
        keep_seconds=asked.keep_seconds,
        principal=call.principal,
    )


async def unload(call: Call, asked: Asked) -> None:
    """Have the model leave when its last answer has ended. Raises NotFound where there is none."""
    if not is_here(call.state, asked.name):
        raise missing(asked.name)
    await call.state.scheduler.unload(asked.name)


def _reworded(call: Call, name: str, kind: Kind, error: SlmctlError) -> SlmctlError:
    """What kept a model from being served, in Ollama's words where it has some."""
    if isinstance(error, NotSupported):
        return NotSupported(f'"{name:.300}" does not support {kind}')
    return error if is_here(call.state, name) else missing(name)


def missing(name: str) -> NotFound:
    """As generate, chat and embed say it."""
    return NotFound(f'model "{name:.300}" not found, try pulling it first')


def check_can(served: Served, name: str, *wanted: str) -> None:
    """Raise NotSupported, in Ollama's words, for what the model cannot do."""
    for capability in wanted:
        if capability not in served.capabilities:
            raise NotSupported(f'"{name:.300}" does not support {capability}')
