"""Asking the slmctl server of this user and this store, where one listens. Nobody else's is ever asked."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Generator, Iterator, Mapping

import h11

from modelfiles.spec import ParameterValue
from registry.errors import OperationFailed, SlmctlError
from runtimes.client import Exchange
from runtimes.protocol import Event, Finished, HttpRequest
from slmctl.app.announced import Announced, find_server
from slmctl.app.server_wire import (
    ANSWER,
    LOAD,
    MODELS,
    UNLOAD,
    ServedModel,
    ServedStatus,
    error_of,
    events_of,
    seconds_to_json,
)
from slmctl.config import Settings

_OK = 200
_QUICK_SECONDS = 10.0
_MOST_ERROR_BYTES = 1 << 20


class ServerGone(OperationFailed):
    """The server does not answer (any more)."""

    code = "server_gone"


class ServerClient:
    """Requests to one server. Thread-safe: each has a connection of its own."""

    def __init__(self, announced: Announced) -> None:
        self.announced = announced

    @classmethod
    def find(cls, settings: Settings) -> ServerClient | None:
        """The server of this store that listens now."""
        announced = find_server(settings.runtime_folders, settings.store)
        return None if announced is None else cls(announced)

    def load(
        self, name: str, parameters: Mapping[str, ParameterValue], keep_seconds: float | None
    ) -> ServedModel:
        """Have a model loaded. Raises what the server raised, and ServerGone."""
        fields = {
            "name": name,
            "parameters": dict(parameters),
            "keep_seconds": seconds_to_json(keep_seconds),
        }
        try:
            return ServedModel.from_json(self._whole(LOAD, fields, timeout_seconds=None))
        except (KeyError, ValueError):
            raise _nonsense() from None

    def answer(self, fields: Mapping[str, object]) -> Generator[Event]:
        """The events of an answer; the last one is `Finished`. Closing the generator stops it."""
        with self._exchange("POST", ANSWER, fields, timeout_seconds=None) as exchange:
            for line in _lines(exchange):
                for event in events_of(line):
                    yield event
                    if isinstance(event, Finished):
                        return
        raise ServerGone("The server broke the answer off.")

    def models(self) -> list[ServedStatus]:
        """What it has loaded. Raises as `load`."""
        rows = self._whole(MODELS, None, timeout_seconds=_QUICK_SECONDS).get("models")
        try:
            return [ServedStatus.from_json(row) for row in rows] if isinstance(rows, list) else []
        except TypeError:
            raise _nonsense() from None

    def unload(self, name: str | None) -> list[str]:
        """Have the model leave when its last answer has ended, or all; their names. Raises as `load`."""
        fields = {} if name is None else {"name": name}
        stopped = self._whole(UNLOAD, fields, timeout_seconds=_QUICK_SECONDS).get("stopped")
        return [str(each) for each in stopped] if isinstance(stopped, list) else []

    def _whole(
        self, path: str, fields: Mapping[str, object] | None, *, timeout_seconds: float | None
    ) -> Mapping[str, object]:
        method = "GET" if fields is None else "POST"
        with self._exchange(method, path, fields, timeout_seconds=timeout_seconds) as exchange:
            return _object(exchange.body(None))

    @contextlib.contextmanager
    def _exchange(
        self,
        method: str,
        path: str,
        fields: Mapping[str, object] | None,
        *,
        timeout_seconds: float | None,
    ) -> Iterator[Exchange]:
        body = b"" if fields is None else json.dumps(fields).encode()
        request = HttpRequest(
            method="GET" if method == "GET" else "POST",
            path=path,
            headers={"content-type": "application/json"},
            body=body,
        ).with_key(self.announced.token)
        try:
            exchange = Exchange(self.announced.own_socket, request, timeout_seconds)
            try:
                if exchange.status != _OK:
                    raise _told(exchange.body(_MOST_ERROR_BYTES))
                yield exchange
            finally:
                exchange.close()
        except (OSError, h11.ProtocolError):
            raise ServerGone(
                f"The slmctl server (process {self.announced.pid}) does not answer.",
                hint="Look at its log, or stop it.",
            ) from None


def _lines(exchange: Exchange) -> Iterator[Mapping[str, object]]:
    left = b""
    while piece := exchange.read():
        *whole, left = (left + piece).split(b"\n")
        for line in whole:
            if line:
                yield _object(line)


def _object(data: bytes) -> Mapping[str, object]:
    try:
        found = json.loads(data)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise _nonsense()
    return found


def _told(body: bytes) -> SlmctlError:
    try:
        return error_of(_object(body))
    except ServerGone:
        text = body.decode(errors="replace").strip()
        return OperationFailed(text.splitlines()[0][:500] if text else "The server refused.")


def _nonsense() -> ServerGone:
    return ServerGone("The slmctl server says what this slmctl does not understand.", hint="Start it anew.")
