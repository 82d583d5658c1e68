"""A registry's blobs on 127.0.0.1, with ranges; counts every byte that it gives out."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from registry.digest import Digest
from tests.fakes.wire import Request, Wire, reply, serve

PIECE_BYTES = 64 << 10
_RANGE = re.compile(r"bytes=([0-9]+)-([0-9]+)")


@dataclass(slots=True)
class BlobServer:
    """Has `contents`. After each piece that was given out, `on_served` is told how many bytes that were in all.

    `instead` may answer a request itself: then it returns True.
    """

    contents: Mapping[Digest, bytes]
    url: str = ""
    served: int = 0
    on_served: Callable[[int], None] | None = None
    instead: Callable[[Request, Wire], bool] | None = None
    asked: list[tuple[Digest, int, int]] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def name(self) -> str:
        """The name of a model there."""
        return f"{self.url}/t/m:latest"

    def answer(self, request: Request, wire: Wire) -> None:
        if self.instead is not None and self.instead(request, wire):
            return
        data = self.contents[Digest.parse(request.path.rpartition("/")[2])]
        start, stop, status = 0, len(data), 200
        headers = {"Content-Type": "application/octet-stream"}
        if match := _RANGE.fullmatch(request.headers.get("range", "")):
            start, stop, status = int(match[1]), int(match[2]) + 1, 206
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
        with self.lock:
            self.asked.append((Digest.parse(request.path.rpartition("/")[2]), start, stop))
        wire.send(reply(status, b"", headers, length=stop - start))
        self.give(memoryview(data)[start:stop], wire)

    def give(self, data: memoryview, wire: Wire) -> None:
        """Send bytes of a body, as long as the client takes them."""
        for at in range(0, len(data), PIECE_BYTES):
            piece = data[at : at + PIECE_BYTES]
            wire.send(bytes(piece))
            if not wire.open:
                return
            with self.lock:
                self.served += len(piece)
                served = self.served
            if self.on_served is not None:
                self.on_served(served)


@contextmanager
def blob_server(*contents: bytes) -> Iterator[BlobServer]:
    """Serve until the block ends."""
    server = BlobServer({Digest.of(data): data for data in contents})
    with serve(server.answer) as wire_server:
        server.url = wire_server.url
        server.requests = wire_server.requests
        yield server
