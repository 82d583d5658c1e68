"""Connections, as uvicorn has them, for strangers: nobody holds one for nothing.

uvicorn's own protocol waits for a request's head without end, never gives up a client that does not read, and
breaks over nonsense that comes while an answer is on its way.
"""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from slmctl.serve_settings import ServeSettings

STALLED_READER_SECONDS = 60.0
"""How long a client may leave unread what is written to it."""


def protocol(serve: ServeSettings) -> type[asyncio.Protocol]:
    """The class for uvicorn's `http`; its `h11_max_incomplete_event_size` is that of the settings."""

    class Bounded(_Bounded):
        head_seconds = serve.header_seconds

    return Bounded


class _Bounded(H11Protocol):
    head_seconds = 30.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop(head=True, stall=True)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._is_amid_head():
            self._wait_for_head()
        else:
            self._stop(head=True)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._is_amid_head():
            self._wait_for_head()

    def send_400_response(self, msg: str) -> None:
        """As uvicorn's, but where an answer has begun the connection ends: it has no room for two."""
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            super().send_400_response(msg)
        elif not self.transport.is_closing():
            self.transport.close()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._stall_timer is None:
            self._stall_timer = self.loop.call_later(STALLED_READER_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop(stall=True)

    def _is_amid_head(self) -> bool:
        """Whether some bytes of a request have come, and its head has not."""
        return self.conn.their_state is h11.IDLE and bool(self.conn.trailing_data[0])

    def _wait_for_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self.head_seconds, self._give_up)

    def _give_up(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            self.transport.close()

    def _stop(self, *, head: bool = False, stall: bool = False) -> None:
        if head and self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        if stall and self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None
