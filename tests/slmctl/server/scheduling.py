"""A scheduler in a test: a store with models in it, and engines that do what the test wants.

The plans, the files and the processes are real; with `fake_engines` the program that is started is the fake
engine (tests/fakes/fake_engine.py), which loads, answers, hangs and dies as told.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from registry.store.store import Store
from runtimes import protocol
from runtimes.sampling import Sampling
from slmctl.app.package import Package
from slmctl.app.planning.running import plan_run
from slmctl.config import Settings
from slmctl.serve_settings import ServeSettings
from slmctl.server.scheduler import InstanceStatus, Scheduler, Served, Want
from tests.runtimes.launches import FAKE_ENGINE
from tests.slmctl.cli.program import Program

T = TypeVar("T")

DEADLINE_SECONDS = 60.0


class Watched:
    """What the scheduler tells the metrics."""

    def __init__(self) -> None:
        self.loads: list[str] = []
        self.ends: list[tuple[str, str]] = []

    def loaded(self, model: str, seconds: float) -> None:
        assert seconds > 0
        self.loads.append(model)

    def worker_ended(self, model: str, reason: str) -> None:
        self.ends.append((model, reason))


class FakeEngines:
    """What the next engines do: the arguments of the fake engine for each start, `usual` when none are left."""

    def __init__(self) -> None:
        self.next: deque[tuple[str, ...]] = deque()
        self.usual: tuple[str, ...] = ()
        self.started = 0

    def argv(self, worker: str) -> tuple[str, ...]:
        assert worker == "llamacpp"
        self.started += 1
        arguments = self.next.popleft() if self.next else self.usual
        return (sys.executable, "-P", str(FAKE_ENGINE), *arguments)


class World:
    """A store of a program's own, and schedulers over it."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.settings = Settings.load(program.environment)
        self.watched = Watched()

    def create(self, name: str, file: Path) -> None:
        done = self.program("create", name, "--from", str(file))
        assert done.code == 0, done.err

    @contextlib.asynccontextmanager
    async def scheduler(self, **settings: object) -> AsyncIterator[Scheduler]:
        """One that ends in order: no process, no folder and no lease is left."""
        serve = ServeSettings(**settings)  # type: ignore[arg-type]
        reader = Store(self.settings.store)
        scheduler = Scheduler(settings=self.settings, serve=serve, reader=reader, watcher=self.watched)
        try:
            async with asyncio.timeout(2 * DEADLINE_SECONDS):
                yield scheduler
        finally:
            await scheduler.close()
            assert scheduler.status() == []
            assert scheduler.waiting == 0
            for folder in self.settings.runtime_folders:
                assert list(folder.glob("slmctl-*/w-*")) == []
            assert list((self.settings.store / "leases").glob("*")) == []

    def need_of(self, name: str, context: int | None = None) -> int:
        """Bytes that a plan for one slot of it takes."""
        reader = Store(self.settings.store)
        package = asyncio.run(_found(self, name))
        parameters = {} if context is None else {"num_ctx": context}
        decided = plan_run(reader, self.settings, package, variant=None, parameters=parameters)
        assert decided.chosen is not None
        return int(decided.chosen.need.total * decided.chosen.need.margin)


async def _found(world: World, name: str) -> Package:
    async with world.scheduler() as scheduler:
        return (await scheduler.find(name)).package


async def until(look: Callable[[], T | None], deadline_seconds: float = DEADLINE_SECONDS) -> T:
    """What `look` gives once it is there."""
    async with asyncio.timeout(deadline_seconds):
        while (found := look()) is None:  # noqa: ASYNC110 - what is looked at has no event
            await asyncio.sleep(0.005)
    return found


async def within(seconds: float, work: Awaitable[T]) -> T:
    async with asyncio.timeout(seconds):
        return await work


async def answer(scheduler: Scheduler, want: Want | str, tokens: int = 3) -> str:
    """A short answer, whole."""
    async with scheduler.use(want if isinstance(want, Want) else Want(name=want)) as served:
        return await text_of(served, tokens)


async def text_of(served: Served, tokens: int = 3) -> str:
    question = protocol.chat_request(
        [{"role": "user", "content": "Say something."}], Sampling(num_predict=tokens)
    )
    pieces = []
    last: protocol.Event | None = None
    async with contextlib.aclosing(served.engine.stream(question)) as events:
        async for event in events:
            last = event
            if isinstance(event, protocol.TextDelta):
                pieces.append(event.text)
    assert isinstance(last, protocol.Finished)
    return "".join(pieces)


def row(scheduler: Scheduler, name: str) -> InstanceStatus | None:
    """The worker of a model, if it has one."""
    return next((each for each in scheduler.status() if each.name == f"{name}:latest"), None)


def loaded(scheduler: Scheduler) -> list[str]:
    """The models that are ready, the one that was used last first."""
    return [each.name.removesuffix(":latest") for each in scheduler.status() if each.state == "ready"]
