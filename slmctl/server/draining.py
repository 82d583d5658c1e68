"""Ending in order: unready at once, answers go on for a while, what is left of them gets one error each.

signal -> draining (503 for what is new) -> answers end, or the grace does, or a second signal comes
    -> cut what is left -> close the doors -> end the workers
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from typing import Protocol, Self

from registry.errors import SlmctlError
from slmctl.server.problems import Busy

CUT_SECONDS = 5.0
"""So long an answer that was cut may take to say so to a client that reads slowly."""

_AGAIN_SECONDS = 5


class Running(Protocol):
    """A request under way."""

    def cut(self, error: SlmctlError) -> None:
        """Have it end with this error, told as if its handler had raised it."""


class UnderWay:
    """The requests that are being answered. Belongs to the event loop's thread."""

    def __init__(self) -> None:
        self._running: set[Running] = set()
        self._none = asyncio.Event()
        self._none.set()

    def add(self, request: Running) -> None:
        self._running.add(request)
        self._none.clear()

    def discard(self, request: Running) -> None:
        self._running.discard(request)
        if not self._running:
            self._none.set()

    def __len__(self) -> int:
        return len(self._running)

    def __iter__(self) -> Iterator[Running]:
        return iter(tuple(self._running))

    async def none_left(self) -> None:
        """Return when there is none."""
        await self._none.wait()


class Signals:
    """SIGTERM and SIGINT ask for the end, once more for one at once; after that nobody waits for anything.

    SIGHUP calls `on_hangup`. Handlers stand from `__enter__` to `__exit__`.
    """

    _ENDING = (signal.SIGTERM, signal.SIGINT)

    def __init__(self, on_hangup: Callable[[], None]) -> None:
        self.first: signal.Signals | None = None
        self.asked = asyncio.Event()
        self.asked_again = asyncio.Event()
        self._on_hangup = on_hangup
        self._loop = asyncio.get_running_loop()

    def __enter__(self) -> Self:
        for number in self._ENDING:
            self._loop.add_signal_handler(number, self._take, number)
        self._loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
        return self

    def __exit__(self, *_: object) -> None:
        for number in (*self._ENDING, signal.SIGHUP):
            self._loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)  # what is left is this process's own end

    def _take(self, number: signal.Signals) -> None:
        if self.first is None:
            self.first = number
            self.asked.set()
        elif not self.asked_again.is_set():
            self.asked_again.set()
        else:
            os._exit(128 + number)  # the workers end with us, and the next start sweeps


async def wait_for_answers(under_way: UnderWay, signals: Signals, grace_seconds: float) -> int:
    """Let answers end within the grace, then cut the rest; how many were cut."""
    tasks = [
        asyncio.create_task(under_way.none_left()),
        asyncio.create_task(signals.asked_again.wait()),
    ]
    await asyncio.wait(tasks, timeout=grace_seconds, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    left = list(under_way)
    for request in left:
        request.cut(Busy("The server ends before the answer does.", retry_after_seconds=_AGAIN_SECONDS))
    if left:
        await asyncio.wait([asyncio.create_task(under_way.none_left())], timeout=CUT_SECONDS)
    return len(left)
