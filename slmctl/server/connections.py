"""Connections, as uvicorn has them, for strangers: nobody holds one for nothing.

uvicorn's own protocol waits for a head without end, never gives up a client that does not read, lets
in any number, and breaks over nonsense that comes while an answer is on its way. And it reads all that has
come in one go, while nobody else is served: a quarter of a megabyte of the smallest chunks takes seconds.
"""

from __future__ import annotations

import asyncio
import re
import resource
import sys
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from slmctl.serve_settings import ServeSettings

STALLED_READER_SECONDS = 60.0
"""How long a client may leave unread what is written to it."""

MOST_BYTES_AHEAD = 1 << 20
"""How much a client may send ahead while it waits for an answer."""

MOST_LINES = 2000
"""How many headers a request may have, and how many lines may stand behind a chunked body."""

MOST_SMALL_CHUNKS = 1000
SMALL_CHUNK_BYTES = 256
"""A chunked body may have so many chunks, and one more for each so many bytes of it."""

_HEAD_END = re.compile(rb"\n\r?\n")
_OTHER_FILES = 128
_SLICE_BYTES = 16384
"""So much is read at a time, so that what is not let in is seen before more of it is parsed."""


def protocol(serve: ServeSettings) -> type[asyncio.Protocol]:
    """The class for uvicorn's `http`; the limit of heads is uvicorn's `h11_max_incomplete_event_size`."""

    class Bounded(_Bounded):
        head_seconds = serve.header_seconds
        most = min(serve.max_connections, _connections_with_files())
        idle: dict[_Bounded, None] = {}  # noqa: RUF012 - shared by all connections of one server

    return Bounded


def _connections_with_files() -> int:
    """How many connections the system lets this process have, each with one to a worker. Beyond that, nobody
    would be let in, and models could not be loaded."""
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if most == resource.RLIM_INFINITY else max(1, (most - _OTHER_FILES) // 2)


class _Connection(h11.Connection):
    """As h11 has it, but what costs more to read than to send is no HTTP."""

    def __init__(self, most_bytes: int | None) -> None:
        super().__init__(h11.SERVER, *(() if most_bytes is None else (most_bytes,)))
        self._chunks = 0
        self._bytes = 0

    def next_event(self) -> type[h11.NEED_DATA | h11.PAUSED] | h11.Event:
        if self.their_state is h11.IDLE:
            self._chunks = self._bytes = 0
            self._check_head(self.trailing_data[0])
        event = super().next_event()
        if type(event) is h11.Data:
            self._chunks += event.chunk_start
            self._bytes += len(event.data)
            if self._chunks > MOST_SMALL_CHUNKS + self._bytes // SMALL_CHUNK_BYTES:
                raise h11.RemoteProtocolError("too many small chunks")
        return event

    @property
    def has_too_much_behind_it(self) -> bool:
        """Whether the lines that stand behind a chunked body have no end."""
        return self.their_state is h11.SEND_BODY and self.trailing_data[0].count(b"\n") > MOST_LINES

    def _check_head(self, data: bytes) -> None:
        end = _HEAD_END.search(data)
        if data.count(b"\n", 0, len(data) if end is None else end.start()) > MOST_LINES:
            raise h11.RemoteProtocolError("too many headers")


class _Bounded(H11Protocol):
    conn: _Connection
    head_seconds: float
    most: int
    idle: dict[_Bounded, None]
    """Those on which nothing is asked, who has been so longest first."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.conn = _Connection(self.config.h11_max_incomplete_event_size)
        self._head_timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None
        self._half_closed = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._begin_to_wait()
        if len(self.connections) > self.most:
            next(iter(self.idle)).give_up()

    def connection_lost(self, exc: Exception | None) -> None:
        self._has_head()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        for begin in range(0, len(data), _SLICE_BYTES):
            if self.transport.is_closing():
                return
            super().data_received(data[begin : begin + _SLICE_BYTES])
            if self.conn.has_too_much_behind_it:
                self.send_400_response("Invalid HTTP request received.")
        if self.conn.their_state is not h11.IDLE:
            self._has_head()
            if self.conn.their_state is h11.DONE:
                self._read_on()
        elif self.conn.trailing_data[0]:
            self._begin_to_wait()

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client says nothing more. It has gone, or it waits for its answer (`nc -N`), and nothing tells
        which: only what holds no slot is answered to nobody. TLS knows no half of a connection."""
        asked = bool(self.cycle)
        self._half_closed = (
            asked and not self.cycle.response_complete and self._is_plain_get(self.scope["scheme"])
        )
        return self._half_closed

    def _is_plain_get(self, scheme: str) -> bool:
        return scheme == "http" and self.scope["method"] == "GET"

    def _read_on(self) -> None:
        """uvicorn stops reading when the next request comes before the answer to this one is whole; it would
        then not notice that the client has gone."""
        if len(self.conn.trailing_data[0]) > MOST_BYTES_AHEAD:
            self.transport.abort()
        else:
            self.flow.resume_reading()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._half_closed and (self.cycle.response_complete or not self._is_plain_get("http")):
            self.transport.close()
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self.idle[self] = None
            if self.conn.trailing_data[0]:
                self._begin_to_wait()

    def send_400_response(self, msg: str) -> None:
        """As uvicorn's; but where an answer has begun the connection ends: it has no room for two."""
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
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    def give_up(self) -> None:
        """Close a connection on which nothing is asked."""
        self._has_head()
        if not self.transport.is_closing():
            self.transport.close()

    def _begin_to_wait(self) -> None:
        """For the head of a request: a new connection may take so long, and one that sends part of one."""
        self.idle[self] = None
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self.head_seconds, self.give_up)

    def _has_head(self) -> None:
        self.idle.pop(self, None)
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
