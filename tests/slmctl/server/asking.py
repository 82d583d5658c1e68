"""Asking a real scheduler and real workers in a test: an event loop in a thread, for a module's tests."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeVar

from registry.store.store import Store
from runtimes.protocol import Finished, TextDelta, ThinkingDelta, ToolCallDelta
from slmctl.app.asks import ChatAsk, CompletionAsk
from slmctl.config import Settings
from slmctl.serve_settings import ServeSettings
from slmctl.server import answering
from slmctl.server.answering import AnswerEvent, Cut
from slmctl.server.scheduler import Purpose, Scheduler, Served, Want
from tests.slmctl.cli.program import Program

T = TypeVar("T")

DEADLINE_SECONDS = 60.0
CONTEXT = 512


class Asker:
    """One scheduler over a program's store. Its methods wait, from any thread but its own."""

    def __init__(self, program: Program, **serve: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="asker", daemon=True)
        self._thread.start()
        self._settings = Settings.load(program.environment)
        self._serve = ServeSettings(**serve)
        self.scheduler: Scheduler = self.wait(self._start())

    async def _start(self) -> Scheduler:
        reader = Store(self._settings.store)
        return Scheduler(settings=self._settings, serve=self._serve, reader=reader)

    def wait(self, work: Awaitable[T], deadline_seconds: float = DEADLINE_SECONDS) -> T:
        async def within() -> T:
            async with asyncio.timeout(deadline_seconds):
                return await work

        return asyncio.run_coroutine_threadsafe(within(), self._loop).result()

    def with_model(self, name: str, act: Callable[[Served], Awaitable[T]], *, purpose: Purpose = "text") -> T:
        """What `act` gives with the model, loaded with a small context."""

        async def using() -> T:
            want = Want(name=name, purpose=purpose, parameters={"num_ctx": CONTEXT})
            async with self.scheduler.use(want) as served:
                return await act(served)

        return self.wait(using())

    def chat(self, name: str, ask: ChatAsk) -> list[AnswerEvent]:
        return self.with_model(name, lambda served: listed(answering.chat(served, ask)))

    def complete(self, name: str, ask: CompletionAsk) -> list[AnswerEvent]:
        return self.with_model(name, lambda served: listed(answering.complete(served, ask)))

    def pids(self) -> dict[tuple[str, Purpose], int | None]:
        """The workers' process ids by the names of their models, and what they are for."""

        async def pids() -> dict[tuple[str, Purpose], int | None]:
            return {(status.name, status.purpose): status.pid for status in self.scheduler.status()}

        return self.wait(pids())

    def close(self) -> None:
        self.wait(self.scheduler.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def listed(events: AsyncGenerator[AnswerEvent]) -> list[AnswerEvent]:
    async with aclosing(events):
        return [event async for event in events]


def text_of(events: list[AnswerEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def thoughts_of(events: list[AnswerEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, ThinkingDelta))


def calls_of(events: list[AnswerEvent]) -> list[tuple[str | None, str]]:
    """(name, arguments) of each tool call."""
    found: dict[int, tuple[str | None, str]] = {}
    for event in events:
        if isinstance(event, ToolCallDelta):
            name, arguments = found.get(event.index, (None, ""))
            found[event.index] = (name or event.name, arguments + event.arguments)
    return [found[index] for index in sorted(found)]


def end_of(events: list[AnswerEvent]) -> Finished:
    """The last event, which alone is the end."""
    *others, last = events
    assert isinstance(last, Finished)
    assert not any(isinstance(event, Finished) for event in others)
    return last


def cut_of(events: list[AnswerEvent]) -> Cut | None:
    """What was cut, told first."""
    assert not any(isinstance(event, Cut) for event in events[1:])
    return events[0] if isinstance(events[0], Cut) else None
