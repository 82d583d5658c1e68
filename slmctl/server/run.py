"""The server as a program: from settings to open doors, and to an end in order.

keys, TLS, sockets (whatever is wrong is told now) -> workers' owner -> doors -> announced -> preloaded
    -> a signal -> `draining` -> doors, workers, sockets and the announcement are put away
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import resource
import secrets
import signal
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from registry.errors import OperationFailed, SlmctlError
from registry.store.reader import StoreReader
from registry.store.store import Store
from slmctl import __version__
from slmctl.app.announced import SOCKET_NAME, Announced, store_id
from slmctl.config import Settings
from slmctl.serve_settings import ServeSettings
from slmctl.server import tls
from slmctl.server.announce import Announcement
from slmctl.server.app import make_app
from slmctl.server.draining import Signals, wait_for_answers
from slmctl.server.hosts import check_bind
from slmctl.server.http_server import HttpServer
from slmctl.server.keys import Keyring
from slmctl.server.listening import Listeners, listen
from slmctl.server.logs import LogHandler, ServerLog
from slmctl.server.metrics import Metrics
from slmctl.server.notifying import notify
from slmctl.server.scheduler import Scheduler
from slmctl.server.state import ServerState

_FILES = 65536
_TOKEN_BYTES = 32
_LAST_SECONDS = 20.0
"""So long what still runs in threads may take when all else is put away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """The doors are open. `everywhere` says that `url` is one of several addresses, `stands_open` that others
    than this machine need no key."""

    url: str | None
    everywhere: bool
    socket: Path | None
    pid: int
    stands_open: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How it ended: by which signal, how many answers were cut, after how many seconds."""

    signal: signal.Signals
    cut: int
    seconds: float
    url: str | None
    socket: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What a server is made of before it runs."""

    settings: Settings
    serve: ServeSettings
    store: Store
    reader: StoreReader


def run(
    program: Program, on_listening: Callable[[Listening], None], *, log_as_json: bool | None = None
) -> Ended:
    """Serve until a signal says that it is enough.

    Raises, before anybody is let in, UsageError for settings that will not do, OperationFailed for an address
    that is taken, NotFound for a model to preload that is not there, BadContent for keys that cannot be read.
    """
    settings, serve = program.settings, program.serve
    keys = Keyring.of(settings)
    stands_open = check_bind(serve, has_keys=not keys.is_open, forced=serve.open_to_all)
    context = (
        None if serve.tls_certificate is None else tls.server_context(serve.tls_certificate, serve.tls_key)
    )
    _raise_file_limit()
    gc.collect()
    gc.freeze()  # what is imported stays to the end: looking for garbage in it would hold everybody up
    with ExitStack() as stack:
        listeners = listen(serve)
        stack.callback(listeners.close)
        log = ServerLog(as_json=log_as_json, log_prompts=serve.log_prompts)
        stack.callback(log.close)
        stack.enter_context(_library_logs(log))
        announcement = _announcement(program, log)
        if announcement is not None:
            stack.callback(announcement.remove)
        running = _Running(program, keys, log, listeners, context, announcement)
        return asyncio.run(running.run(on_listening, stands_open=stands_open))


class _Running:
    """The server inside of its event loop."""

    def __init__(
        self,
        program: Program,
        keys: Keyring,
        log: ServerLog,
        listeners: Listeners,
        context: ssl.SSLContext | None,
        announcement: Announcement | None,
    ) -> None:
        self._program = program
        self._log = log
        self._keys = keys
        self._listeners = listeners
        self._tls = context
        self._announcement = announcement
        self._url = listeners.url(tls=context is not None)
        self._token = secrets.token_urlsafe(_TOKEN_BYTES)

    async def run(self, on_listening: Callable[[Listening], None], *, stands_open: bool) -> Ended:
        program = self._program
        loop = asyncio.get_running_loop()
        began = loop.time()
        with Signals(self._read_certificate) as signals:
            metrics = Metrics()
            scheduler = Scheduler(
                reader=program.reader, settings=program.settings, serve=program.serve, watcher=metrics
            )
            state = ServerState(
                settings=program.settings,
                serve=program.serve,
                store=program.store,
                reader=program.reader,
                scheduler=scheduler,
                keys=self._keys,
                log=self._log,
                metrics=metrics,
                local_token=self._token,
            )
            server = HttpServer(make_app(state), program.serve)
            try:
                for name in program.serve.preload:
                    await scheduler.find(name)
                own = None if self._announcement is None else self._announcement.own
                await server.start(self._listeners, self._tls, own)
                self._tell_others(on_listening, stands_open=stands_open)
                preloading = asyncio.create_task(self._preload(scheduler))
                await signals.asked.wait()
                preloading.cancel()
                cut = await self._drain(state, signals)
            finally:
                await server.close()
                await scheduler.close()
                state.uploads.close()
            assert signals.first is not None
            _end_within(_LAST_SECONDS, 128 + signals.first)
            seconds = loop.time() - began
            self._log.event("info", "ended", signal=signals.first.name, cut=cut, seconds=seconds)
        return Ended(
            signal=signals.first,
            cut=cut,
            seconds=seconds,
            url=self._url,
            socket=self._program.serve.socket,
        )

    def _tell_others(self, on_listening: Callable[[Listening], None], *, stands_open: bool) -> None:
        program, path = self._program, self._program.serve.socket
        pid = os.getpid()
        if self._announcement is not None:
            announced = Announced(
                pid=pid,
                store=store_id(program.settings.store),
                version=__version__,
                started=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
                url=self._url,
                socket=path,
                own_socket=self._announcement.folder / SOCKET_NAME,
                root_path=program.serve.root_path,
                token=self._token,
            )
            try:
                self._announcement.tell(announced)
            except OSError as error:  # the disk is full: it serves all the same
                self._log.event("warning", "not_announced", text=os.strerror(error.errno or 0))
        where = {"url": self._url, "socket": None if path is None else str(path), "pid": pid}
        self._log.event("info", "listening", **where)
        if stands_open:
            self._log.event(
                "warning", "open_to_all", text="Whoever reaches this server may use it: no key is defined."
            )
        everywhere = program.serve.tcp and program.serve.host in {"", "0.0.0.0", "::"}  # noqa: S104 - compared
        on_listening(
            Listening(url=self._url, everywhere=everywhere, socket=path, pid=pid, stands_open=stands_open)
        )

    async def _preload(self, scheduler: Scheduler) -> None:
        """A model that cannot be loaded now keeps nobody from the others."""
        for name, error in (await scheduler.preload()).items():
            if error is None:
                self._log.event("info", "preloaded", model=name)
            else:
                self._log.event("warning", "not_preloaded", model=name, text=error.message)
        path = self._program.serve.socket
        where = {"url": self._url, "socket": None if path is None else str(path), "pid": os.getpid()}
        self._log.event("info", "ready", **where)
        notify(self._program.settings.environment, "READY=1")

    async def _drain(self, state: ServerState, signals: Signals) -> int:
        grace = self._program.serve.grace_seconds
        state.draining = True
        assert signals.first is not None
        self._log.event(
            "info", "draining", signal=signals.first.name, under_way=len(state.running), grace_seconds=grace
        )
        notify(self._program.settings.environment, "STOPPING=1")
        if self._announcement is not None:
            self._announcement.withdraw()
        return await wait_for_answers(state.running, signals, grace)

    def _read_certificate(self) -> None:
        """On SIGHUP: connections from now on get the certificate that is in the files now."""
        serve = self._program.serve
        if self._tls is None or serve.tls_certificate is None:
            self._log.event(
                "info", "hangup", text="There is no certificate to read again; keys need no signal."
            )
            return
        try:
            tls.load(self._tls, serve.tls_certificate, serve.tls_key)
        except SlmctlError as error:
            self._log.event("error", "certificate", text=f"{error.message} The old one stays.")
        else:
            self._log.event("info", "certificate", text="The certificate was read again.")


def _announcement(program: Program, log: ServerLog) -> Announcement | None:
    try:
        made = Announcement.take(program.settings.runtime_folders, program.settings.store)
    except OperationFailed as error:  # one is enough for 'slmctl run' to find
        log.event("warning", "not_announced", text=error.message)
        return None
    except OSError as error:
        log.event("warning", "not_announced", text=os.strerror(error.errno or 0))
        return None
    if made is None:
        log.event("warning", "not_announced", text="There is no folder in which 'slmctl run' would look.")
    return made


@contextlib.contextmanager
def _library_logs(log: ServerLog) -> Iterator[None]:
    handler = LogHandler(log)
    loggers = [logging.getLogger(name) for name in ("uvicorn.error", "asyncio")]
    for logger in loggers:
        logger.addHandler(handler)
        logger.propagate = False
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
            logger.propagate = True


def _end_within(seconds: float, code: int) -> None:
    """Have the process end by then even if a thread never does: one that writes to a disk that hangs."""
    last = threading.Timer(seconds, os._exit, (code,))
    last.daemon = True
    last.start()


def _raise_file_limit() -> None:
    """Each connection is a file, and so is each request to a worker."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
