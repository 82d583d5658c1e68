"""An answer on its way out: what every answer carries, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.types import Message, Send

from slmctl.server.incoming import Incoming


class Outgoing:
    """Sends messages, and adds `headers` to the head. `status` is 0 until the head is sent.

    An answer to a request whose body was not read ends the connection: what still comes is thrown away.
    """

    def __init__(self, send: Send, incoming: Incoming, headers: Mapping[str, str]) -> None:
        self._send = send
        self._incoming = incoming
        self.headers = dict(headers)
        self.closes = False
        self.status = 0
        self.is_whole = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            await self._start(message)
        elif message.get("more_body", False):
            await self._send(message)
        else:
            if self._incoming.is_unread:
                await self._send({**message, "more_body": True})
                await self._incoming.drain()
                message = {"type": "http.response.body", "body": b"", "more_body": False}
            self.is_whole = True
            await self._send(message)

    async def _start(self, message: Message) -> None:
        given = list(message.get("headers", []))
        names = {name for name, _ in given}
        if self.closes or self._incoming.is_unread:
            self.headers["connection"] = "close"
        given += [
            (name.encode("latin-1"), value.encode("latin-1"))
            for name, value in self.headers.items()
            if name.encode("latin-1") not in names
        ]
        self.status = message["status"]
        await self._send({**message, "headers": given})
