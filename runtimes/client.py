"""The synchronous transport to a worker: http.client over its unix socket."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import socket
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn, Protocol

from registry.errors import EngineFailed
from runtimes import protocol
from runtimes.errors import EngineDied, EngineUnresponsive
from runtimes.protocol import Event, HttpRequest

_READ_BYTES = 65536
_ERROR_BODY_BYTES = 1024 * 1024
_DEATH_SECONDS = 5.0


@dataclasses.dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a worker listens, and the key that it asks for."""

    socket: Path
    key: str = dataclasses.field(repr=False)


class Mortal(Protocol):
    """What the client asks about a worker when its connection breaks."""

    def death(self, timeout_seconds: float) -> EngineFailed | None:
        """Wait so long for the worker's end; give the error that tells it, or None while it lives."""


class Client:
    """Requests to one worker. Thread-safe: each request has a connection of its own.

    With the `worker` given, a connection that breaks is told in the words of the worker's end.
    `timeout_seconds` bounds each single wait for the engine, not the whole answer.
    """

    def __init__(
        self, endpoint: Endpoint, worker: Mortal | None = None, *, timeout_seconds: float = 600.0
    ) -> None:
        self._endpoint = endpoint
        self._worker = worker
        self._timeout_seconds = timeout_seconds

    def stream(self, request: HttpRequest) -> Generator[Event]:
        """The events of a completion or chat as they come; the last one is `Finished`.

        Closing the generator closes the connection, which frees the engine's slot. Raises EngineRefused,
        EngineDied, EngineUnresponsive or EngineSpokeNonsense.
        """
        reader = protocol.reader_for(request)
        with self._answer(request) as response:
            while not reader.finished:
                piece = self._read(response)
                if not piece:
                    self._tell_death(None)
                yield from reader.feed(piece)

    def tokenize(self, text: str, *, add_special: bool = False) -> tuple[int, ...]:
        return protocol.parse_tokens(self._body(protocol.tokenize_request(text, add_special=add_special)))

    def apply_template(self, messages: Sequence[Mapping[str, object]]) -> str:
        """The prompt that the engine makes of `messages`."""
        return protocol.parse_prompt(self._body(protocol.apply_template_request(messages)))

    def _body(self, request: HttpRequest) -> bytes:
        with self._answer(request) as response:
            try:
                return response.read()
            except (OSError, http.client.HTTPException) as error:
                self._tell_death(error)

    @contextlib.contextmanager
    def _answer(self, request: HttpRequest) -> Iterator[http.client.HTTPResponse]:
        connection = UnixConnection(self._endpoint.socket, timeout_seconds=self._timeout_seconds)
        try:
            response = self._send(connection, request.with_key(self._endpoint.key))
            try:
                if response.status != http.HTTPStatus.OK:
                    protocol.raise_for_status(response.status, self._error_body(response))
                yield response
            finally:
                response.close()
        finally:
            connection.close()

    def _send(self, connection: UnixConnection, request: HttpRequest) -> http.client.HTTPResponse:
        try:
            return connection.send_request(request)
        except (OSError, http.client.HTTPException) as error:
            self._tell_death(error)

    def _error_body(self, response: http.client.HTTPResponse) -> bytes:
        try:
            return response.read(_ERROR_BODY_BYTES)
        except (OSError, http.client.HTTPException) as error:
            self._tell_death(error)

    def _read(self, response: http.client.HTTPResponse) -> bytes:
        try:
            return response.read1(_READ_BYTES)
        except (OSError, http.client.HTTPException) as error:
            self._tell_death(error)

    def _tell_death(self, cause: Exception | None) -> NoReturn:
        if isinstance(cause, TimeoutError):
            raise EngineUnresponsive(
                f"The engine has said nothing for {self._timeout_seconds:g} seconds."
            ) from cause
        told = self._worker.death(_DEATH_SECONDS) if self._worker is not None else None
        if told is None:
            told = EngineDied("The engine cut the connection in the middle of its work.")
        raise told from cause


def healthy(endpoint: Endpoint, *, timeout_seconds: float) -> bool:
    """Whether the engine at `endpoint` has loaded its model. False also when nobody listens there."""
    connection = UnixConnection(endpoint.socket, timeout_seconds=timeout_seconds)
    try:
        response = connection.send_request(protocol.health_request())
        response.read(_ERROR_BODY_BYTES)
        return protocol.parse_health(response.status)
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path, *, timeout_seconds: float) -> None:
        super().__init__("localhost", timeout=timeout_seconds)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.sock.settimeout(self.timeout)
            self.sock.connect(str(self._path))
        except OSError:
            self.sock.close()
            raise

    def send_request(self, request: HttpRequest) -> http.client.HTTPResponse:
        with contextlib.suppress(
            BrokenPipeError
        ):  # it may refuse before it has read everything: see what it says
            self.request(
                request.method, request.path, body=request.body or None, headers=dict(request.headers)
            )
        return self.getresponse()
