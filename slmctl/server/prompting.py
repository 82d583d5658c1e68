"""What a model sees of an ask: the prompt, made by slmctl or by the engine."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from modelfiles.spec import ParameterValue
from runtimes import protocol
from runtimes.protocol import HttpRequest
from runtimes.sampling import Sampling
from slmctl.app.asks import ChatAsk, NamedTool
from slmctl.app.go_prompts import go_prompt
from slmctl.app.parameters import sampling_of
from slmctl.app.questions import Manner, Messages, may_begin_twice, opened, parses_thoughts, plain_text
from slmctl.server.previewing import check_prompt
from slmctl.server.scheduler import Served
from slmctl.server.seeing import marked
from slmctl.server.threads import in_thread

ENDLESS = -1
"""num_predict: to the end of the context."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What the answer is held to: a JSON Schema or a grammar (GBNF) for the engine."""

    json_schema: Mapping[str, object] | None = None
    grammar: str | None = None


FREE = Shape()


def manner_of(served: Served, ask: ChatAsk) -> Manner:
    """Whose template counts: the ask's own (Go's), else the model's."""
    if ask.template is not None:
        return Manner(ask.template, ask.template, has_chat_template=True)
    return Manner.of(served.spec, served.chat_template, served.has_chat_template)


def messages_of(served: Served, ask: ChatAsk) -> Messages:
    """The ask's messages behind the system message and what the author lets a chat begin with."""
    return opened(served.spec, ask.messages, ask.system)


def offered_tools(ask: ChatAsk) -> Sequence[Mapping[str, object]]:
    """The tools that the model is told of: none, or the one it has to call, or all."""
    if ask.tool_choice == "none":
        return ()
    if isinstance(ask.tool_choice, NamedTool):
        return tuple(tool for tool in ask.tools if tool_name(tool) == ask.tool_choice.name)
    return ask.tools


def is_demanded(ask: ChatAsk) -> bool:
    """Whether the answer has to be a tool call."""
    return ask.tool_choice == "required" or isinstance(ask.tool_choice, NamedTool)


def tool_name(tool: Mapping[str, object]) -> str:
    function = tool.get("function")
    name = function.get("name") if isinstance(function, Mapping) else None
    return name if isinstance(name, str) else ""


def sampling_for(served: Served, parameters: Mapping[str, ParameterValue]) -> Sampling:
    """The model's parameters and over them the ask's; never more tokens than the server gives at once."""
    sampling = sampling_of({**served.spec.parameters, **parameters}, served.about.context_length)
    most, wanted = served.max_tokens, sampling.num_predict
    if most is not None and (wanted is None or wanted <= 0 or wanted > most):
        sampling = dataclasses.replace(sampling, num_predict=most)
    return sampling


def question_of(
    served: Served, ask: ChatAsk, messages: Messages, sampling: Sampling, shape: Shape = FREE
) -> HttpRequest:
    """The request to the engine's own chat endpoint."""
    return protocol.chat_request(
        messages,
        sampling,
        tools=offered_tools(ask),
        parallel_tool_calls=ask.parallel_tool_calls if ask.tools else None,
        json_schema=shape.json_schema,
        grammar=shape.grammar,
        think=ask.think,
        think_tokens=ask.think_tokens,
        as_written=parses_thoughts(served.spec),
        top_logprobs=ask.top_logprobs,
        logit_bias=ask.logit_bias,
        progress=ask.progress,
        slot=served.slot,
        fresh=served.fresh,
    )


async def text_of(served: Served, ask: ChatAsk, messages: Messages) -> str:
    """The prompt as text, whoever makes it."""
    manner = manner_of(served, ask)
    if manner.go_template is not None:
        return await rendered(served, manner.go_template, ask, messages)
    if manner.has_chat_template:
        question = question_of(served, ask, messages, Sampling())
        return protocol.parse_prompt(await check_prompt(served.engine, question))
    return plain_text(messages)


async def rendered(served: Served, template: str, ask: ChatAsk, messages: Messages) -> str:
    """What a TEMPLATE makes of the messages, by a child process."""
    tools = offered_tools(ask)
    texts = await marked(served.engine, messages)
    return await in_thread(
        lambda: go_prompt(template, texts, tools=tools, think=ask.think, environment=served.environment)
    )


async def begun_once(served: Served, text: str) -> str | tuple[int, ...]:
    """`text`, or its tokens where the tokenizer would begin it a second time."""
    tokens = await tokens_of(served, text, add_special=True)
    if not may_begin_twice(tokens) or await tokens_of(served, text) != tokens[1:]:
        return text
    return tokens[1:]


async def tokens_of(served: Served, text: str, *, add_special: bool = False) -> tuple[int, ...]:
    request = protocol.tokenize_request(text, add_special=add_special)
    return protocol.parse_tokens(await served.engine.body(request))


async def count_of(served: Served, ask: ChatAsk, messages: Messages) -> int:
    """How many tokens the prompt has."""
    manner = manner_of(served, ask)
    if manner.go_template is None and manner.has_chat_template:
        question = question_of(served, ask, messages, Sampling())
        await check_prompt(served.engine, question)
        return protocol.parse_count(await served.engine.body(protocol.count_request(question)))
    prompt = await begun_once(served, await text_of(served, ask, messages))
    if isinstance(prompt, tuple):
        return len(prompt)
    return len(await tokens_of(served, prompt, add_special=True))
