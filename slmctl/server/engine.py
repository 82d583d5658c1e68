"""The asynchronous transport to a worker: h11 over its unix socket, as runtimes.protocol says.

Not httpx: reading one token through its three layers takes 80 µs of CPU, which is as long as small models
take to make it; h11 alone takes 35 (docs/decisions/0027). Each request has a connection of its own, since an
idle one keeps a thread of llama-server's small pool from those who want to ask.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import NoReturn

import h11

from registry.errors import EngineFailed
from runtimes import protocol
from runtimes.chunks import ChunkParser
from runtimes.client import Endpoint
from runtimes.errors import EngineDied, EngineUnresponsive
from runtimes.events import joined
from runtimes.preview import Renderer
from runtimes.protocol import Event, HttpRequest
from slmctl.server.silence import Silence

_OK = 200
_READ_BYTES = 65536
_ERROR_BODY_BYTES = 1024 * 1024
_DEATH_SECONDS = 5.0
_SILENT_SECONDS = 600.0
_BACKLOG_SECONDS = 0.005


class EngineClient:
    """Requests to one worker from the event loop, any number at once.

    A connection that breaks is told in the words of the worker's end. `timeout_seconds` bounds each single
    wait for an engine that is not at work, not the whole answer; `on_silence` is then called. `on_break` is
    told at once when a connection breaks (True), and (False) if the worker then turns out to live.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        worker: Renderer,
        *,
        timeout_seconds: float | None = None,
        on_break: Callable[[bool], None] | None = None,
        on_silence: Callable[[], None] | None = None,
    ) -> None:
        self._endpoint = endpoint
        self.worker = worker
        self._on_silence = on_silence
        self._death: asyncio.Task[EngineFailed | None] | None = None
        self._timeout_seconds = _SILENT_SECONDS if timeout_seconds is None else timeout_seconds
        self._on_break = on_break
        self._open: set[_Exchange] = set()
        self._closed = False

    async def stream(self, request: HttpRequest) -> AsyncGenerator[Event]:
        """The events of a completion or chat as they come; the last one is `Finished`.

        Tokens that have come by the time they are read go on as one piece: what they cost further on is that
        of one, so that a server with more to do than it can catches up.

        Closing the generator closes the connection, which frees the engine's slot. Raises EngineRefused,
        EngineDied, EngineUnresponsive or EngineSpokeNonsense.
        """
        reader = protocol.reader_for(request)
        async with aclosing(self._pieces(request)) as pieces:
            async for piece in pieces:
                for event in joined(reader.feed(piece)):
                    yield event
                if reader.finished:
                    return
        await self._tell_death(None)

    async def body(self, request: HttpRequest, *, most_bytes: int | None = None) -> bytes:
        """The whole body of an answer (or its first bytes). Raises as `stream`."""
        found = bytearray()
        async with aclosing(self._pieces(request)) as pieces:
            async for piece in pieces:
                found += piece
                if most_bytes is not None and len(found) >= most_bytes:
                    return bytes(found[:most_bytes])
        return bytes(found)

    async def close(self) -> None:
        """Break off what is still open; the worker is about to go, or gone."""
        self._closed = True
        for exchange in tuple(self._open):
            exchange.close()

    async def _pieces(self, request: HttpRequest) -> AsyncGenerator[bytes]:
        """The body of a good answer, piece by piece; a bad one is raised."""
        exchange = _Exchange(self._timeout_seconds, self.worker)
        self._open.add(exchange)
        try:
            status = await exchange.ask(self._endpoint, request)
            if status != _OK:
                body = bytearray()
                while len(body) < _ERROR_BODY_BYTES and (piece := await exchange.read()):
                    body += piece
                protocol.raise_for_status(status, bytes(body))
            while piece := await exchange.read():
                yield piece
        except (OSError, h11.ProtocolError) as error:
            if exchange.timed_out:
                if self._on_silence is not None:
                    self._on_silence()
                raise EngineUnresponsive(
                    f"The engine has said nothing for {self._timeout_seconds:g} seconds."
                ) from None
            await self._tell_death(error)
        finally:
            self._open.discard(exchange)
            exchange.close()

    async def _tell_death(self, cause: Exception | None) -> NoReturn:
        """Raise what the end of a connection means. One look at the worker does for all that break at once,
        and is not over when those go away who wanted to know."""
        if self._death is None:
            self._death = asyncio.create_task(self._look_for_death())
        told = await asyncio.shield(self._death)
        raise told or EngineDied("The engine cut the connection in the middle of its work.") from cause

    async def _look_for_death(self) -> EngineFailed | None:
        tell, told = self._on_break, None
        if tell is not None:
            tell(True)
        try:
            told = await asyncio.to_thread(self.worker.death, 0.0 if self._closed else _DEATH_SECONDS)
        finally:
            self._death = None
            if tell is not None and told is None:
                tell(False)
        return told


class _Exchange:
    """One request and its answer, which is read as it comes.

    h11 reads the head, and bodies of a known length; `ChunkParser` those that stream. Raises OSError for a
    connection that breaks, or is silent for too long (then `timed_out` is set), and h11.ProtocolError for
    what is no HTTP.
    """

    def __init__(self, timeout_seconds: float, worker: Renderer) -> None:
        self.timed_out = False
        self._worker = worker
        self._silence: Silence | None = None
        self._wait_seconds = timeout_seconds / 2
        self._http = h11.Connection(h11.CLIENT)
        self._chunks: ChunkParser | None = None
        self._unread = b""
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._loop = asyncio.get_running_loop()
        self._heard = self._loop.time()
        self._timer = self._loop.call_later(self._wait_seconds, self._look)

    async def ask(self, endpoint: Endpoint, request: HttpRequest) -> int:
        """Send it, and give the answer's status."""
        self._reader, self._writer = await asyncio.open_unix_connection(sock=await self._connected(endpoint))
        self._writer.write(self._written(request.with_key(endpoint.key)))
        while True:
            event = await self._next()
            if isinstance(event, h11.Response):
                if (b"transfer-encoding", b"chunked") in event.headers:
                    self._chunks = ChunkParser()
                    self._unread, _ = self._http.trailing_data
                return event.status_code

    async def read(self) -> bytes:
        """The next piece of the body, all that is there of it; empty at its end."""
        chunks = self._chunks
        while chunks is not None:
            if chunks.ended:
                return b""
            data = self._unread or await self._received()
            self._unread = b""
            if not data:
                raise h11.RemoteProtocolError("the connection ended in the middle of an answer")
            if piece := chunks.feed(data):
                return piece
        while True:
            event = await self._next()
            if type(event) is h11.Data:
                return event.data
            if type(event) is h11.EndOfMessage:
                return b""

    def close(self) -> None:
        self._timer.cancel()
        if self._writer is not None:
            self._writer.transport.abort()

    async def _connected(self, endpoint: Endpoint) -> socket.socket:
        """A connection. Where the engine's backlog is full the system says so at once; asyncio would take
        that for a connection on its way, which on a unix socket it is not."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.setblocking(False)
            while not self.timed_out:
                try:
                    connection.connect(str(endpoint.socket))
                    return connection
                except BlockingIOError:
                    await asyncio.sleep(_BACKLOG_SECONDS)
            raise TimeoutError
        except BaseException:
            connection.close()
            raise

    def _written(self, request: HttpRequest) -> bytes:
        headers = [("Host", "localhost"), ("Connection", "close"), *request.headers.items()]
        if request.body:
            headers.append(("Content-Length", str(len(request.body))))
        events: list[h11.Event] = [h11.Request(method=request.method, target=request.path, headers=headers)]
        if request.body:
            events.append(h11.Data(data=request.body))
        return b"".join(self._http.send(event) or b"" for event in (*events, h11.EndOfMessage()))

    async def _received(self) -> bytes:
        """What has come, waited for; empty at the connection's end."""
        assert self._reader is not None
        data = await self._reader.read(_READ_BYTES)
        self._heard = self._loop.time()
        if not data and self.timed_out:
            raise TimeoutError
        return data

    async def _next(self) -> h11.Event:
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                self._http.receive_data(await self._received())  # b"" is the end, and h11 judges it
            elif isinstance(event, h11.Event):
                return event
            else:  # PAUSED: the answer is over
                raise h11.RemoteProtocolError("there is nothing more to read")

    def _look(self) -> None:
        """One timer for all waits: it goes off when half of the oldest could be over, and looks at the
        youngest. In the other half it is seen whether the engine is at work: then it has as long again."""
        rest = self._heard + self._wait_seconds - self._loop.time()
        if rest > 0:
            self._silence = None
        elif self._silence is None:
            self._silence, rest = Silence(self._worker.pid), self._wait_seconds
        elif not self._silence.was_idle(self._wait_seconds):
            rest = self._wait_seconds
        if rest > 0:
            self._timer = self._loop.call_later(rest, self._look)
            return
        self.timed_out = True
        if self._writer is not None:
            self._writer.transport.abort()
