"""Whether the server lives, whether it wants requests, and what it counts."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from dataclasses import replace

from starlette.responses import PlainTextResponse, Response

from registry.errors import SlmctlError
from slmctl.server.call import Call, Endpoint
from slmctl.server.metrics import CONTENT_TYPE
from slmctl.server.state import ServerState


async def livez(call: Call) -> Response:
    """Answers from the event loop, and touches no engine: a model that is busy is no reason to start anew."""
    return PlainTextResponse("ok\n", headers={"cache-control": "no-store"})


async def readyz(call: Call) -> Response:
    """Whether requests may be sent here, and if not, why."""
    reason = why_not_ready(call.state)
    return PlainTextResponse(
        "ok\n" if reason is None else f"{reason}\n",
        status_code=200 if reason is None else 503,
        headers={"cache-control": "no-store"},
    )


def why_not_ready(state: ServerState) -> str | None:
    """None for a server that is ready."""
    if state.draining:
        return "the server is about to end"
    if state.keys.broken is not None:
        return "the API keys cannot be read"
    if not state.scheduler.preloaded:
        return "models that were to be loaded at the start are not loaded yet"
    return None


async def metrics(call: Call) -> Response:
    """For Prometheus."""
    state = call.state
    names, size = await asyncio.to_thread(_look, state)
    instances = state.scheduler.status()
    if names is not None:
        state.metrics.forget(names | {each.name for each in instances})
    text = state.metrics.text(instances, store_bytes=size)
    return Response(text, headers={"content-type": CONTENT_TYPE})


def _look(state: ServerState) -> tuple[frozenset[str] | None, int | None]:
    """The names of all models, and the bytes of the store's blobs; None for what is not known."""
    names: frozenset[str] | None = None
    size: int | None = None
    with suppress(SlmctlError):
        names = frozenset(state.reader.names().entries)
    with suppress(OSError), os.scandir(state.store.layout.blobs) as entries:
        size = sum(entry.stat().st_size for entry in entries)
    return names, size


_GET: tuple[Endpoint, ...] = (
    Endpoint(
        method="GET",
        path="/livez",
        handler=livez,
        scope=None,
        family="plain",
        label="livez",
        about="Whether the server lives.",
        media_type="text/plain",
    ),
    Endpoint(
        method="GET",
        path="/readyz",
        handler=readyz,
        scope=None,
        family="plain",
        label="readyz",
        about="Whether the server wants requests.",
        media_type="text/plain",
    ),
    Endpoint(
        method="GET",
        path="/metrics",
        handler=metrics,
        scope="read",
        family="plain",
        label="metrics",
        about="Counts and times, for Prometheus.",
        media_type="text/plain",
    ),
)

ENDPOINTS: tuple[Endpoint, ...] = (
    *_GET,
    *(replace(each, method="HEAD") for each in _GET if each.scope is None),  # as some probes ask
)
