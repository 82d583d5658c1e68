"""The asynchronous twin of `runtimes.preview`, for a worker that answers others at the same time.

The others' work takes processor time too, so here the clock alone decides, and later.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncGenerator

from registry.errors import EngineFailed
from runtimes.engines.base import Explanation
from runtimes.errors import EngineRefused
from runtimes.preview import refusal, too_long
from runtimes.protocol import HttpRequest, preview_request
from runtimes.template_limits import TemplateLimits, TemplateWatch
from slmctl.server.engine import EngineClient

SERVER_LIMITS = TemplateLimits(computing_seconds=math.inf, deadline_seconds=10.0)

_FIRST_LOOK_SECONDS = 0.1
_LOOK_SECONDS = 0.05


async def check_prompt(
    engine: EngineClient, question: HttpRequest, limits: TemplateLimits = SERVER_LIMITS
) -> bytes:
    """Have the engine make the prompt of a chat request, and nothing of it yet; its answer is given.

    The worker is gone when that did not end well. Raises MalformedFile when the template takes too much,
    EngineRefused when it fails for this conversation, and else as `EngineClient.body`.
    """
    limits = limits.for_question(len(question.body))
    async with _watched(engine, limits):
        body = await engine.body(preview_request(question), most_bytes=limits.prompt_bytes + 1)
    if len(body) > limits.prompt_bytes:
        await asyncio.to_thread(engine.worker.kill)
        raise too_long(limits)
    return body


@contextlib.asynccontextmanager
async def _watched(engine: EngineClient, limits: TemplateLimits) -> AsyncGenerator[None]:
    """Within the block the engine is at the template; it is killed when it takes too much there."""
    told: list[Explanation] = []
    looking = asyncio.get_running_loop().call_later(
        _FIRST_LOOK_SECONDS, lambda: tasks.append(asyncio.create_task(_look(engine, limits, told)))
    )
    tasks: list[asyncio.Task[None]] = []
    try:
        yield
    except EngineRefused as error:
        raise refusal(error) from None
    except EngineFailed:
        if told:
            raise told[0].as_error() from None
        raise
    finally:
        looking.cancel()
        for task in tasks:
            task.cancel()


async def _look(engine: EngineClient, limits: TemplateLimits, told: list[Explanation]) -> None:
    if engine.worker.pid is None:
        return
    watch = TemplateWatch(engine.worker.pid, limits)
    while (explanation := watch.overuse()) is None:  # noqa: ASYNC110 - nobody tells when it is too much
        await asyncio.sleep(_LOOK_SECONDS)
    told.append(explanation)
    await asyncio.to_thread(engine.worker.kill)
