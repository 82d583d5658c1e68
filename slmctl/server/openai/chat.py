"""POST /v1/chat/completions."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.responses import Response

from runtimes.protocol import Finished
from slmctl.app.asks import ChatAsk
from slmctl.server import answering
from slmctl.server.call import Call, Endpoint
from slmctl.server.openai import answer_schemas
from slmctl.server.openai.answers import (
    Answer,
    broken_off,
    created_now,
    fingerprint,
    gathered,
    interleaved,
    new_id,
    usage_of,
    using,
)
from slmctl.server.openai.chat_request import ChatRequest, ask_of, read_chat
from slmctl.server.openai.chat_shapes import ChunkWriter, choice_of, usage_chunk
from slmctl.server.openai.fields import another_seed, want_of
from slmctl.server.scheduler import Want
from slmctl.server.streams import DONE, answer, sse
from slmctl.server.telling import told


async def chat(call: Call) -> Response:
    """Answer a conversation, `n` times."""
    request = read_chat(await call.json())
    want, ask = want_of(call, request), ask_of(request)
    answers = [
        _answer(call, want, dataclasses.replace(ask, parameters=another_seed(ask.parameters, number)))
        for number in range(request.n or 1)
    ]
    if request.stream:
        return await sse(call, _chunks(call, request, answers), broken_off)
    found = await gathered(answers)
    ends = [each.finished for each in found]
    whole = {
        "id": new_id("chatcmpl"),
        "object": "chat.completion",
        "created": created_now(),
        "model": request.model,
        "system_fingerprint": fingerprint(call),
        "choices": [choice_of(index, each, ask.top_logprobs) for index, each in enumerate(found)],
        "usage": usage_of(ends[:1], ends),
    }
    return answer(call, whole)


async def _answer(call: Call, want: Want, ask: ChatAsk) -> Answer:
    async with (
        using(call, want, "messages") as served,
        aclosing(told(call, answering.chat(served, ask))) as events,
    ):
        async for each in events:
            yield each


async def _chunks(call: Call, request: ChatRequest, answers: list[Answer]) -> AsyncGenerator[bytes]:
    common: dict[str, object] = {}
    writers: dict[int, ChunkWriter] = {}
    ends: dict[int, Finished] = {}
    async with aclosing(interleaved(answers)) as events:
        async for index, each in events:
            if not common:
                common = {
                    "id": new_id("chatcmpl"),
                    "created": created_now(),
                    "model": request.model,
                    "system_fingerprint": fingerprint(call),
                }
            writer, begins = writers.get(index), b""
            if writer is None:
                writer = ChunkWriter(
                    common,
                    index,
                    includes_usage=request.includes_usage,
                    top_logprobs=request.top_logprobs or 0,
                )
                writers[index] = writer
                begins = writer.role()
            if isinstance(each, Finished):
                ends[index] = each
            if piece := begins + writer.of(each):
                yield piece
    if request.includes_usage:
        yield usage_chunk(common, usage_of([ends[0]], ends.values()))
    yield DONE


ENDPOINTS = (
    Endpoint(
        method="POST",
        path="/v1/chat/completions",
        handler=chat,
        scope="infer",
        family="openai",
        label="chat_completions",
        about="Answer a conversation, as OpenAI's chat completions.",
        request_schema=ChatRequest.model_json_schema(),
        response_schema=answer_schemas.CHAT,
        streams="sse",
    ),
)
