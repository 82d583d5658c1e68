"""An answer to a conversation that fits into the context: prompt, engine, and what is taken out of the text.

Three ways, as slmctl.app.questions has them. Where slmctl reads the thoughts and the answer has to have a
shape, the model thinks first, free of it, and is then asked to go on in that shape: a grammar from the first
token on would not let it think.

A tool call that has to come is always read here: the engine's own grammar for it lets any amount of text
stand before the call, and small models never get to it. The same goes for an answer with a shape where the
engine has no thoughts to read in marks of its own: its chat endpoint holds thoughts to a grammar too, and
takes ten seconds over a schema of a thousand properties, of which /completion makes its grammar in half a
second.
"""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from runtimes import protocol
from runtimes.errors import EngineRefused
from runtimes.protocol import Event, Finished, Progress, TextDelta, ThinkingDelta
from runtimes.sampling import Sampling
from slmctl.app.asks import ChatAsk
from slmctl.app.questions import Messages, parses_thoughts
from slmctl.app.stages import Stage, passed
from slmctl.app.thoughts import ThoughtsStage, thoughts_stage, writes_thoughts
from slmctl.server.checks import Checked, not_supported
from slmctl.server.choices import choice_stages, tool_reading
from slmctl.server.previewing import check_prompt
from slmctl.server.prompting import (
    FREE,
    Shape,
    begun_once,
    is_demanded,
    manner_of,
    offered_tools,
    question_of,
    sampling_for,
    text_of,
)
from slmctl.server.scheduler import Served
from slmctl.server.seeing import check_places, images_in

_NO_IMAGES = "image input is not supported"


@dataclass(frozen=True, slots=True)
class Text:
    """A prompt that is a text, with the images that belong to its marks, in base64."""

    text: str
    images: tuple[str, ...] = ()

    def and_then(self, more: str) -> Text:
        return Text(self.text + more, self.images)


async def answered(served: Served, checked: Checked, messages: Messages) -> AsyncGenerator[Event]:
    """Answer `messages`, which are all that the model sees. Raises as `answering.chat`."""
    ask, shape = checked.ask, checked.shape
    manner = manner_of(served, ask)
    sampling = sampling_for(served, ask.parameters)
    ours = parses_thoughts(served.spec)
    images = images_in(messages)
    by_engine = manner.go_template is None and manner.has_chat_template and not is_demanded(ask)
    if by_engine and shape != FREE and not offered_tools(ask):
        thinks = "thinking" in served.capabilities and not ours
        by_engine = thinks and not writes_thoughts(manner.chat_template or "")  # in marks that it alone knows
    if by_engine:
        question = question_of(served, ask, messages, sampling, shape)
        plain = question if shape == FREE else question_of(served, ask, messages, sampling)
        prompt = await check_prompt(served.engine, plain)
        if images:
            check_places(protocol.parse_prompt(prompt), images)
        thoughts = thoughts_stage(served.spec, ask.think) if ours else None
        stages = [*([thoughts] if thoughts else []), *choice_stages(ask)]
        events = _streamed(served, question, stages)
    else:
        text = await text_of(served, ask, messages)
        if images:
            check_places(text, images)
        events = _written(served, checked, Text(text, images), sampling)
    async with aclosing(events):
        async for event in events:
            yield event


async def _written(
    served: Served, checked: Checked, prompt: Text, sampling: Sampling
) -> AsyncGenerator[Event]:
    """Continue a prompt that is a text: thoughts and tool calls are ours to take out."""
    ask, shape = checked.ask, checked.shape
    spec = served.spec if ask.template is None else dataclasses.replace(served.spec, template=ask.template)
    manner = manner_of(served, ask)
    jinja = manner.chat_template or "" if manner.go_template is None else ""
    thoughts = None
    if manner.has_chat_template:
        thoughts = thoughts_stage(spec, ask.think, prompt=prompt.text, jinja=jinja)
    reading = tool_reading(ask, manner.chat_template, checked.call)
    if reading.shape != FREE:
        shape = reading.shape
    stages: list[Stage] = [*reading.stages, *choice_stages(ask)]
    if shape != FREE and thoughts is not None and ask.think is not False:
        events = _thought_first(served, ask, prompt, reading.opening, sampling, shape, thoughts, stages)
    else:
        before: list[Stage] = [] if thoughts is None else [thoughts]
        request = await _request(served, ask, prompt.and_then(reading.opening), sampling, shape)
        events = _streamed(served, request, [*before, *stages])
    async with aclosing(events):
        async for event in events:
            yield event


async def _thought_first(
    served: Served,
    ask: ChatAsk,
    prompt: Text,
    opening: str,
    sampling: Sampling,
    shape: Shape,
    thoughts: ThoughtsStage,
    stages: Sequence[Stage],
) -> AsyncGenerator[Event]:
    """The thoughts, of any shape, and then the answer in its own."""
    said: list[str] = []
    far = Progress(prompt_tokens=None, generated_tokens=0)
    free = await _request(served, dataclasses.replace(ask, progress="tokens"), prompt, sampling, FREE)
    async with aclosing(served.engine.stream(free)) as events:
        async for event in events:
            if isinstance(event, Progress):
                far = event
                continue
            if isinstance(event, TextDelta):
                said.append(event.text)
            for out in thoughts.read(event):
                if isinstance(out, ThinkingDelta) or (
                    isinstance(event, Finished) and event.reason == "length"
                ):
                    yield out
            if isinstance(event, Finished):
                if event.reason == "length":
                    return
                far = Progress(
                    prompt_tokens=event.prompt_tokens,
                    cached_tokens=event.cached_tokens,
                    generated_tokens=event.generated_tokens,
                )
            elif thoughts.answers:
                break
    thought = _thought_part("".join(said), thoughts)
    used = far.generated_tokens or 0
    if sampling.num_predict is not None and sampling.num_predict > 0:
        sampling = dataclasses.replace(sampling, num_predict=max(1, sampling.num_predict - used))
    request = await _request(served, ask, prompt.and_then(thought + opening), sampling, shape)
    async with aclosing(_streamed(served, request, stages)) as rest:
        async for event in rest:
            if isinstance(event, Finished):
                event = dataclasses.replace(
                    event,
                    prompt_tokens=far.prompt_tokens or event.prompt_tokens,
                    cached_tokens=far.cached_tokens if far.prompt_tokens else event.cached_tokens,
                    generated_tokens=(event.generated_tokens or 0) + (used if thought else 0),
                )
            yield event


def _thought_part(said: str, thoughts: ThoughtsStage) -> str:
    """What the model wrote up to the end of its thoughts, with the mark that closes them; none, if none."""
    before, mark, _ = said.partition(thoughts.closing)
    if mark:
        return before + mark
    return "" if thoughts.answers else said + thoughts.closing


async def _request(
    served: Served, ask: ChatAsk, prompt: Text, sampling: Sampling, shape: Shape
) -> protocol.HttpRequest:
    return protocol.completion_request(
        prompt.text if prompt.images else await begun_once(served, prompt.text),
        sampling,
        json_schema=shape.json_schema,
        grammar=shape.grammar,
        top_logprobs=ask.top_logprobs,
        logit_bias=ask.logit_bias,
        progress=ask.progress,
        images=prompt.images,
        slot=served.slot,
        fresh=served.fresh,
    )


async def _streamed(
    served: Served, request: protocol.HttpRequest, stages: Sequence[Stage]
) -> AsyncGenerator[Event]:
    try:
        async with aclosing(served.engine.stream(request)) as events:
            async for event in events:
                for out in passed((event,), stages) if stages else (event,):
                    yield out
    except EngineRefused as error:
        if _NO_IMAGES in error.message:
            raise not_supported(served, "vision") from None
        raise
