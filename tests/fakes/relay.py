"""A relay on 127.0.0.1 in front of a real server: counts every byte that it hands to clients."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

_PIECE_BYTES = 64 << 10


@dataclass
class Relay:
    """`served` are the bytes that clients got so far; each time that it grows, `on_served` is told."""

    host: str
    upstream: tuple[str, int]
    served: int = 0
    on_served: Callable[[int], None] | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, size: int) -> None:
        with self._lock:
            self.served += size
            told, served = self.on_served, self.served
        if told is not None:
            told(served)


@contextmanager
def relay(upstream: str) -> Iterator[Relay]:
    """Relay to `upstream` (host:port) until the block ends."""
    host, _, port = upstream.rpartition(":")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        made = Relay(host=f"127.0.0.1:{listener.getsockname()[1]}", upstream=(host, int(port)))
        thread = threading.Thread(target=_accept, args=(listener, made), daemon=True)
        thread.start()
        try:
            yield made
        finally:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def _accept(listener: socket.socket, made: Relay) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        server = socket.create_connection(made.upstream)
        for source, target, count in ((client, server, None), (server, client, made.count)):
            threading.Thread(target=_pump, args=(source, target, count), daemon=True).start()


def _pump(source: socket.socket, target: socket.socket, count: Callable[[int], None] | None) -> None:
    with suppress(OSError):
        while data := source.recv(_PIECE_BYTES):
            target.sendall(data)
            if count is not None:
                count(len(data))
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
    source.close()  # the other direction closes the other one
