"""POST /api/chat"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.responses import Response

from slmctl.app.asks import ChatAsk
from slmctl.server import answering
from slmctl.server.call import Call
from slmctl.server.ollama.asking import Asked, asked_of, check_can, load, served, unload
from slmctl.server.ollama.fields import Fields
from slmctl.server.ollama.messages import has_images, messages_of, tools_of
from slmctl.server.ollama.talking import Line, Talk
from slmctl.server.ollama.writing import now
from slmctl.server.scheduler import Served
from slmctl.server.streams import answer, line, ndjson
from slmctl.server.telling import told


async def chat(call: Call) -> Response:
    """Answer a conversation; without messages, load the model or have it leave."""
    started = time.monotonic()
    fields = Fields(await call.json())
    asked = asked_of(call, fields)
    ask = ChatAsk(
        messages=messages_of(fields),
        parameters=asked.parameters,
        tools=tools_of(fields),
        schema=asked.schema,
        think=asked.think,
        top_logprobs=asked.top_logprobs,
        truncate=asked.truncate,
    )
    if not ask.messages:
        return answer(call, await _without_question(call, asked))
    talk = Talk(asked.name, started)
    if asked.renders_only:
        async with served(call, asked, "chat") as model:
            return answer(call, await rendered(model, talk, ask))
    if asked.stream:
        return await ndjson(call, _lines(call, asked, ask, talk))
    return answer(call, await _whole(call, asked, ask, talk))


async def _without_question(call: Call, asked: Asked) -> Line:
    if asked.unloads:
        await unload(call, asked)
    else:
        await load(call, asked, "chat")
    return {
        "model": asked.name,
        "created_at": now(),
        "message": {"role": "assistant", "content": ""},
        "done": True,
        "done_reason": "unload" if asked.unloads else "load",
    }


def check_ask(model: Served, name: str, ask: ChatAsk) -> None:
    """Raise NotSupported, in Ollama's words, for what the model cannot do."""
    if ask.tools:
        check_can(model, name, "tools")
    if ask.think:
        check_can(model, name, "thinking")
    if has_images(ask.messages):
        check_can(model, name, "vision")


async def rendered(model: Served, talk: Talk, ask: ChatAsk) -> Line:
    """What the model would see, instead of its answer."""
    about: Line = {"rendered_template": await answering.prompt_of(model, ask)}
    if images := has_images(ask.messages):
        about["image_count"] = images
    return talk.head() | {"_debug_info": about}


async def _pieces(call: Call, asked: Asked, ask: ChatAsk, talk: Talk) -> AsyncGenerator[Line]:
    async with served(call, asked, "chat") as model:
        talk.loaded()
        check_ask(model, asked.name, ask)
        async with aclosing(talk.pieces(told(call, answering.chat(model, ask)))) as pieces:
            async for piece in pieces:
                yield piece


async def _lines(call: Call, asked: Asked, ask: ChatAsk, talk: Talk) -> AsyncGenerator[bytes]:
    async with aclosing(_pieces(call, asked, ask, talk)) as pieces:
        async for piece in pieces:
            logprobs = {"logprobs": piece.pop("logprobs")} if "logprobs" in piece else {}
            yield line(talk.head() | {"message": {"role": "assistant", **piece}, "done": False} | logprobs)
    yield line(talk.head() | {"message": {"role": "assistant", "content": ""}} | talk.end())


async def _whole(call: Call, asked: Asked, ask: ChatAsk, talk: Talk) -> Line:
    parts = Parts()
    async with aclosing(_pieces(call, asked, ask, talk)) as pieces:
        async for piece in pieces:
            parts.add(piece)
    message = {"role": "assistant", **parts.message("content")}
    return talk.head() | {"message": message} | talk.end() | parts.logprobs


class Parts:
    """The pieces of an answer put together."""

    def __init__(self) -> None:
        self._texts: dict[str, list[str]] = {"content": [], "thinking": []}
        self._calls: list[object] = []
        self._logprobs: list[object] = []

    def add(self, piece: Line) -> None:
        for name, texts in self._texts.items():
            if text := piece.get(name):
                texts.append(str(text))
        for name, values in (("tool_calls", self._calls), ("logprobs", self._logprobs)):
            if isinstance(found := piece.get(name), list):
                values += found

    def message(self, content: str) -> Line:
        """The texts, of which the answer is named `content`, and the tool calls."""
        said: Line = {content: "".join(self._texts["content"])}
        if thinking := "".join(self._texts["thinking"]):
            said["thinking"] = thinking
        if self._calls:
            said["tool_calls"] = self._calls
        return said

    @property
    def logprobs(self) -> Line:
        return {"logprobs": self._logprobs} if self._logprobs else {}
