"""Long synchronous work (pull, push, create) in a thread of its own, whose events are told on the event loop.

Of one item only the newest progress waits to be told, so that a slow client holds nothing up and loses no
end of anything; everything else waits in order. Who leaves stops the work at its next event: it ends as it
would for Ctrl-C, and what was fetched stays.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import Generic, Protocol, TypeVar

from slmctl.app.events import Event, Progress, Transfer

T = TypeVar("T")

_TICK_SECONDS = 0.06
"""How often progress is told: as often as Ollama does."""


class Stopped(Exception):
    """Raised in the thread, out of the Teller."""


class Teller(Protocol):
    """What a work is given: called with its events; `check` raises Stopped when nobody waits for it."""

    def __call__(self, event: Event, /) -> None: ...

    def check(self) -> None: ...


class Job(Generic[T]):
    """`work` runs once `events` is iterated; `result` is what it gave, when they have ended."""

    def __init__(self, work: Callable[[Teller], T], *, name: str) -> None:
        self._work = work
        self._name = name
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._waiting: dict[object, Event] = {}
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._done: asyncio.Future[T] = self._loop.create_future()

    @property
    def result(self) -> T:
        return self._done.result()

    async def events(self) -> AsyncGenerator[Event]:
        """What the work tells, until it ends. Raises what it raises. Closing this stops it."""
        threading.Thread(target=self._run, name=self._name, daemon=True).start()
        try:
            while not self._done.done():
                await self._wake.wait()
                self._wake.clear()
                for event in self._taken():
                    yield event
                with suppress(TimeoutError):
                    await asyncio.wait_for(asyncio.shield(self._done), _TICK_SECONDS)
            for event in self._taken():
                yield event
        finally:
            self._stop.set()
            if self._done.done():
                self._done.exception()  # it has been looked at
        self._done.result()

    def _run(self) -> None:
        try:
            value = self._work(_Teller(self))
        except BaseException as error:  # noqa: BLE001 - it goes on to whoever waits
            self._call(self._fail, error)
        else:
            self._call(self._finish, value)

    def check(self) -> None:
        """Called by the work: raises Stopped when nobody waits for it any more."""
        if self._stop.is_set():
            raise Stopped

    def tell(self, event: Event) -> None:
        """Called by the work. Raises as `check`."""
        self.check()
        key: object = object()
        if isinstance(event, Transfer | Progress):
            key = (event.stage, event.item, event.digest if isinstance(event, Transfer) else None)
        with self._lock:
            is_first = not self._waiting
            self._waiting[key] = event
        if is_first:
            self._call(self._wake.set)

    def _taken(self) -> list[Event]:
        with self._lock:
            waiting, self._waiting = self._waiting, {}
        return list(waiting.values())

    def _finish(self, value: T) -> None:
        if not self._done.done():
            self._done.set_result(value)
        self._wake.set()

    def _fail(self, error: BaseException) -> None:
        if not self._done.done():
            self._done.set_exception(error if isinstance(error, Exception) else RuntimeError("interrupted"))
            self._done.exception()  # somebody may have left before: that is no mistake
        self._wake.set()

    def _call(self, function: Callable[..., object], *arguments: object) -> None:
        with suppress(RuntimeError):  # the loop has ended, and everybody with it
            self._loop.call_soon_threadsafe(function, *arguments)


class _Teller:
    def __init__(self, job: Job[T]) -> None:
        self._tell = job.tell
        self.check = job.check

    def __call__(self, event: Event) -> None:
        self._tell(event)


async def in_thread_of_its_own(work: Callable[[], T], *, name: str) -> T:
    """As asyncio.to_thread, in a thread of its own: what takes long keeps nobody else's from starting."""
    job = Job(lambda _: work(), name=name)
    async for _ in job.events():
        pass
    return job.result
