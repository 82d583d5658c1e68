"""Anthropic's Messages API: POST /v1/messages and /v1/messages/count_tokens."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.responses import Response

from runtimes.protocol import Finished, Progress
from slmctl.app.asks import ChatAsk
from slmctl.server import answering
from slmctl.server.anthropic import writing
from slmctl.server.anthropic.asking import ask_of, count_request, messages_request
from slmctl.server.anthropic.fields import CountRequest, MessagesRequest, ThinkingAdaptive, ThinkingEnabled
from slmctl.server.anthropic.schemas import COUNTED, MESSAGE
from slmctl.server.blocks import Blocks
from slmctl.server.call import Call, Endpoint
from slmctl.server.problems import PromptTooLong
from slmctl.server.scheduler import Served, Want
from slmctl.server.stopping import stopping
from slmctl.server.streams import answer, sse
from slmctl.server.telling import begin, told


async def messages(call: Call) -> Response:
    call.headers["request-id"] = call.request_id
    request = messages_request(await call.json())
    ask = ask_of(request)
    id_ = writing.new_id("msg")
    if request.stream:
        return await sse(
            call,
            _streamed(call, request, ask, id_),
            lambda problem: writing.problem_events(problem, call.request_id),
        )
    blocks = _blocks(request)
    finished = Finished(reason="stop")
    async with aclosing(_events(call, request, ask)) as events:
        async for piece in events:
            if isinstance(piece, Finished):
                finished = piece
            for _ in blocks.take(piece):
                pass
    return answer(call, writing.whole(id_, request.model, blocks, finished))


async def count_tokens(call: Call) -> Response:
    call.headers["request-id"] = call.request_id
    request = count_request(await call.json())
    ask = ask_of(request)
    async with call.state.scheduler.use(Want(name=request.model, principal=call.principal)) as served:
        begin(call, served)
        tokens = await answering.count(served, _for_model(served, request, ask))
    call.told.prompt_tokens = tokens
    return answer(call, {"input_tokens": tokens})


async def _streamed(call: Call, request: MessagesRequest, ask: ChatAsk, id_: str) -> AsyncGenerator[bytes]:
    blocks = _blocks(request)
    has_begun = False
    async with aclosing(_events(call, request, ask)) as events:
        async for piece in events:
            if not has_begun:
                has_begun = True
                known = (piece.prompt_tokens, piece.cached_tokens) if isinstance(piece, Progress) else ()
                yield writing.start_event(id_, request.model, *known)
            for change in blocks.take(piece):
                yield writing.change_event(change)
            if isinstance(piece, Finished):
                for change in blocks.end():
                    yield writing.change_event(change)
                for event in writing.end_events(piece):
                    yield event


async def _events(
    call: Call, request: MessagesRequest, ask: ChatAsk
) -> AsyncGenerator[answering.AnswerEvent]:
    """Raises as `Scheduler.use` and `answering.chat`."""
    stops = tuple(request.stop_sequences or ())
    async with call.state.scheduler.use(Want(name=request.model, principal=call.principal)) as served:
        begin(call, served)
        answers = answering.chat(served, _for_model(served, request, ask))
        try:
            async with aclosing(told(call, stopping(answers, stops))) as events:
                async for event in events:
                    yield event
        except PromptTooLong as error:
            raise _too_long(error) from None


def _for_model(served: Served, request: CountRequest, ask: ChatAsk) -> ChatAsk:
    """Adaptive thinking leaves it to the model, and one that cannot think then does not: programs ask so of
    every model. Whoever enables it asks for thoughts."""
    if isinstance(request.thinking, ThinkingAdaptive) and "thinking" not in served.capabilities:
        return dataclasses.replace(ask, think=False)
    return ask


def _too_long(error: PromptTooLong) -> PromptTooLong:
    """In the words by which Anthropic's clients know it."""
    if error.tokens is None or error.context is None:
        return error
    text = f"prompt is too long: {error.tokens} tokens > {error.context} maximum."
    return PromptTooLong(text, tokens=error.tokens, context=error.context, hint="Shorten it.")


def _blocks(request: MessagesRequest) -> Blocks:
    match request.thinking:
        case ThinkingEnabled(display="omitted") | ThinkingAdaptive(display="omitted"):
            return Blocks(hide_thoughts=True)
        case _:
            return Blocks()


ENDPOINTS = (
    Endpoint(
        method="POST",
        path="/v1/messages",
        handler=messages,
        scope="infer",
        family="anthropic",
        label="messages",
        about="Answer a conversation, as Anthropic's Messages API does.",
        request_schema=MessagesRequest.model_json_schema(),
        response_schema=MESSAGE,
        streams="sse",
    ),
    Endpoint(
        method="POST",
        path="/v1/messages/count_tokens",
        handler=count_tokens,
        scope="infer",
        family="anthropic",
        label="count_tokens",
        about="How many tokens a conversation is for the model: exactly, by its own template and tokens.",
        request_schema=CountRequest.model_json_schema(),
        response_schema=COUNTED,
    ),
)
