"""A forwarder in front of a real server, which cuts connections at a byte that a test chooses."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class WireCutter:
    """`cuts` are counts of bytes from the client, over all connections: at each, the connection is cut once."""

    host: str
    cuts: list[int] = field(default_factory=list)
    passed: int = 0
    done: list[int] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def share(self, data: bytes) -> tuple[bytes, bool]:
        """What of `data` still goes through, and whether the connection ends then."""
        with self.lock:
            if self.cuts and self.passed + len(data) >= self.cuts[0]:
                data = data[: self.cuts[0] - self.passed]
                self.done.append(self.cuts.pop(0))
                self.passed += len(data)
                return data, True
            self.passed += len(data)
            return data, False


@contextmanager
def wire_cutter(target: str) -> Iterator[WireCutter]:
    """Forward to `target` (host:port) until the block ends."""
    host, _, port = target.rpartition(":")
    listener = socket.create_server(("127.0.0.1", 0))
    state = WireCutter(host=f"127.0.0.1:{listener.getsockname()[1]}")
    threads: list[threading.Thread] = []
    alive: list[socket.socket] = []

    def end(*sockets: socket.socket) -> None:
        for each in sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def up(client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                data, cut = state.share(data)
                server.sendall(data)
                if cut:
                    break
        end(client, server)

    def down(client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                client.sendall(data)
        end(client, server)

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
                server = socket.create_connection((host, int(port)))
            except OSError:
                return
            alive.extend((client, server))
            for work in (up, down):
                thread = threading.Thread(target=work, args=(client, server))
                threads.append(thread)
                thread.start()

    acceptor = threading.Thread(target=accept)
    acceptor.start()
    try:
        yield state
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        acceptor.join()
        end(*alive)
        for thread in threads:
            thread.join()
