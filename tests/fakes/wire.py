"""A server on 127.0.0.1 that says, byte by byte, whatever a test wants, and records every request it saw.

A test gives a function: it gets each request and a Wire, and writes what it likes when it likes: half a head,
lies about lengths, nothing at all. `reply` makes well-formed answers. With `tls`, the bytes are encrypted.

    with serve(lambda request, wire: wire.send(reply(200, b"hello"))) as server:
        client.send("GET", f"{server.url}/x")
    assert server.requests[0].headers["user-agent"] == "slmctl"
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What came, as it came. `headers` by lower-case name, the last of several; `raw_head` has them all."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    raw_head: bytes
    connection: int
    """Counts connections from 0, so that a test sees which requests shared one."""

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]


class Wire:
    """The other end of one connection."""

    def __init__(self, connection: socket.socket, stopping: threading.Event) -> None:
        self._connection = connection
        self._stopping = stopping
        self.open = True

    def send(self, data: bytes) -> None:
        """Write; a client that has gone is no failure of the test."""
        try:
            self._connection.sendall(data)
        except OSError:
            self.open = False

    def dribble(self, data: bytes, every_seconds: float) -> None:
        """Write one byte each so many seconds, until the client or the test ends."""
        for place in range(len(data)):
            if not self.open or self._stopping.wait(every_seconds):
                return
            self.send(data[place : place + 1])

    def hang(self) -> None:
        """Say nothing more, until the client leaves or the test ends."""
        self._connection.settimeout(0.05)
        while not self._stopping.is_set():
            try:
                if not self._connection.recv(65536):
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        self.open = False

    def close(self) -> None:
        """End the connection as if all had been said."""
        self.open = False
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """End the connection with RST."""
        self.open = False
        linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
        with contextlib.suppress(OSError):
            self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self._connection.close()


Script = Callable[[Request, Wire], None]
"""What the server does about a request. It returns with the wire open when the next request may come."""


def reply(
    status: int,
    body: bytes = b"",
    headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
    *,
    length: int | str | None = -1,
) -> bytes:
    """A whole answer. `length` is what Content-Length says: -1 the truth, None nothing at all."""
    pairs = list(headers.items() if isinstance(headers, Mapping) else headers)
    if length is not None:
        pairs.append(("Content-Length", str(len(body) if length == -1 else length)))
    head = "".join(f"{name}: {value}\r\n" for name, value in pairs)
    return f"HTTP/1.1 {status} Whatever\r\n{head}\r\n".encode("latin-1") + body


@dataclass
class Server:
    """`requests` grows as they come; `connections` counts those that were accepted."""

    host: str
    port: int
    scheme: str
    requests: list[Request] = field(default_factory=list)
    connections: int = 0

    @property
    def place(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.place}"


@contextmanager
def serve(
    script: Script,
    *,
    tls: ssl.SSLContext | None = None,
    greet: Callable[[Wire], None] | None = None,
    host: str = "127.0.0.1",
    shown_host: str | None = None,
) -> Iterator[Server]:
    """Serve until the block ends. `greet` is done with each connection before anything is read (and before
    TLS); when it leaves the wire closed, that was all. `shown_host` is the name in `url`."""
    listener = socket.create_server((host, 0))
    server = Server(shown_host or host, listener.getsockname()[1], "https" if tls else "http")
    stopping = threading.Event()
    lock = threading.Lock()
    alive: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def handle(plain: socket.socket, number: int) -> None:
        connection = plain
        try:
            if greet is not None:
                wire = Wire(plain, stopping)
                greet(wire)
                if not wire.open:
                    return
            if tls is not None:
                connection = tls.wrap_socket(plain, server_side=True)
                with lock:
                    alive.append(connection)
            wire = Wire(connection, stopping)
            reader = connection.makefile("rb")
            while wire.open and (request := _read_request(reader, number)) is not None:
                with lock:
                    server.requests.append(request)
                script(request, wire)
        except (OSError, ValueError):  # the client went away, or speaks something else
            pass
        finally:
            with contextlib.suppress(OSError):
                connection.close()

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with lock:
                number = server.connections
                server.connections += 1
                alive.append(connection)
                thread = threading.Thread(target=handle, args=(connection, number))
                threads.append(thread)
            thread.start()

    acceptor = threading.Thread(target=accept)
    acceptor.start()
    try:
        yield server
    finally:
        stopping.set()
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        acceptor.join()
        with lock:
            for connection in alive:
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)
        for thread in threads:
            thread.join()


def _read_request(reader: object, number: int) -> Request | None:
    assert hasattr(reader, "readline")
    assert hasattr(reader, "read")
    head = b""
    while (line := reader.readline()) not in {b"\r\n", b""}:
        head += line
    if not head:
        return None
    first, *lines = head.decode("latin-1").splitlines()
    method, target, _ = first.split(" ")
    headers: dict[str, str] = {}
    for each in lines:
        name, _, value = each.partition(":")
        headers[name.lower()] = value.strip()
    if "chunked" in headers.get("transfer-encoding", ""):
        body = b""
        while size := int(reader.readline(), 16):
            body += reader.read(size)
            reader.readline()
        reader.readline()
    else:
        body = reader.read(int(headers.get("content-length", "0")))
    return Request(method=method, target=target, headers=headers, body=body, raw_head=head, connection=number)
