"""What POST /v1/responses takes, and the ask that it becomes. Nothing is kept between requests."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Literal

from pydantic import Field

from runtimes.protocol import ANY_OBJECT, Think
from slmctl.app.asks import ChatAsk, NamedTool, Schema, ToolChoice
from slmctl.server.openai.chat_request import EFFORTS, MOST_TOOLS, Effort
from slmctl.server.openai.fields import HARMLESS as HARMLESS_EVERYWHERE
from slmctl.server.openai.fields import ModelFields, SampledFields, sampling_said, unsupported
from slmctl.server.openai.messages import ToolName
from slmctl.server.openai.responses_items import ITEM_TYPES, Item, messages_of
from slmctl.server.parsing import Fields, bad_field, parse

HARMLESS = (HARMLESS_EVERYWHERE - {"metadata"}) | {"max_tool_calls"}
"""Fields that ask for nothing that an answer could lack. Metadata is given back."""

CANNOT: Mapping[str, str] = {
    "access_programs": "There are no access programs here.",
    "background": "An answer is given at once or not at all: nothing runs in the background.",
    "background_options": "An answer is given at once or not at all: nothing runs in the background.",
    "context_management": "Nothing is compacted here: send what the model is to see.",
    "conversation": "No conversation is kept here: send all of it as 'input'.",
    "image": "Images are shown to the model as they are.",
    "moderation": "This server moderates nothing.",
    "previous_response_id": "No response is kept here: send the whole conversation as 'input'.",
    "prompt": "No prompts are kept here: send it as 'input' and 'instructions'.",
    "store": "No response is kept here: 'store' must be false.",
}
"""Fields of OpenAI's that nobody here can honour, refused unless they are null or false."""

NEUTRAL: Mapping[str, tuple[tuple[object, ...], str]] = {
    "service_tier": (
        ("auto", "default"),
        "There is one tier of service here: 'service_tier' may be 'auto' or 'default'.",
    ),
}
"""Fields that may only have a value that asks for nothing, and what is said of any other."""

MOST_PARTS = 10_000
"""Of content, in all items together: reading more would hold everybody up."""

LOGPROBS = "message.output_text.logprobs"
INCLUDABLE = (LOGPROBS, "reasoning.encrypted_content")
"""What `include` may name. Thoughts are always told, and as plain text: nothing of theirs is encrypted."""


class FunctionTool(Fields):
    """`strict` says the same as nothing: a call that has to come is held to the parameters' schema, and one
    that may come is the model's own, with whatever arguments."""

    type: Literal["function"]
    name: ToolName
    description: str | None = None
    parameters: dict[str, object] | None = None
    strict: bool | None = None


class NamedChoice(Fields):
    type: Literal["function"]
    name: ToolName


class AllowedChoice(Fields):
    """Only these of the tools may be called."""

    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: Annotated[list[NamedChoice], Field(min_length=1, max_length=MOST_TOOLS)]


class AsText(Fields):
    type: Literal["text"]


class AsObject(Fields):
    type: Literal["json_object"]


class AsSchema(Fields):
    """`strict` false is harmless: the answer is held to the schema all the same."""

    type: Literal["json_schema"]
    name: Annotated[str, Field(min_length=1, max_length=256)]
    description: str | None = None
    schema_: Annotated[dict[str, object], Field(alias="schema")]
    strict: bool | None = None


class TextFields(Fields):
    format: Annotated[AsText | AsObject | AsSchema, Field(discriminator="type")] | None = None
    verbosity: Literal["medium"] | None = None


class Reasoning(Fields):
    """With a `summary` thoughts are told as a summary, which they are not: all of them, as they are."""

    effort: Effort | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None
    generate_summary: Literal["auto", "concise", "detailed"] | None = None


class StreamOptions(Fields):
    """Nothing is obfuscated."""

    include_obfuscation: bool | None = None


class PromptFields(ModelFields):
    """What makes up the prompt."""

    input: str | Annotated[list[Item], Field(min_length=1, max_length=MOST_PARTS)]
    instructions: str | None = None
    tools: Annotated[list[FunctionTool], Field(max_length=MOST_TOOLS)] | None = None
    tool_choice: (
        Literal["auto", "none", "required"]
        | Annotated[NamedChoice | AllowedChoice, Field(discriminator="type")]
        | None
    ) = None
    parallel_tool_calls: bool | None = None
    reasoning: Reasoning | None = None
    text: TextFields | None = None
    truncation: Literal["auto", "disabled"] | None = None


class CountRequest(PromptFields):
    """POST /v1/responses/input_tokens"""


class ResponseRequest(PromptFields, SampledFields):
    """POST /v1/responses"""

    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_output_tokens: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    include: list[Literal["message.output_text.logprobs", "reasoning.encrypted_content"]] | None = None
    metadata: Annotated[dict[str, Annotated[str, Field(max_length=512)]], Field(max_length=16)] | None = None
    service_tier: Literal["auto", "default"] | None = None


def read_response(body: Mapping[str, object]) -> ResponseRequest:
    """The request in `body`. Raises BadField."""
    _refuse(body)
    return parse(ResponseRequest, body, harmless=HARMLESS | CANNOT.keys())


def read_count(body: Mapping[str, object]) -> CountRequest:
    """The request in `body`. Raises BadField."""
    _refuse(body)
    return parse(CountRequest, body, harmless=CANNOT.keys())


def ask_of(request: ResponseRequest) -> ChatAsk:
    """Raises BadField for fields that contradict each other."""
    if request.stream_options is not None and not request.stream:
        raise bad_field("stream_options", "is only for a stream")
    wanted = request.top_logprobs
    if wanted is None and LOGPROBS in (request.include or ()):
        wanted = 0
    return dataclasses.replace(
        prompt_of(request),
        parameters=sampling_said(request, request.max_output_tokens),
        top_logprobs=wanted,
        truncate=request.truncation == "auto",
    )


def prompt_of(request: PromptFields) -> ChatAsk:
    """The part of the ask that makes up the prompt. Raises BadField."""
    choice, tools = _tool_choice(request)
    effort = None if request.reasoning is None else request.reasoning.effort
    think: Think | None = None if effort is None else EFFORTS[effort]
    return ChatAsk(
        messages=messages_of(request.input),
        system=request.instructions,
        tools=[{"type": "function", "function": _function(tool)} for tool in tools],
        tool_choice=choice,
        parallel_tool_calls=request.parallel_tool_calls is not False,
        schema=_schema(request),
        think=think,
    )


def _function(tool: FunctionTool) -> Mapping[str, object]:
    return tool.model_dump(include={"name", "description", "parameters"}, exclude_none=True)


def _schema(request: PromptFields) -> Schema | None:
    match None if request.text is None else request.text.format:
        case AsObject():
            return ANY_OBJECT
        case AsSchema(schema_=schema):
            return schema
        case _:
            return None


def _tool_choice(request: PromptFields) -> tuple[ToolChoice, Sequence[FunctionTool]]:
    """How tools are chosen, and which the model may call."""
    tools = request.tools or []
    match request.tool_choice:
        case None:
            return "auto", tools
        case NamedChoice(name=name):
            if all(tool.name != name for tool in tools):
                raise bad_field("tool_choice", "names a tool that is not among 'tools'")
            return NamedTool(name), tools
        case AllowedChoice(mode=mode, tools=allowed):
            names = {choice.name for choice in allowed}
            if not names <= {tool.name for tool in tools}:
                raise bad_field("tool_choice.tools", "names a tool that is not among 'tools'")
            return mode, [tool for tool in tools if tool.name in names]
        case "required" if not tools:
            raise bad_field("tool_choice", "asks for a tool, and the request has no 'tools'")
        case choice:
            return choice, tools


def _refuse(body: Mapping[str, object]) -> None:
    """Raise BadField for what is known and that this server can do nothing with."""
    for name, why in CANNOT.items():
        if body.get(name):
            raise unsupported(name, why)
    for name, (values, why) in NEUTRAL.items():
        if body.get(name) is not None and body[name] not in values:
            raise unsupported(name, why)
    items = body.get("input")
    parts = sum(
        len(item[name])
        for item in (items if isinstance(items, list) else ())
        for name in ("content", "output", "summary")
        if isinstance(item, dict) and isinstance(item.get(name), list)
    )
    if parts > MOST_PARTS:
        raise bad_field("input", f"must have at most {MOST_PARTS:,} parts")
    for place, kind in _types("tools", body.get("tools")):
        if kind not in ("function", None):
            why = "this server runs no tools of its own; a model here calls functions."
            raise unsupported(place, f"'{place}' has the type {kind!r:.60}: {why}")
    for place, kind in _types("input", items):
        if kind not in ITEM_TYPES and kind is not None:
            known = ", ".join(sorted(ITEM_TYPES))
            raise unsupported(place, f"'{place}' has the type {kind!r:.60}; what is read here: {known}.")


def _types(name: str, items: object) -> Iterable[tuple[str, object]]:
    for number, item in enumerate(items if isinstance(items, list) else ()):
        if isinstance(item, dict):
            yield f"{name}[{number}]", item.get("type")
