"""What is looked at before an ask goes anywhere: what the model can, and what an engine must not be given."""

from __future__ import annotations

from dataclasses import dataclass

from registry.errors import UsageError
from slmctl.app.ask_limits import (
    check_bias,
    check_calls,
    check_parameters,
    check_tokens,
    check_tools,
    check_top_logprobs,
)
from slmctl.app.asks import ChatAsk, CompletionAsk, NamedTool
from slmctl.app.images import check_images
from slmctl.app.structured import Structure, structure_of
from slmctl.app.tool_formats import format_of
from slmctl.app.tool_schemas import call_schema, parameters_of
from slmctl.server.problems import NotSupported
from slmctl.server.prompting import FREE, Shape, is_demanded, manner_of, messages_of, offered_tools, tool_name
from slmctl.server.scheduler import Served
from slmctl.server.seeing import image_urls
from slmctl.server.shaping import shape_for, structure_for
from slmctl.server.threads import in_thread


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """An ask that may go on. `structure` is what the answer is validated against, `call` the shape of
    a tool call that has to come."""

    ask: ChatAsk
    shape: Shape = FREE
    structure: Structure | None = None
    call: Shape = FREE


async def check_chat(served: Served, ask: ChatAsk) -> Checked:
    """Raises NotSupported and UsageError."""
    if "completion" not in served.capabilities:
        raise not_supported(served, "chat")
    if not messages_of(served, ask):
        raise UsageError("There are no messages.")
    check_calls(ask.messages)
    if ask.tools:
        if "tools" not in served.capabilities and ask.template is None:
            raise not_supported(served, "tools")
        check_tools(ask.tools)
        _check_choice(ask)
        await in_thread(lambda: [structure_of(parameters_of(tool)) for tool in ask.tools])
    if ask.think not in (None, False) and "thinking" not in served.capabilities:
        raise not_supported(served, "thinking")
    images = [url for message in ask.messages for url in image_urls(message)]
    if images:
        if "vision" not in served.capabilities or not manner_of(served, ask).has_chat_template:
            raise not_supported(served, "vision")
        await in_thread(lambda: check_images(images))
    _check_common(served, ask)
    structure = await structure_for(ask.schema)
    shape = await shape_for(served, structure, ask.grammar)
    call = await _call_shape(served, ask)
    return Checked(ask=ask, shape=shape, structure=structure, call=call)


async def _call_shape(served: Served, ask: ChatAsk) -> Shape:
    if not is_demanded(ask):
        return FREE
    template = manner_of(served, ask).chat_template
    schema = call_schema(offered_tools(ask), arguments=format_of(template or "").arguments)
    return await shape_for(served, await structure_for(schema), None)


async def check_completion(served: Served, ask: CompletionAsk) -> tuple[Shape, Structure | None]:
    """Raises NotSupported and UsageError."""
    if "completion" not in served.capabilities:
        raise not_supported(served, "generate")
    if ask.suffix is not None and "insert" not in served.capabilities:
        raise not_supported(served, "insert")
    if not isinstance(ask.prompt, str):
        if not ask.prompt:
            raise UsageError("The prompt has no tokens.")
        check_tokens(ask.prompt, vocabulary_of(served))
    _check_common(served, ask)
    structure = await structure_for(ask.schema)
    return await shape_for(served, structure, ask.grammar), structure


def not_supported(served: Served, what: str) -> NotSupported:
    """In Ollama's words."""
    return NotSupported(f'"{served.name}" does not support {what}')


def vocabulary_of(served: Served) -> int | None:
    return served.variant.facts.vocabulary if served.variant.facts is not None else None


def _check_choice(ask: ChatAsk) -> None:
    choice = ask.tool_choice
    if ask.schema is not None and is_demanded(ask):
        raise UsageError("A schema and a tool call that has to come cannot be asked for at once.")
    if isinstance(choice, NamedTool) and choice.name not in {tool_name(tool) for tool in ask.tools}:
        raise UsageError("tool_choice names a tool that is not among the tools.")
    if ask.grammar is not None:
        raise UsageError("A grammar and tools cannot be asked for at once.")


def _check_common(served: Served, ask: ChatAsk | CompletionAsk) -> None:
    check_parameters(ask.parameters, served.about.context_length)
    check_top_logprobs(ask.top_logprobs)
    check_bias(ask.logit_bias, vocabulary_of(served))
    if ask.schema is not None and ask.grammar is not None:
        raise UsageError("A schema and a grammar cannot be asked for at once.")
