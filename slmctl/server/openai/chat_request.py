"""What POST /v1/chat/completions takes, and the ask that it becomes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from runtimes.protocol import ANY_OBJECT, Think
from slmctl.app.asks import ChatAsk, NamedTool, Schema, ToolChoice
from slmctl.server.openai.fields import HARMLESS, GeneratingFields, either, parameters_of, unsupported
from slmctl.server.openai.messages import Mark, Message, ToolName, plain
from slmctl.server.parsing import Fields, bad_field, parse

MOST_MESSAGES = 10_000
MOST_TOOLS = 128

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]

EFFORTS: Mapping[Effort, Think] = {
    "none": False,
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "max",
    "max": "max",
}
"""What OpenAI's names of effort are here. Ollama's are low, medium, high and max."""


class Function(Fields):
    """`strict` says the same as nothing: a call that has to come is held to the parameters' schema, and one
    that may come is the model's own, with whatever arguments."""

    name: ToolName
    description: str | None = None
    parameters: dict[str, object] | None = None
    strict: bool | None = None


class Tool(Fields):
    type: Literal["function"]
    function: Function
    cache_control: Mark = None


class NamedFunction(Fields):
    name: ToolName


class NamedChoice(Fields):
    type: Literal["function"]
    function: NamedFunction


class AsText(Fields):
    type: Literal["text"]


class AsObject(Fields):
    """`schema` beside it is llama.cpp's."""

    type: Literal["json_object"]
    schema_: Annotated[dict[str, object] | None, Field(alias="schema")] = None


class SchemaFormat(Fields):
    """`strict` false is harmless: the answer is held to the schema all the same."""

    name: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    description: str | None = None
    schema_: Annotated[dict[str, object], Field(alias="schema")]
    strict: bool | None = None


class AsSchema(Fields):
    type: Literal["json_schema"]
    json_schema: SchemaFormat


class Reasoning(Fields):
    """`summary` may say that none is wanted; there is none, the reasoning itself is told."""

    effort: Effort | None = None
    summary: Literal["auto"] | None = None


class TemplateVariables(Fields):
    """Of what vLLM and llama-server hand to the chat template only what asks for reasoning."""

    enable_thinking: bool | None = None
    thinking: bool | None = None
    reasoning_effort: Effort | None = None


class ChatRequest(GeneratingFields):
    messages: Annotated[list[Message], Field(min_length=1, max_length=MOST_MESSAGES)]
    max_completion_tokens: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    response_format: Annotated[AsText | AsObject | AsSchema, Field(discriminator="type")] | None = None
    tools: Annotated[list[Tool], Field(max_length=MOST_TOOLS)] | None = None
    tool_choice: Literal["auto", "none", "required"] | NamedChoice | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: Effort | None = None
    reasoning: Reasoning | None = None
    think: bool | Literal["low", "medium", "high", "max"] | None = None
    chat_template_kwargs: TemplateVariables | None = None
    # known, and only with the value that asks for nothing
    store: Literal[False] | None = None
    service_tier: Literal["auto", "default"] | None = None
    modalities: list[Literal["text"]] | None = None
    verbosity: Literal["medium"] | None = None


CANNOT: Mapping[str, str] = {
    "audio": "This server makes no audio.",
    "chat_template": "A request cannot bring a chat template; put it into the model with 'slmctl create'.",
    "function_call": "'function_call' is deprecated and not served; say it by 'tool_choice'.",
    "functions": "'functions' is deprecated and not served; say it by 'tools'.",
    "moderation": "This server moderates nothing.",
    "prediction": "Predicted outputs are not served.",
    "web_search_options": "This server searches no web.",
}
"""Fields of OpenAI's and vLLM's that nobody here can honour, refused unless they are null."""

NEUTRAL: Mapping[str, tuple[tuple[object, ...], str]] = {
    "modalities": ((["text"],), "This server answers in text only."),
    "service_tier": (
        ("auto", "default"),
        "There is one tier of service here: 'service_tier' may be 'auto' or 'default'.",
    ),
    "store": ((False,), "This server keeps no answers: 'store' must be false."),
    "verbosity": (
        ("medium",),
        "No model here is told how long to make its answer: 'verbosity' may be 'medium'.",
    ),
}
"""Fields that may only have a value that asks for nothing, and what is said of any other."""


def read_chat(body: Mapping[str, object]) -> ChatRequest:
    """The request in `body`. Raises BadField."""
    for name, why in CANNOT.items():
        if body.get(name) is not None:
            raise unsupported(name, why)
    for name, (values, why) in NEUTRAL.items():
        if body.get(name) is not None and body[name] not in values:
            raise unsupported(name, why)
    variables = body.get("chat_template_kwargs")
    for name in variables if isinstance(variables, dict) else ():
        if name not in TemplateVariables.model_fields:
            raise unsupported(
                "chat_template_kwargs",
                "A request cannot set variables of the chat template, but for those that ask for reasoning: "
                + ", ".join(TemplateVariables.model_fields)
                + ".",
            )
    return parse(ChatRequest, body, harmless=HARMLESS | CANNOT.keys())


def ask_of(request: ChatRequest) -> ChatAsk:
    """The ask for one answer. Raises BadField for fields that contradict each other."""
    longest = either(request, "max_tokens", "max_completion_tokens")
    schema = _schema(request)
    if schema is not None and request.grammar is not None:
        raise bad_field("grammar", "and 'response_format' cannot be asked for together")
    if request.top_logprobs and not request.logprobs:
        raise bad_field("top_logprobs", "needs 'logprobs' to be true")
    assert longest is None or isinstance(longest, int)
    return ChatAsk(
        messages=plain(request.messages),
        parameters=parameters_of(request, longest),
        tools=[
            tool.model_dump(exclude_none=True, exclude={"cache_control": True, "function": {"strict"}})
            for tool in request.tools or ()
        ],
        tool_choice=_tool_choice(request),
        parallel_tool_calls=request.parallel_tool_calls is not False,
        schema=schema,
        grammar=request.grammar,
        think=_think(request),
        top_logprobs=(request.top_logprobs or 0) if request.logprobs else None,
        logit_bias=request.biases,
    )


def _schema(request: ChatRequest) -> Schema | None:
    match request.response_format:
        case AsObject(schema_=schema):
            return ANY_OBJECT if schema is None else schema
        case AsSchema(json_schema=said):
            return said.schema_
        case _:
            return None


def _tool_choice(request: ChatRequest) -> ToolChoice:
    choice = request.tool_choice
    if choice is None or choice in ("auto", "none"):
        return choice or "auto"
    if not request.tools:
        raise bad_field("tool_choice", "asks for a tool, and the request has no 'tools'")
    if isinstance(choice, NamedChoice):
        name = choice.function.name
        if all(tool.function.name != name for tool in request.tools):
            raise bad_field("tool_choice", "names a tool that is not among 'tools'")
        return NamedTool(name)
    return choice


def _think(request: ChatRequest) -> Think | None:
    variables = request.chat_template_kwargs or TemplateVariables()
    effort = request.reasoning.effort if request.reasoning is not None else None
    said: dict[str, Think | None] = {
        "think": request.think,
        "reasoning_effort": _effort(request.reasoning_effort),
        "reasoning": _effort(effort),
        "chat_template_kwargs": variables.enable_thinking
        if variables.enable_thinking is not None
        else variables.thinking,
        "chat_template_kwargs.reasoning_effort": _effort(variables.reasoning_effort),
    }
    wishes = {name: wish for name, wish in said.items() if wish is not None}
    levels = {wish for wish in wishes.values() if wish is not True}  # "yes" goes with every one but "no"
    if len(levels) > 1 or (False in levels and True in wishes.values()):
        first, *_, last = wishes
        raise bad_field(last, f"contradicts '{first}'")
    return next(iter(levels or wishes.values()), None)


def _effort(effort: Effort | None) -> Think | None:
    return None if effort is None else EFFORTS[effort]
