"""An answer on its way out: what every answer carries, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.types import Message, Send

from slmctl.server.incoming import Incoming

_LINGER_SECONDS = 2.0


class Outgoing:
    """Sends messages, and adds `headers` to the head. `status` is 0 until the head is sent.

    An answer to a request whose body was not read ends the connection: what still comes is thrown away.
    """

    def __init__(self, send: Send, headers: Mapping[str, str]) -> None:
        self._send = send
        self.headers = dict(headers)
        self.incoming: Incoming | None = None
        self.closes = False
        self.status = 0
        self.is_whole = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            await self._start(message)
        elif message.get("more_body", False):
            await self._send(message)
        else:
            if self._is_unread:
                await self._send({**message, "more_body": True})
                assert self.incoming is not None
                await self.incoming.drain(_LINGER_SECONDS)
                message = {"type": "http.response.body", "body": b"", "more_body": False}
            self.is_whole = True
            await self._send(message)

    @property
    def _is_unread(self) -> bool:
        return self.incoming is not None and not self.incoming.is_whole and not self.incoming.is_gone

    async def _start(self, message: Message) -> None:
        given = list(message.get("headers", []))
        names = {name for name, _ in given}
        if self.closes or self._is_unread:
            self.headers["connection"] = "close"
        given += [
            (name.encode("latin-1"), value.encode("latin-1"))
            for name, value in self.headers.items()
            if name.encode("latin-1") not in names
        ]
        self.status = message["status"]
        await self._send({**message, "headers": given})
