"""POST /api/embed and /api/embeddings"""

from __future__ import annotations

import time
from collections.abc import Sequence

from starlette.responses import Response

from registry.errors import UsageError
from slmctl.app.asks import EmbedAsk, Embedded
from slmctl.server import answering
from slmctl.server.call import Call
from slmctl.server.ollama.asking import Asked, load, options, served, unload
from slmctl.server.ollama.fields import Fields, keep_seconds, model_name
from slmctl.server.ollama.talking import Line
from slmctl.server.ollama.writing import nanoseconds, without_empty
from slmctl.server.problems import PromptTooLong
from slmctl.server.streams import answer
from slmctl.server.telling import TRUNCATED_HEADER


async def embed(call: Call) -> Response:
    """Vectors of length 1, one for each text."""
    started = time.monotonic()
    fields = Fields(await call.json())
    asked = _asked(call, fields)
    ask = EmbedAsk(
        inputs=_inputs(fields.value("input")),
        truncate=fields.flag("truncate", default=True),
        dimensions=_dimensions(fields),
    )
    found, loaded = await _embedded(call, asked, ask)
    said: Line = {"model": asked.name, "embeddings": [] if found is None else found.vectors}
    said |= _truncated(found) | without_empty(
        {
            "total_duration": nanoseconds(time.monotonic() - started),
            "load_duration": nanoseconds(loaded - started),
            "prompt_eval_count": found.prompt_tokens if found is not None else 0,
        }
    )
    return answer(call, said)


async def embeddings(call: Call) -> Response:
    """The vector of one text, as old clients ask for it."""
    fields = Fields(await call.json())
    asked = _asked(call, fields)
    prompt = fields.text("prompt")
    found, _ = await _embedded(call, asked, EmbedAsk(inputs=(prompt,) if prompt else ()))
    said: Line = {"embedding": [] if found is None else found.vectors[0]}
    return answer(call, said | _truncated(found))


def _truncated(found: Embedded | None) -> Line:
    return {} if found is None or not found.cut else {"truncated": {"inputs": list(found.cut)}}


def _asked(call: Call, fields: Fields) -> Asked:
    return Asked(
        name=model_name(fields),
        parameters=options(call, fields),
        keep_seconds=keep_seconds(fields.value("keep_alive")),
    )


def _inputs(value: object) -> Sequence[str]:
    """What is to be turned into vectors; nothing for nothing. Raises UsageError."""
    if value is None or value == "":
        return ()
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise UsageError("invalid input type")
    return texts


def _dimensions(fields: Fields) -> int | None:
    wanted = fields.whole("dimensions") or 0
    if wanted < 0:
        raise UsageError("dimensions must be a positive number")
    return wanted or None


async def _embedded(call: Call, asked: Asked, ask: EmbedAsk) -> tuple[Embedded | None, float]:
    """The vectors, and when the model was there; without texts it is loaded, or leaves, and that is all."""
    if not ask.inputs:
        if asked.unloads:
            await unload(call, asked)
        else:
            await load(call, asked, "embed")
        return None, time.monotonic()
    async with served(call, asked, "embed") as model:
        loaded = time.monotonic()
        try:
            found = await answering.embed(model, ask)
        except PromptTooLong as error:
            raise PromptTooLong(
                "the input length exceeds the context length", tokens=error.tokens, context=error.context
            ) from None
    call.told.prompt_tokens = found.prompt_tokens
    if found.cut:
        call.told.cut_tokens = found.cut_tokens
        call.headers[TRUNCATED_HEADER] = f"inputs={','.join(map(str, found.cut))}"
    return found, loaded
