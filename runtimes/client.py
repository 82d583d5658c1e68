"""The synchronous transport to a worker: HTTP/1.1 by h11 over its unix socket.

Not http.client, which brings ssl and the email package along: a run that finds a kept worker must start fast.
"""

from __future__ import annotations

import contextlib
import dataclasses
import socket
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn, Protocol, TypeVar

import h11

from registry.errors import EngineFailed
from runtimes import protocol
from runtimes.errors import EngineDied, EngineUnresponsive
from runtimes.protocol import Event, HttpRequest

T = TypeVar("T")

_OK = 200
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
        with self._answer(request) as exchange:
            while not reader.finished:
                piece = self._told(exchange.read)
                if not piece:
                    self._tell_death(None)
                yield from reader.feed(piece)

    def tokenize(self, text: str, *, add_special: bool = False) -> tuple[int, ...]:
        return protocol.parse_tokens(self._body(protocol.tokenize_request(text, add_special=add_special)))

    def apply_template(self, messages: Sequence[Mapping[str, object]]) -> str:
        """The prompt that the engine makes of `messages`."""
        return protocol.parse_prompt(self._body(protocol.apply_template_request(messages)))

    def preview(self, question: HttpRequest, most_bytes: int) -> bytes:
        """The body of the engine's answer that tells the prompt of a chat request, or its first bytes."""
        with self._answer(protocol.preview_request(question)) as exchange:
            return self._told(lambda: exchange.body(most_bytes))

    def _body(self, request: HttpRequest) -> bytes:
        with self._answer(request) as exchange:
            return self._told(lambda: exchange.body(None))

    @contextlib.contextmanager
    def _answer(self, request: HttpRequest) -> Iterator[Exchange]:
        exchange = self._told(
            lambda: Exchange(
                self._endpoint.socket, request.with_key(self._endpoint.key), self._timeout_seconds
            )
        )
        try:
            if exchange.status != _OK:
                body = self._told(lambda: exchange.body(_ERROR_BODY_BYTES))
                protocol.raise_for_status(exchange.status, body)
            yield exchange
        finally:
            exchange.close()

    def _told(self, act: Callable[[], T]) -> T:
        """What `act` gives; a connection that breaks in it is told in the words of the worker's end."""
        try:
            return act()
        except (OSError, h11.ProtocolError) as error:
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
    try:
        exchange = Exchange(endpoint.socket, protocol.health_request(), timeout_seconds)
    except (OSError, h11.ProtocolError):
        return False
    exchange.close()
    return protocol.parse_health(exchange.status)


class Exchange:
    """One request over a unix socket and its answer, which is read as it comes. Not thread-safe.

    Making it sends the request and waits for the answer's head. That and reading raise OSError, of which
    TimeoutError is one, for a broken connection, and h11.ProtocolError for what is no HTTP. With None for
    `timeout_seconds` it waits as long as it takes.
    """

    def __init__(self, path: Path, request: HttpRequest, timeout_seconds: float | None) -> None:
        self._http = h11.Connection(h11.CLIENT)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.settimeout(timeout_seconds)
            self._socket.connect(str(path))
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self._send(request)  # it may refuse before it has read everything: see what it says
            self.status = self._head()
        except BaseException:
            self.close()
            raise

    def read(self) -> bytes:
        """The next piece of the body; empty at its end."""
        event = self._next()
        while not isinstance(event, h11.Data | h11.EndOfMessage):
            event = self._next()
        return bytes(event.data) if isinstance(event, h11.Data) else b""

    def body(self, most: int | None) -> bytes:
        """The rest of the body, or its first `most` bytes."""
        found = bytearray()
        while (most is None or len(found) < most) and (piece := self.read()):
            found += piece
        return bytes(found)

    def close(self) -> None:
        self._socket.close()

    def _send(self, request: HttpRequest) -> None:
        headers = [("Host", "localhost"), ("Connection", "close"), *request.headers.items()]
        if request.body:
            headers.append(("Content-Length", str(len(request.body))))
        head = h11.Request(method=request.method, target=request.path, headers=headers)
        pieces = [self._http.send(head)]
        if request.body:
            pieces.append(self._http.send(h11.Data(data=request.body)))
        pieces.append(self._http.send(h11.EndOfMessage()))
        self._socket.sendall(b"".join(piece for piece in pieces if piece))

    def _head(self) -> int:
        event = self._next()
        while not isinstance(event, h11.Response):
            event = self._next()
        return event.status_code

    def _next(self) -> h11.Event:
        """The next event of the answer, waited for."""
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                self._http.receive_data(self._socket.recv(_READ_BYTES))  # b"" is the end, and h11 judges it
            elif isinstance(event, h11.Event):
                return event
            else:  # PAUSED: the answer is over
                raise h11.RemoteProtocolError("there is nothing more to read")
