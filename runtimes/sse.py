"""Server-sent events, incrementally: bytes in, events out (WHATWG HTML, 9.2 "Server-sent events")."""

from __future__ import annotations

import dataclasses

from runtimes.errors import EngineSpokeNonsense

# the last event of /completion repeats the whole prompt, which may be a context of a million tokens
LIMIT_BYTES = 32 * 1024 * 1024


@dataclasses.dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """`name` is "message" where the stream gave none; `data` has its lines joined by line feeds."""

    name: str
    data: str


class SseParser:
    """Feed it the body in pieces of any size; it keeps what is not whole yet.

    `limit_bytes` bounds one event. An event that the end of the stream cuts is dropped, as the standard says.
    """

    def __init__(self, *, limit_bytes: int = LIMIT_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._line = bytearray()
        self._name = ""
        self._data: list[str] = []
        self._event_bytes = 0
        self._skip_line_feed = False
        self._at_start = True

    def feed(self, piece: bytes) -> list[ServerSentEvent]:
        """Give the events that `piece` completes. Raises EngineSpokeNonsense when one is too big."""
        if self._is_between_events and (simple := self._simple(piece)) is not None:
            return simple
        events = []
        if self._skip_line_feed and piece:  # the carriage return before it has ended the line
            piece = piece.removeprefix(b"\n")
            self._skip_line_feed = False
        if piece:
            self._skip_line_feed = piece.endswith(b"\r")
        for part in piece.splitlines(keepends=True):
            text = part.rstrip(b"\r\n")
            self._event_bytes += len(text)
            if self._event_bytes > self._limit_bytes:
                raise EngineSpokeNonsense(f"The engine sent an event of more than {self._limit_bytes} bytes.")
            self._line += text
            if len(text) < len(part):
                event = self._end_line()
                if event is not None:
                    events.append(event)
        return events

    @property
    def _is_between_events(self) -> bool:
        return not (self._line or self._data or self._name or self._event_bytes or self._skip_line_feed)

    def _simple(self, piece: bytes) -> list[ServerSentEvent] | None:
        """The events of a piece as engines write almost all: whole, of one line of data; None for others."""
        if not piece.endswith(b"\n\n") or b"\r" in piece or len(piece) > self._limit_bytes:
            return None
        lines = piece[:-2].split(b"\n\n")
        if not all(line.startswith(b"data: ") and b"\n" not in line for line in lines):
            return None
        self._at_start = False
        return [ServerSentEvent("message", line[6:].decode("utf-8", errors="replace")) for line in lines]

    def _end_line(self) -> ServerSentEvent | None:
        line = self._line.decode("utf-8", errors="replace")
        self._line.clear()
        if self._at_start:
            line = line.removeprefix("\ufeff")
            self._at_start = False
        if not line:
            return self._end_event()
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            self._data.append(value)
        elif field == "event":
            self._name = value
        elif not self._data:
            self._event_bytes = 0  # comments keep a quiet connection open and may go on for ever
        return None

    def _end_event(self) -> ServerSentEvent | None:
        event = ServerSentEvent(self._name or "message", "\n".join(self._data)) if self._data else None
        self._name = ""
        self._data.clear()
        self._event_bytes = 0
        return event
