"""The body of a request, as it comes in: counted, timed, and watched for the client's going away."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Protocol

from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

from slmctl.server.problems import Busy, StalledBody, TooLarge

SLOWEST_BYTES_PER_SECOND = 1024
"""Who sends more slowly than this, after a first wait, is not waited for."""

LINGER_SECONDS = 10.0
"""So long a client may go on sending to nobody; a twentieth of it in silence ends that."""

_RETRY_SECONDS = 2


class _Headers(Protocol):
    def get(self, name: str) -> str | None: ...


class Room:
    """The memory that the bodies of all requests may take together."""

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self.taken = 0

    def take(self, size: int) -> None:
        """Raise Busy where there is no room for so many bytes more."""
        if self.taken + size > self._most:
            raise Busy("Too many large requests are being read.", retry_after_seconds=_RETRY_SECONDS)
        self.taken += size

    def give(self, size: int) -> None:
        self.taken -= size


class Incoming:
    """What still comes of a request. `most_bytes` and `room` are None where the handler has a limit of its
    own, and keeps nothing.

    `is_whole` says that all of the body was read. Only then `receive` is watched, because it is what tells
    that the client has gone, and there is one reader at a time.
    """

    def __init__(
        self,
        receive: Receive,
        headers: _Headers,
        *,
        most_bytes: int | None,
        room: Room | None,
        wait_seconds: float,
    ) -> None:
        self._room = room
        self._held = 0
        self._receive = receive
        self._headers = headers
        self._most = most_bytes
        self._wait = wait_seconds
        self._loop = asyncio.get_running_loop()
        self._waited = 0.0
        self._size = 0
        self._gone = asyncio.Event()
        self._watcher: asyncio.Task[None] | None = None
        self._on_gone: Callable[[], None] | None = None
        self.is_whole = False
        self.is_gone = False

    @property
    def is_unread(self) -> bool:
        """Whether more of a body is to come than was read."""
        announced = self._headers.get("content-length") not in {None, "0"}
        return (
            not self.is_whole
            and not self.is_gone
            and (announced or self._headers.get("transfer-encoding") is not None)
        )

    def check_length(self) -> None:
        """Raise TooLarge for a body that is announced to be too long, before it is read."""
        length = self._headers.get("content-length")
        if self._most is not None and length is not None and length.isdigit() and int(length) > self._most:
            self._refuse()

    async def whole(self) -> bytes:
        """All of the body. Raises TooLarge, StalledBody, ClientDisconnect."""
        parts = []
        while not self.is_whole:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            parts.append(message.get("body", b""))
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def receive(self) -> Message:
        """The next message, as ASGI has it. After the body it waits for the client to go."""
        if self.is_whole:
            await self._gone.wait()
            return {"type": "http.disconnect"}
        began = self._loop.time()
        left = self._wait + self._size / SLOWEST_BYTES_PER_SECOND - self._waited
        try:
            async with asyncio.timeout(left) as timer:
                message = await self._receive()
        except TimeoutError:
            if not timer.expired():
                raise
            raise StalledBody("The request's body did not come in time.") from None
        self._waited += self._loop.time() - began
        if message["type"] == "http.disconnect":
            self.is_gone = True
            self._gone.set()
            return message
        size = len(message.get("body", b""))
        if self._room is not None:
            self._room.take(size)
            self._held += size
        self._size += size
        if self._most is not None and self._size > self._most:
            self._refuse()
        if not message.get("more_body", False):
            self.is_whole = True
            self._watch()
        return message

    def when_gone(self, on_gone: Callable[[], None]) -> None:
        """Call `on_gone` when the client goes away, from after its body until `close`."""
        self._on_gone = on_gone
        self._watch()

    async def drain(self) -> None:
        """Read and throw away what still comes, for a while: a connection that is closed with bytes unread is
        reset, and the client may then not see the answer."""
        end = self._loop.time() + LINGER_SECONDS
        with contextlib.suppress(TimeoutError):
            while not self.is_whole and not self.is_gone:
                async with asyncio.timeout_at(min(end, self._loop.time() + LINGER_SECONDS / 20)):
                    message = await self._receive()
                    self.is_gone = message["type"] == "http.disconnect"
                    self.is_whole = not message.get("more_body", False)

    def close(self) -> None:
        """The request is over."""
        if self._room is not None:
            self._room.give(self._held)
        if self._watcher is not None:
            self._watcher.cancel()

    def _watch(self) -> None:
        if self.is_whole and self._on_gone is not None and self._watcher is None:
            self._watcher = self._loop.create_task(self._wait_until_gone())

    async def _wait_until_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.is_gone = True
        self._gone.set()
        if self._on_gone is not None:
            self._on_gone()

    def _refuse(self) -> None:
        raise TooLarge(f"The request is larger than {self._most or 0:,} bytes.")
