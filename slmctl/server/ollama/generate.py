"""POST /api/generate"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import dataclass

from starlette.responses import Response

from registry.errors import SlmctlError, UsageError
from slmctl.app.asks import ChatAsk, CompletionAsk
from slmctl.server import answering
from slmctl.server.call import Call
from slmctl.server.ollama.asking import Asked, asked_of, check_can, load, served, unload
from slmctl.server.ollama.chat import Parts, check_ask, rendered
from slmctl.server.ollama.fields import Fields, images_of
from slmctl.server.ollama.messages import user_message
from slmctl.server.ollama.talking import Line, Talk
from slmctl.server.ollama.writing import now
from slmctl.server.scheduler import Served
from slmctl.server.streams import answer, line, ndjson
from slmctl.server.telling import told


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """`ask` is the prompt through the template; `text` where it is not to go through it: raw, or to be filled
    in before a suffix. `context` are the tokens of an earlier answer, which come before the prompt."""

    asked: Asked
    ask: ChatAsk
    text: CompletionAsk | None
    context: tuple[int, ...]


async def generate(call: Call) -> Response:
    """Answer a prompt; without one, load the model or have it leave."""
    started = time.monotonic()
    fields = Fields(await call.json())
    question = _question_of(call, fields)
    asked = question.asked
    if not fields.text("prompt"):
        return answer(call, await _without_question(call, asked))
    talk = Talk(asked.name, started)
    if asked.renders_only:
        async with served(call, asked, "generate") as model:
            return answer(call, await _rendered(model, talk, question))
    if asked.stream:
        return await ndjson(call, _lines(call, question, talk))
    return answer(call, await _whole(call, question, talk))


def _question_of(call: Call, fields: Fields) -> _Question:
    asked = asked_of(call, fields)
    prompt, suffix = fields.text("prompt"), fields.text("suffix")
    context = _context(fields)
    is_raw = fields.flag("raw")
    if is_raw and (fields.text("template") or fields.text("system") or context):
        raise UsageError("raw mode does not support template, system, or context")
    images = images_of(fields)
    if images and (is_raw or suffix or context):
        raise UsageError("images need the model's template: they go with neither raw, suffix nor context")
    ask = ChatAsk(
        messages=[user_message(prompt, images)],
        parameters=asked.parameters,
        system=fields.text("system") or None,
        template=fields.text("template") or None,
        schema=asked.schema,
        think=asked.think,
        top_logprobs=asked.top_logprobs,
        truncate=asked.truncate,
    )
    text = None
    if is_raw or suffix:
        text = _continuation(asked, prompt, suffix=suffix or None)
    return _Question(asked=asked, ask=ask, text=text, context=context)


def _continuation(asked: Asked, prompt: str | tuple[int, ...], *, suffix: str | None = None) -> CompletionAsk:
    return CompletionAsk(
        prompt=prompt,
        suffix=suffix,
        parameters=asked.parameters,
        schema=asked.schema,
        top_logprobs=asked.top_logprobs,
        truncate=asked.truncate,
    )


def _context(fields: Fields) -> tuple[int, ...]:
    tokens = fields.array("context")
    if not all(type(token) is int and 0 <= token < 1 << 31 for token in tokens):
        raise UsageError("context must be an array of token ids, as an earlier answer gave it")
    return tuple(token for token in tokens if isinstance(token, int))


async def _without_question(call: Call, asked: Asked) -> Line:
    if asked.unloads:
        await unload(call, asked)
    else:
        await load(call, asked, "generate")
    return {
        "model": asked.name,
        "created_at": now(),
        "response": "",
        "done": True,
        "done_reason": "unload" if asked.unloads else "load",
    }


async def _rendered(model: Served, talk: Talk, question: _Question) -> Line:
    if question.text is None:
        return await rendered(model, talk, question.ask)
    return talk.head() | {"_debug_info": {"rendered_template": question.text.prompt}}


async def _pieces(call: Call, question: _Question, talk: Talk) -> AsyncGenerator[Line]:
    """What the answer adds, and as the last one its context."""
    asked = question.asked
    async with served(call, asked, "generate") as model:
        talk.loaded()
        _check(model, question)
        prompt: asyncio.Task[str] | None = None
        text = question.text
        if question.context:
            before = await answering.detokenize(model, question.context)
            text = _continuation(asked, before + await answering.prompt_of(model, question.ask))
        events = answering.chat(model, question.ask) if text is None else answering.complete(model, text)
        try:
            async with aclosing(talk.pieces(told(call, events))) as pieces:
                async for piece in pieces:
                    if text is None and prompt is None:  # after the first token, which does not wait for it
                        prompt = asyncio.create_task(answering.prompt_of(model, question.ask))
                    yield piece
            if question.text is None and (text is not None or prompt is not None):
                with suppress(SlmctlError):  # the answer is there: it ends without what is deprecated
                    seen = await prompt if prompt is not None else text.prompt if text is not None else ""
                    tokens = await answering.tokenize(model, f"{seen}{''.join(talk.said)}")
                    yield {"context": list(tokens[-model.about.context_length :])}
        finally:
            if prompt is not None:
                await _end(prompt)


async def _end(task: asyncio.Task[str]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError, SlmctlError):
        await task


def _check(model: Served, question: _Question) -> None:
    name = question.asked.name
    if question.text is not None and question.text.suffix is not None:
        check_can(model, name, "insert")
    check_ask(model, name, question.ask)


async def _lines(call: Call, question: _Question, talk: Talk) -> AsyncGenerator[bytes]:
    context: Line = {}
    async with aclosing(_pieces(call, question, talk)) as pieces:
        async for piece in pieces:
            if "context" in piece:
                context = piece
                continue
            text = piece.pop("content")
            yield line(talk.head() | {"response": text, "done": False} | piece)
    yield line(talk.head() | {"response": ""} | talk.end() | context)


async def _whole(call: Call, question: _Question, talk: Talk) -> Line:
    parts, context = Parts(), {}
    async with aclosing(_pieces(call, question, talk)) as pieces:
        async for piece in pieces:
            if "context" in piece:
                context = piece
            else:
                parts.add(piece)
    return talk.head() | parts.message("response") | talk.end() | context | parts.logprobs
