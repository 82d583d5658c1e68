"""The line of those who want one model: first come, first served, and no longer than it may be."""

from __future__ import annotations

import asyncio
import math
from collections import deque

from registry.digest import Digest
from registry.errors import SlmctlError
from registry.names import short_name
from slmctl.app.load import Purpose
from slmctl.server.circuit import Circuit
from slmctl.server.instances import Instance, Manner
from slmctl.server.problems import CircuitOpen
from slmctl.server.slots import Seat

LineId = tuple[Digest, Purpose]

_LONGEST_RETRY_SECONDS = 60
_WEIGHT = 0.2
_STALE_SECONDS = 1.0


class Ticket:
    """One request's place in a line, and then its slot."""

    __slots__ = (
        "future",
        "granted_at",
        "instance",
        "keep_seconds",
        "line",
        "load_seconds",
        "manner",
        "principal",
        "seat",
        "since",
    )

    def __init__(
        self, line: Line, manner: Manner, keep_seconds: float | None, principal: str | None, now: float
    ) -> None:
        self.line = line
        self.manner = manner
        self.keep_seconds = keep_seconds
        self.principal = principal
        self.since = now
        self.granted_at = now
        self.load_seconds = 0.0
        self.instance: Instance | None = None
        self.seat: Seat | None = None
        self.future: asyncio.Future[None] | None = None

    @property
    def queue_seconds(self) -> float:
        """What it waited for its slot, without the load; exactly 0 where it did not wait."""
        if self.future is None:
            return 0.0
        return max(0.0, self.granted_at - self.since - self.load_seconds)

    async def granted(self) -> None:
        """Wait until the slot is there. Raises what `wake` was given."""
        if self.instance is not None:
            return
        self.future = asyncio.get_running_loop().create_future()
        try:
            await self.future
        finally:
            if self.future.done() and not self.future.cancelled():
                self.future.exception()  # it was heard of, even by who was cancelled at the same moment

    def wake(self, error: SlmctlError | None = None) -> None:
        """Tell who waits that the slot is there, or why it will not be."""
        if self.future is None or self.future.done():
            return
        if error is None:
            self.future.set_result(None)
        else:
            self.future.set_exception(error)


class Line:
    """All who want one model for one purpose, the worker that they want, and what became of earlier ones."""

    def __init__(self, identity: LineId, name: str) -> None:
        self.id = identity
        self.name = name
        self.names = {name}
        self.waiting: deque[Ticket] = deque()
        self.instance: Instance | None = None
        self.loading: asyncio.Task[None] | None = None
        self.circuit = Circuit()
        self.last_words = ""
        self.load_seconds = 0.0
        self._use_seconds = 1.0
        self._failure: tuple[str, SlmctlError, float] | None = None

    @property
    def purpose(self) -> Purpose:
        return self.id[1]

    @property
    def free_slots(self) -> int:
        """How many may come without having to wait for others: one, where nothing is loaded yet."""
        if self.instance is None or self.instance.state != "ready":
            return 1
        return max(0, self.instance.parallel - self.instance.running)

    @property
    def is_empty(self) -> bool:
        return self.instance is None and not self.waiting and self.loading is None

    def turn_away(self, error: SlmctlError) -> None:
        """Tell it to all who wait."""
        for ticket in self.waiting:
            ticket.wake(error)
        self.waiting.clear()

    def failed(self, manner: Manner, error: SlmctlError, now: float) -> None:
        """It cannot be loaded this way, and will not be for a moment."""
        self._failure = (manner.key, error, now + _STALE_SECONDS)

    def failure(self, manner: Manner, now: float) -> SlmctlError | None:
        """Why it could not be loaded this way a moment ago."""
        if self._failure is None or self._failure[0] != manner.key or now >= self._failure[2]:
            return None
        return self._failure[1]

    def circuit_open(self, now: float) -> CircuitOpen:
        """Why nobody is let in."""
        seconds = max(1, math.ceil(self.circuit.open_seconds(now)))
        return CircuitOpen(
            f"{short_name(self.name)} has died too often within a minute: {self.last_words}"
            f" It is tried again in {seconds} seconds.",
            retry_after_seconds=seconds,
        )

    def used(self, seconds: float) -> None:
        """A slot was given back after so long."""
        self._use_seconds += _WEIGHT * (seconds - self._use_seconds)

    def retry_after_seconds(self) -> int:
        """When there may be room in the line: as long as those before would take."""
        slots = self.instance.parallel if self.instance is not None else 1
        seconds = self._use_seconds * len(self.waiting) / slots
        if self.instance is None or self.instance.state != "ready":
            seconds += self.load_seconds
        return max(1, min(_LONGEST_RETRY_SECONDS, math.ceil(seconds)))
