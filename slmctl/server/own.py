"""What slmctl's own commands ask: `run`, `ps` and `stop` of the server's user (slmctl.app.server_client).

Not Ollama's API, which has no word for a variant, an engine or the cause of an error.
"""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Literal

from pydantic import Field
from starlette.responses import Response

from modelfiles.spec import ParameterValue, parse_parameter
from registry.errors import SlmctlError
from registry.names import parse_name
from slmctl.app.asks import ChatAsk, CompletionAsk
from slmctl.app.server_wire import (
    ANSWER,
    LOAD,
    MODELS,
    UNLOAD,
    ServedModel,
    error_to_json,
    event_to_json,
    seconds_of,
)
from slmctl.server import answering
from slmctl.server.answering import AnswerEvent, Cut
from slmctl.server.call import Call, Endpoint
from slmctl.server.parsing import Fields, bad_field, parse
from slmctl.server.scheduler import Served, Want
from slmctl.server.streams import answer, line, ndjson
from slmctl.server.telling import begin, told

Parameter = bool | int | float | list[str]

_LONGEST_SECONDS = 366 * 86400.0


class LoadFields(Fields):
    """`keep_seconds` below 0 is for ever."""

    name: str
    parameters: dict[str, Parameter] = Field(default_factory=dict)
    keep_seconds: float | None = Field(default=None, le=_LONGEST_SECONDS)


class Turn(Fields):
    role: Literal["system", "user", "assistant", "tool"]
    content: str


class AnswerFields(LoadFields):
    """A conversation with all that belongs into it, the author's messages too; or a text to continue."""

    messages: list[Turn] | None = None
    prompt: str = ""
    think: bool | Literal["low", "medium", "high", "max"] | None = None
    json_schema: dict[str, Any] | None = None


class UnloadFields(Fields):
    """Without a name, all."""

    name: str | None = None


async def load(call: Call) -> Response:
    """Have a model loaded, and say what it is."""
    try:
        asked = parse(LoadFields, await call.json())
        async with call.state.scheduler.use(_want(call, asked)) as served:
            begin(call, served)
            about = ServedModel(
                name=served.about.name,
                digest=served.about.digest,
                variant=served.about.variant,
                engine=served.about.engine,
                context_length=served.about.context_length,
                load_seconds=served.load_seconds,
                chat_template=served.chat_template,
                has_chat_template=served.has_chat_template,
            )
        return answer(call, about.to_json())
    except SlmctlError as error:
        return _refused(call, error)


async def answer_to(call: Call) -> Response:
    """Answer, as NDJSON of events."""
    try:
        asked = parse(AnswerFields, await call.json())
        return await ndjson(call, _answer(call, asked))
    except SlmctlError as error:
        return _refused(call, error)


async def models(call: Call) -> Response:
    """What is loaded."""
    rows = [dataclasses.asdict(each) for each in call.state.scheduler.status()]
    return answer(call, {"models": rows})


async def unload(call: Call) -> Response:
    """Have models leave when their last answers have ended."""
    try:
        asked = parse(UnloadFields, await call.json())
        loaded = sorted({each.name for each in call.state.scheduler.status()})
        names = loaded if asked.name is None else [_as_loaded(asked.name, loaded)]
        stopped = [name for name in names if await call.state.scheduler.unload(name)]
        return answer(call, {"stopped": stopped})
    except SlmctlError as error:
        return _refused(call, error)


def _as_loaded(name: str, loaded: Sequence[str]) -> str:
    """The name in the case that it has."""
    full = parse_name(name).full_name
    return next((each for each in loaded if each.casefold() == full.casefold()), full)


async def _answer(call: Call, asked: AnswerFields) -> AsyncGenerator[bytes]:
    has_begun = False
    try:
        async with call.state.scheduler.use(_want(call, asked)) as served:
            begin(call, served)
            async with aclosing(told(call, _events(served, asked))) as events:
                async for event in events:
                    said = None if isinstance(event, Cut) else event_to_json(event)
                    if said is not None:
                        yield line(said)
                        has_begun = True
    except SlmctlError as error:
        if not has_begun:
            raise
        call.state.log.failure(call, error)
        yield line(error_to_json(error))


def _events(served: Served, asked: AnswerFields) -> AsyncGenerator[AnswerEvent]:
    parameters = _parameters(asked.parameters)
    if asked.messages is None:
        continued = CompletionAsk(prompt=asked.prompt, parameters=parameters, schema=asked.json_schema)
        return answering.complete(served, continued)
    alone = dataclasses.replace(served.spec, system=None, messages=())  # they stand in the conversation
    ask = ChatAsk(
        messages=[{"role": turn.role, "content": turn.content} for turn in asked.messages],
        parameters=parameters,
        think=asked.think,
        schema=asked.json_schema,
    )
    return answering.chat(dataclasses.replace(served, spec=alone), ask)


def _want(call: Call, asked: LoadFields) -> Want:
    return Want(
        name=asked.name,
        parameters=_parameters(asked.parameters),
        keep_seconds=seconds_of(asked.keep_seconds),
        principal=call.principal,
    )


def _parameters(given: Mapping[str, Parameter]) -> dict[str, ParameterValue]:
    """Raises UsageError for what is no parameter, or no value of it."""
    parameters: dict[str, ParameterValue] = {}
    for name, value in given.items():
        if isinstance(value, list):
            texts = [parse_parameter(name, each) for each in value]
            if not all(isinstance(each, tuple) for each in texts):
                raise bad_field(f"parameters.{name}", "takes one value")
            parameters[name] = tuple(text for each in texts if isinstance(each, tuple) for text in each)
        else:
            parameters[name] = parse_parameter(name, str(value).lower())
    return parameters


def _refused(call: Call, error: SlmctlError) -> Response:
    """The error with all that the command line says of one."""
    problem = call.state.log.failure(call, error)
    return answer(call, error_to_json(error), status=problem.status)


ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        method="POST",
        path=LOAD,
        handler=load,
        scope="infer",
        family="plain",
        label="slmctl_load",
        about="Have a model loaded, for 'slmctl run'.",
        request_schema=LoadFields.model_json_schema(),
    ),
    Endpoint(
        method="POST",
        path=ANSWER,
        handler=answer_to,
        scope="infer",
        family="plain",
        label="slmctl_answer",
        about="Answer a conversation or continue a text, for 'slmctl run'.",
        request_schema=AnswerFields.model_json_schema(),
        streams="ndjson",
    ),
    Endpoint(
        method="GET",
        path=MODELS,
        handler=models,
        scope="read",
        family="plain",
        label="slmctl_ps",
        about="What is loaded, for 'slmctl ps'.",
    ),
    Endpoint(
        method="POST",
        path=UNLOAD,
        handler=unload,
        scope="manage",
        family="plain",
        label="slmctl_stop",
        about="Unload models, for 'slmctl stop'.",
        request_schema=UnloadFields.model_json_schema(),
    ),
)
