"""From a request to the Messages API to what is asked of a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from modelfiles.spec import ParameterValue
from runtimes.protocol import Telling, Think
from slmctl.app.asks import ChatAsk, NamedTool, ToolChoice
from slmctl.server.anthropic.conversation import messages_of, system_of, tools_of
from slmctl.server.anthropic.fields import (
    HARMLESS,
    MOST_BLOCKS,
    NEUTRAL,
    REFUSED,
    REFUSED_BLOCKS,
    ChooseAny,
    ChooseAuto,
    ChooseNone,
    ChooseTool,
    CountRequest,
    MessagesRequest,
    ThinkingAdaptive,
    ThinkingDisabled,
    ThinkingEnabled,
)
from slmctl.server.parsing import bad_field, parse
from slmctl.server.problems import NoThreads, NotSupported


def messages_request(body: Mapping[str, object]) -> MessagesRequest:
    """Raises BadField, and NotSupported for what is known and cannot be done."""
    _refuse(body)
    return parse(MessagesRequest, _without_nulls(body), harmless=HARMLESS)


def count_request(body: Mapping[str, object]) -> CountRequest:
    """Raises as `messages_request`."""
    _refuse(body)
    return parse(CountRequest, _without_nulls(body), harmless=HARMLESS)


def ask_of(request: CountRequest) -> ChatAsk:
    """Raises BadField for what contradicts itself."""
    tools = tools_of(request.tools)
    choice, parallel = _choice(request)
    output = request.output_config
    return ChatAsk(
        messages=messages_of(request.messages),
        parameters=_parameters(request) if isinstance(request, MessagesRequest) else {},
        system=system_of(request.system),
        tools=tools,
        tool_choice=choice,
        parallel_tool_calls=parallel,
        schema=None if output is None or output.format is None else output.format.json_schema,
        think=_think(request),
        think_tokens=_think_tokens(request),
        progress=_progress(request),
    )


def _parameters(request: MessagesRequest) -> dict[str, ParameterValue]:
    said: dict[str, ParameterValue | None] = {
        "num_predict": request.max_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "top_k": request.top_k,
    }
    return {name: value for name, value in said.items() if value is not None}


def _choice(request: CountRequest) -> tuple[ToolChoice, bool]:
    match request.tool_choice:
        case None:
            return "auto", True
        case ChooseNone():
            return "none", True
        case ChooseAuto(disable_parallel_tool_use=one):
            return "auto", not one
        case ChooseAny(disable_parallel_tool_use=one):
            if not request.tools:
                raise bad_field("tool_choice", "asks for a tool, and 'tools' has none")
            return "required", not one
        case ChooseTool(name=name, disable_parallel_tool_use=one):
            if name not in {tool.name for tool in request.tools or ()}:
                raise bad_field("tool_choice.name", "is the name of no tool in 'tools'")
            return NamedTool(name), not one


def _think(request: CountRequest) -> Think | None:
    """No thoughts unless they are asked for; how hard `effort` says."""
    effort = None if request.output_config is None else request.output_config.effort
    wished: Think | None = None if effort is None else "max" if effort == "xhigh" else effort
    match request.thinking:
        case None | ThinkingDisabled():
            return False
        case ThinkingEnabled(budget_tokens=budget):
            if isinstance(request, MessagesRequest) and budget >= request.max_tokens:
                raise bad_field("thinking.budget_tokens", "must be less than max_tokens")
            return True if wished is None else wished
        case ThinkingAdaptive():
            return wished


def _think_tokens(request: CountRequest) -> int | None:
    return request.thinking.budget_tokens if isinstance(request.thinking, ThinkingEnabled) else None


def _progress(request: CountRequest) -> Telling | None:
    """A stream begins with the count of the prompt; a stop sequence that is found ends the counting here."""
    if not isinstance(request, MessagesRequest):
        return None
    return "tokens" if request.stop_sequences else "prompt" if request.stream else None


def _refuse(body: Mapping[str, object]) -> None:
    """Raise NotSupported for a field or block that is known and that this server can do nothing with."""
    for name, sentence in REFUSED.items():
        if body.get(name) and body[name] != NEUTRAL.get(name):
            error = NoThreads if name == "thread" else NotSupported
            raise error(f"'{name}' is not supported: {sentence}")
    for number, (place, block) in enumerate(_blocks(body)):
        if number >= MOST_BLOCKS:
            raise bad_field("messages", f"must have at most {MOST_BLOCKS:,} blocks")
        kind = block.get("type")
        if isinstance(kind, str) and kind in REFUSED_BLOCKS:
            raise NotSupported(f"'{place}' is a {kind} block: {REFUSED_BLOCKS[kind]}")
        source = block.get("source")
        if kind == "image" and isinstance(source, dict) and source.get("type") in ("url", "file"):
            raise NotSupported(
                f"'{place}.source' is no image but names one: no address is ever fetched by this server.",
                hint="Send the image itself, with the type base64.",
            )
    tools = body.get("tools")
    for number, tool in enumerate(tools if isinstance(tools, list) else ()):
        kind = tool.get("type") if isinstance(tool, dict) else None
        if isinstance(kind, str) and kind != "custom":
            raise NotSupported(
                f"'tools[{number}]' has the type {kind!r:.60}: this server runs no tools of its own, "
                "and its models know only those that come with an input_schema."
            )


def _blocks(body: Mapping[str, object]) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Every block of content in the messages, those in results of tools too, and where it stands."""
    messages = body.get("messages")
    for number, message in enumerate(messages if isinstance(messages, list) else ()):
        content = message.get("content") if isinstance(message, dict) else None
        yield from _listed(f"messages[{number}].content", content)


def _listed(place: str, content: object) -> Iterator[tuple[str, Mapping[str, object]]]:
    for number, block in enumerate(content if isinstance(content, list) else ()):
        if isinstance(block, dict):
            yield f"{place}[{number}]", block
            if block.get("type") == "tool_result":
                yield from _listed(f"{place}[{number}].content", block.get("content"))


def _without_nulls(body: Mapping[str, object]) -> dict[str, object]:
    """Without the refused fields, whose null asks for nothing."""
    return {name: value for name, value in body.items() if name not in REFUSED}
