"""HTTP around the application: uvicorn's protocol over sockets that are open already."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import Callable
from email.utils import formatdate

import uvicorn
from starlette.types import ASGIApp
from uvicorn.server import ServerState as Shared

from slmctl.serve_settings import ServeSettings
from slmctl.server.connections import protocol
from slmctl.server.listening import BACKLOG, Listeners

KEEP_ALIVE_SECONDS = 75
"""So long an idle connection stays open: longer than proxies keep theirs, so that it is they who close."""

_FLUSH_SECONDS = 2.0


class HttpServer:
    """In place of uvicorn's own Server, which polls, takes the signals, and has TLS everywhere or nowhere."""

    def __init__(self, app: ASGIApp, serve: ServeSettings) -> None:
        self._handshake_seconds = serve.header_seconds
        self._make: Callable[..., asyncio.Protocol] = protocol(serve)
        self._config = uvicorn.Config(
            app,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            h11_max_incomplete_event_size=serve.max_header_bytes,
        )
        self._config.load()
        self._shared = Shared()
        self._servers: list[asyncio.Server] = []
        self._clock: asyncio.Task[None] | None = None

    async def start(
        self, listeners: Listeners, tls: ssl.SSLContext | None, own: socket.socket | None = None
    ) -> None:
        """Answer whoever comes. Unix sockets, of which `own` is one more, are plain HTTP also where the port
        speaks TLS."""
        loop = asyncio.get_running_loop()
        self._tick()
        self._clock = asyncio.create_task(self._keep_time())
        for each in listeners.tcp:
            server = await loop.create_server(
                self._protocol,
                sock=each,
                ssl=tls,
                ssl_handshake_timeout=None if tls is None else self._handshake_seconds,
                backlog=BACKLOG,
            )
            self._servers.append(server)
        for plain in (listeners.unix, own):
            if plain is not None:
                server = await loop.create_unix_server(self._protocol, sock=plain, backlog=BACKLOG)
                self._servers.append(server)

    async def close(self) -> None:
        """Let nobody in any more, let what was said reach its readers, and close all connections."""
        for server in self._servers:
            server.close()
        if self._clock is not None:
            self._clock.cancel()
        for connection in list(self._shared.connections):
            connection.shutdown()
        end = time.monotonic() + _FLUSH_SECONDS
        while self._shared.connections and time.monotonic() < end:  # noqa: ASYNC110
            await asyncio.sleep(0.01)  # uvicorn tells nobody when one goes
        for connection in list(self._shared.connections):
            connection.transport.abort()
        for task in list(self._shared.tasks):
            task.cancel()
        await asyncio.gather(*self._shared.tasks, return_exceptions=True)

    def _protocol(self) -> asyncio.Protocol:
        return self._make(config=self._config, server_state=self._shared, app_state={})

    async def _keep_time(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            while True:
                await asyncio.sleep(1.0)
                self._tick()

    def _tick(self) -> None:
        """Every answer says when it was made (RFC 9110, 6.6.1)."""
        date = formatdate(time.time(), usegmt=True).encode()
        self._shared.default_headers = [(b"date", date)]
