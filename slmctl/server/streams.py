"""Answers that come piece by piece: NDJSON and server-sent events.

The first piece is waited for before anything is sent, so that what goes wrong until then has its own status.
What goes wrong later is told inside the stream, as one last well-formed piece of it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import aclosing, nullcontext

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from registry.errors import SlmctlError
from slmctl.server.call import Call
from slmctl.server.problems import Problem

Json = Mapping[str, object]

DONE = b"data: [DONE]\n\n"
"""The end of OpenAI's streams."""


def json_bytes(value: object) -> bytes:
    """Compact JSON in UTF-8. A lone surrogate, which engines write for half a character, is escaped."""
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    except UnicodeEncodeError:
        return json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False).encode()


def answer(call: Call, value: object, *, status: int = 200) -> Response:
    """A whole answer in JSON."""
    return Response(
        json_bytes(value), status_code=status, media_type="application/json", headers=call.headers
    )


async def list_bytes(items: Iterable[object]) -> bytes:
    """`items` as a JSON list, for long ones: between them others get their turn."""
    found = []
    for each in items:
        found.append(json_bytes(each))
        await asyncio.sleep(0)
    return b"[" + b",".join(found) + b"]"


def line(value: object) -> bytes:
    """One line of NDJSON."""
    return json_bytes(value) + b"\n"


def event(value: object, name: str | None = None) -> bytes:
    """One server-sent event."""
    head = b"" if name is None else b"event: " + name.encode() + b"\n"
    return head + b"data: " + json_bytes(value) + b"\n\n"


async def ndjson(call: Call, pieces: AsyncGenerator[bytes]) -> Response:
    """Stream lines (`line`); an error in the middle becomes the line {"error"}."""
    return await _stream(call, pieces, "application/x-ndjson", lambda problem: [line(problem.body("ollama"))])


async def sse(
    call: Call, pieces: AsyncGenerator[bytes], on_problem: Callable[[Problem], Iterable[bytes]]
) -> Response:
    """Stream events (`event`); `on_problem` gives what ends the stream after an error in the middle."""
    return await _stream(call, pieces, "text/event-stream; charset=utf-8", on_problem)


async def _stream(
    call: Call,
    pieces: AsyncGenerator[bytes],
    media_type: str,
    on_problem: Callable[[Problem], Iterable[bytes]],
) -> Response:
    try:
        first = await anext(pieces, b"")
    except BaseException:
        await pieces.aclose()
        raise
    return _Streamed(call, first, pieces, media_type, on_problem)


class _Streamed(Response):
    def __init__(
        self,
        call: Call,
        first: bytes,
        rest: AsyncGenerator[bytes],
        media_type: str,
        on_problem: Callable[[Problem], Iterable[bytes]],
    ) -> None:
        headers = {"cache-control": "no-cache", "x-accel-buffering": "no", **call.headers}
        super().__init__(None, media_type=media_type, headers=headers)
        del self.headers["content-length"]
        self._call = call
        self._first = first
        self._rest = rest
        self._on_problem = on_problem

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._rest) as rest:
            head = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            await send(head)
            if self._first:
                await send({"type": "http.response.body", "body": self._first, "more_body": True})
            try:
                async with self._call.limit or nullcontext():
                    async for piece in rest:
                        await send({"type": "http.response.body", "body": piece, "more_body": True})
            except (SlmctlError, Exception) as error:  # noqa: BLE001 - the stream has begun: it is told inside
                problem = self._call.state.log.failure(self._call, error)
                for piece in self._on_problem(problem):
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
