"""POST /v1/responses and /v1/responses/input_tokens. Nothing is kept: there is nothing to retrieve."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.responses import Response

from runtimes.protocol import Finished, Progress, ThinkingDelta
from slmctl.app.asks import ChatAsk
from slmctl.server import answering
from slmctl.server.answering import AnswerEvent
from slmctl.server.blocks import Blocks
from slmctl.server.call import Call, Endpoint
from slmctl.server.openai.answers import using
from slmctl.server.openai.fields import want_of
from slmctl.server.openai.responses_request import (
    CountRequest,
    ResponseRequest,
    ask_of,
    prompt_of,
    read_count,
    read_response,
)
from slmctl.server.openai.responses_schemas import COUNTED, RESPONSE
from slmctl.server.openai.responses_shapes import EventWriter, Shape, status_of
from slmctl.server.scheduler import Want
from slmctl.server.streams import answer, sse
from slmctl.server.telling import told


async def respond(call: Call) -> Response:
    request = read_response(await call.json())
    want, ask = want_of(call, request), ask_of(request)
    shape, blocks = Shape(request), Blocks()
    if request.stream:
        writer = EventWriter(shape)
        return await sse(
            call,
            _events(call, want, ask, blocks, writer),
            lambda problem: writer.fails(blocks.all, problem),
        )
    finished = Finished(reason="stop")
    async with aclosing(_answer(call, want, ask, shape)) as events:
        async for each in events:
            if isinstance(each, Finished):
                finished = each
            for _ in blocks.take(each):
                pass
    return answer(call, shape.response(status_of(finished), blocks.all, finished))


async def count(call: Call) -> Response:
    request = read_count(await call.json())
    ask = prompt_of(request)
    async with using(call, want_of(call, request), "input") as served:
        tokens = await answering.count(served, ask)
    call.told.prompt_tokens = tokens
    return answer(call, {"object": "response.input_tokens", "input_tokens": tokens})


async def _events(
    call: Call, want: Want, ask: ChatAsk, blocks: Blocks, writer: EventWriter
) -> AsyncGenerator[bytes]:
    has_begun = False
    async with aclosing(_answer(call, want, ask, writer.shape)) as events:
        async for each in events:
            if not has_begun:
                has_begun = True
                for told_event in writer.begins():
                    yield told_event
            changes = list(blocks.take(each))
            is_cut = isinstance(each, Finished) and each.reason == "length"
            if isinstance(each, Finished):
                changes += blocks.end()
            for change in changes:
                for told_event in writer.of(change, is_cut=is_cut):
                    yield told_event
            if isinstance(each, Finished):
                yield writer.ends(blocks.all, each)


async def _answer(call: Call, want: Want, ask: ChatAsk, shape: Shape) -> AsyncGenerator[AnswerEvent]:
    """The answer's events. Of a model that may think the tokens of its thoughts are counted on the way."""
    async with using(call, want, "input") as served:
        if "thinking" in served.capabilities and ask.think is not False:
            ask = dataclasses.replace(ask, progress="tokens")
        generated: int | None = None
        async with aclosing(told(call, answering.chat(served, ask))) as events:
            async for each in events:
                if isinstance(each, Progress):
                    generated = each.generated_tokens
                elif isinstance(each, ThinkingDelta):
                    shape.thoughts_tokens = generated
                yield each


ENDPOINTS = (
    Endpoint(
        method="POST",
        path="/v1/responses",
        handler=respond,
        scope="infer",
        family="openai",
        label="responses",
        about="Answer a conversation, as OpenAI's Responses API does for a request that is not to be stored.",
        request_schema=ResponseRequest.model_json_schema(),
        response_schema=RESPONSE,
        streams="sse",
    ),
    Endpoint(
        method="POST",
        path="/v1/responses/input_tokens",
        handler=count,
        scope="infer",
        family="openai",
        label="input_tokens",
        about="How many tokens an input is for the model: exactly, by its own template and tokens.",
        request_schema=CountRequest.model_json_schema(),
        response_schema=COUNTED,
    ),
)
