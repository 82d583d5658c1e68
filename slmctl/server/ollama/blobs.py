"""HEAD and POST /api/blobs/sha256:..."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

from starlette.requests import ClientDisconnect
from starlette.responses import Response

from registry.digest import Digest
from registry.errors import BadContent, DigestMismatch, SizeMismatch, UsageError
from registry.store.ingest import OtherDigest
from slmctl.server.call import Call
from slmctl.server.jobs import in_thread_of_its_own
from slmctl.server.problems import TooLarge

MOST_BYTES = 4 << 40
"""Larger than any model's file; what the disk has no room for is refused before."""


async def has_blob(call: Call) -> Response:
    """Whether a blob is here: 200 or 404."""
    digest = _digest(call)
    found = await asyncio.to_thread(call.state.store.has, digest)
    return Response(status_code=200 if found else 404, headers=call.headers)


async def take_blob(call: Call) -> Response:
    """Take in the bytes of a file: 201, or 200 where they were here already."""
    digest = _digest(call)
    size = _announced(call)
    store, uploads = call.state.store, call.state.uploads
    if await asyncio.to_thread(store.has, digest):
        await asyncio.to_thread(uploads.keep, store, digest)
        async for _ in call.request.stream():  # a client that is not listened to would call it an error
            pass
        return Response(status_code=200, headers=call.headers)
    chunks = _Chunks(call.request.stream())
    try:
        await in_thread_of_its_own(lambda: uploads.receive(store, digest, size, chunks), name="slmctl-upload")
    except OtherDigest as error:
        raise UsageError(f'digest mismatch, expected "{error.wanted}", got "{error.found}"') from None
    except (DigestMismatch, SizeMismatch) as error:
        raise UsageError(error.message) from None
    finally:
        chunks.close()
    call.state.log.note(call, f"Took in the blob {digest.short}.")
    return Response(status_code=201, headers=call.headers)


def _digest(call: Call) -> Digest:
    text = str(call.request.path_params["digest"])
    try:
        return Digest.parse(text)
    except BadContent:
        raise UsageError(f'invalid digest format "{text:.100}"') from None


def _announced(call: Call) -> int | None:
    text = call.request.headers.get("content-length")
    if text is None:
        return None
    size = int(text)  # the server has checked it
    if size > MOST_BYTES:
        raise TooLarge(f"A blob may have {MOST_BYTES:,} bytes at most.")
    return size


class _Chunks:
    """A request's body for a thread: each piece is waited for on the event loop, so that no more than one is
    ever held. Once closed, whoever waits for a piece hears that the client has left."""

    def __init__(self, body: AsyncIterator[bytes]) -> None:
        self._body = body
        self._loop = asyncio.get_running_loop()
        self._asked: concurrent.futures.Future[bytes | None] | None = None
        self._closed = False

    def __iter__(self) -> Iterator[bytes]:
        while True:
            if self._closed:
                raise ClientDisconnect
            try:
                self._asked = asyncio.run_coroutine_threadsafe(self._next(), self._loop)
                piece = self._asked.result()
            except (concurrent.futures.CancelledError, RuntimeError):  # closed; or the loop has ended
                raise ClientDisconnect from None
            if piece is None:
                return
            if piece:
                yield piece

    async def _next(self) -> bytes | None:
        return await anext(self._body, None)

    def close(self) -> None:
        self._closed = True
        if self._asked is not None:
            with suppress(RuntimeError):
                self._asked.cancel()
