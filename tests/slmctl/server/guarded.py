"""The guard with handlers of a test's own behind it: in this process, on a real port, over real connections.

Everything is the server's own but the table of endpoints, so that a handler can wait, fail and look.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import logging
import socket
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from registry.store.store import Store
from slmctl.app.api_keys import Scope
from slmctl.config import Settings
from slmctl.serve_settings import ServeSettings
from slmctl.server import app, health
from slmctl.server.call import Endpoint
from slmctl.server.guard import Guard
from slmctl.server.http_server import HttpServer
from slmctl.server.keys import Keyring
from slmctl.server.listening import listen
from slmctl.server.logs import LogHandler, ServerLog
from slmctl.server.metrics import Metrics
from slmctl.server.routes import Routes
from slmctl.server.scheduler import Scheduler
from slmctl.server.state import ServerState
from tests.processes import until

T = TypeVar("T")

ALL = app.TABLES


class Guarded:
    """A running server. `call` runs something in its event loop."""

    def __init__(self, home: Path, log: io.StringIO) -> None:
        self.home = home
        self.state: ServerState
        self.address: tuple[str, int]
        self.secrets: dict[Scope, str] = {}
        self._log = log
        self._loop: asyncio.AbstractEventLoop
        self._end: asyncio.Event

    def run(self, tables: Iterable[Iterable[Endpoint]], serve: ServeSettings, ready: Future[None]) -> None:
        asyncio.run(self._run(tables, serve, ready))

    async def _run(
        self, tables: Iterable[Iterable[Endpoint]], serve: ServeSettings, ready: Future[None]
    ) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        try:
            environment = {"HOME": str(self.home), "SLMCTL_HOME": str(self.home)}
            settings = Settings.load(environment)
            store = Store(settings.store)
            log = ServerLog(self._log, as_json=True, log_prompts=serve.log_prompts)
            scheduler = Scheduler(settings=settings, serve=serve, reader=store)
            self.state = ServerState(
                settings=settings,
                serve=serve,
                store=store,
                reader=store,
                scheduler=scheduler,
                keys=Keyring.of(settings),
                log=log,
                metrics=Metrics(),
            )
            server = HttpServer(Guard(self.state, Routes(tables, root_path=serve.root_path)), serve)
            listeners = listen(serve)
            handler = LogHandler(log)
            with contextlib.ExitStack() as stack:
                for name in ("uvicorn.error", "asyncio"):
                    logging.getLogger(name).addHandler(handler)
                    stack.callback(logging.getLogger(name).removeHandler, handler)
                stack.callback(listeners.close)
                await server.start(listeners, None)
                self.address = ("127.0.0.1", listeners.port or 0)
                ready.set_result(None)
                await self._end.wait()
                await server.close()
                await scheduler.close()
            log.close()
        except BaseException as error:
            if not ready.done():
                ready.set_exception(error)
            raise

    def call(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return asyncio.run_coroutine_threadsafe(make(), self._loop).result(60)

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._end.set)

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The log so far."""
        return [json.loads(line) for line in self._log.getvalue().splitlines()]

    @property
    def log(self) -> str:
        return self._log.getvalue()

    def line(self, **fields: object) -> dict[str, Any]:
        """The first line with these fields, waited for."""
        wanted = fields.items()
        return until(lambda: next((line for line in self.lines if wanted <= line.items()), None))

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=30)

    def raw(self, data: bytes) -> bytes:
        """All that comes back on a connection of its own until the server closes it, or has answered once to a
        request that says "Connection: close"."""
        with self.connect() as connection:
            with contextlib.suppress(ConnectionError):
                connection.sendall(data)
            return rest_of(connection)

    def ask(
        self, method: str, path: str, body: bytes = b"", *, host: str = "localhost", headers: str = ""
    ) -> tuple[int, dict[str, str], bytes]:
        """One request, byte for byte as it is said; the status, the headers and the body of the answer."""
        length = f"Content-Length: {len(body)}\r\n" if body or method == "POST" else ""
        head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{length}{headers}\r\n"
        return parsed(self.raw(head.encode("latin-1") + body))


def parsed(answer: bytes) -> tuple[int, dict[str, str], bytes]:
    head, _, rest = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    if headers.get("transfer-encoding") == "chunked":
        rest = unchunked(rest)
    return int(first.split()[1]), headers, rest


def unchunked(data: bytes) -> bytes:
    parts = []
    while data:
        size, _, data = data.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            break
        parts.append(data[:length])
        data = data[length + 2 :]
    return b"".join(parts)


def rest_of(connection: socket.socket) -> bytes:
    parts = []
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


@contextlib.contextmanager
def guarded(
    home: Path, *endpoints: Endpoint, tables: Iterable[Iterable[Endpoint]] | None = None, **serve: Any
) -> Iterator[Guarded]:
    """A server with these endpoints (and health's), or with these tables, and settings."""
    server = Guarded(home, io.StringIO())
    ready: Future[None] = Future()
    settings = ServeSettings(**{"port": 0, **serve})
    tables = (health.ENDPOINTS, endpoints) if tables is None else tables
    thread = threading.Thread(target=server.run, args=(tables, settings, ready))
    thread.start()
    try:
        ready.result(60)
        yield server
    finally:
        if ready.done() and ready.exception() is None:
            server.end()
        thread.join(60)
    assert [line for line in server.lines if line["event"] == "library" and line["level"] == "error"] == []
