"""The workers of a server, and the lines before them: it grants slots, loads, replaces, evicts, buries.

Everything here runs in the event loop's thread; what blocks is done by `Loads`. After anything that may let
somebody go on (`_pump`), the first of a line gets the slot, or a task of the line's own does what it takes.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Protocol

from registry.errors import DoesNotFit, EngineFailed, SlmctlError
from registry.names import short_name
from runtimes.errors import EngineDied, EngineUnavailable
from runtimes.process import Ended
from slmctl.app.loading import Begun
from slmctl.server.bell import Bell
from slmctl.server.circuit import HEALTHY_SECONDS
from slmctl.server.engine import EngineClient
from slmctl.server.instances import Instance, Manner
from slmctl.server.lines import Line, LineId, Ticket
from slmctl.server.loads import Loads
from slmctl.server.problems import Busy, CircuitOpen
from slmctl.server.room import Neighbour, bytes_left, could_leave, next_to_leave

_ROOM_SECONDS = 60.0
"""So long a load waits for others to become idle."""


class Watcher(Protocol):
    """Who is told of loads and deaths. `model` is a full name; `reason` is "killed" (by SIGKILL: the system
    for want of memory, or somebody), "crashed" or "start_failed"."""

    def loaded(self, model: str, seconds: float) -> None: ...

    def worker_ended(self, model: str, reason: str) -> None: ...


class NobodyWaits(Exception):
    """All who wanted it have gone away meanwhile."""


class Fleet:
    """`is_pinned` and `keep_seconds` tell a line's own settings; `max_memory` is bytes for all workers."""

    def __init__(
        self,
        loads: Loads,
        *,
        is_pinned: Callable[[Line], bool],
        keep_seconds: Callable[[Line], float],
        is_current: Callable[[Line], bool],
        max_memory: int | None,
        max_loaded: int | None,
        watcher: Watcher,
    ) -> None:
        self.lines: dict[LineId, Line] = {}
        self.bell = Bell()
        self.closing = False
        self._loads = loads
        self._is_pinned = is_pinned
        self._keep_seconds = keep_seconds
        self._is_current = is_current
        self._max_memory = max_memory
        self._max_loaded = max_loaded
        self._watcher = watcher
        self._one_at_a_time = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._living: set[Instance] = set()

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    # lines

    def join(self, ticket: Ticket) -> None:
        ticket.line.waiting.append(ticket)
        self.pump(ticket.line)

    def leave(self, ticket: Ticket, *, answered: bool) -> None:
        """The slot, or the place in the line, is given back; from wherever the request is."""
        line, instance = ticket.line, ticket.instance
        if instance is None:
            with suppress(ValueError):
                line.waiting.remove(ticket)
        else:
            ticket.instance = None
            instance.running -= 1
            instance.answered = instance.answered or answered
            instance.used_at = self.now
            line.used(self.now - ticket.granted_at)
        self.pump(line)

    def pump(self, line: Line) -> None:
        """Let in whoever can be; see to it that the next one will be."""
        instance = line.instance
        while line.waiting and instance is not None and instance.is_free:
            if not instance.suits(line.waiting[0].manner):
                break
            self._grant(line.waiting.popleft(), instance)
        if line.waiting and line.loading is None and not self.closing:
            suited = instance is not None and instance.suits(line.waiting[0].manner)
            if not suited or instance is None or instance.state in ("draining", "broken"):
                line.loading = self._begin(self._bring(line))
        if instance is not None:
            self._rest(line, instance)
        self.bell.ring()

    def _grant(self, ticket: Ticket, instance: Instance) -> None:
        instance.running += 1
        instance.used_at = ticket.granted_at = self.now
        if ticket.keep_seconds is not None:
            instance.keep_seconds = ticket.keep_seconds
        ticket.instance = instance
        ticket.wake()

    def _rest(self, line: Line, instance: Instance) -> None:
        """Set or stop the clock of an instance that may be idle now."""
        if instance.timer is not None:
            instance.timer.cancel()
            instance.timer = None
        if instance.state == "draining" and not instance.running:
            self.stop(instance, "told")
        if instance.state != "ready" or instance.running or line.waiting:
            return
        if instance.begun is not None and not instance.learned:
            instance.learned = True
            self._begin(self._learn(instance.begun))
        if not self._is_current(line):
            self.stop(instance, "moved")
        elif instance.keep_seconds <= 0:
            self.stop(instance, "idle")
        elif instance.keep_seconds < float("inf"):
            rest = max(0.0, instance.used_at + instance.keep_seconds - self.now)
            loop = asyncio.get_running_loop()
            instance.timer = loop.call_later(rest, self.stop, instance, "idle")

    # loading

    async def _bring(self, line: Line) -> None:
        """Have the worker that the first of the line wants, if it takes replacing another."""
        try:
            while (first := self._unserved(line)) is not None:
                try:
                    await self._bring_one(line, first.manner)
                except NobodyWaits:
                    continue
                except Exception as error:  # noqa: BLE001 - whoever waits has to hear of it
                    self._tell_failure(line, first.manner, error)
        finally:
            line.loading = None
            self.pump(line)

    def _unserved(self, line: Line) -> Ticket | None:
        """The first of the line, if no worker is there that it could use, now or soon."""
        if not line.waiting or self.closing:
            return None
        first, instance = line.waiting[0], line.instance
        if instance is not None and instance.state in ("ready", "loading") and instance.suits(first.manner):
            return None
        return first

    async def _bring_one(self, line: Line, manner: Manner) -> None:
        def check() -> None:
            if self.closing or not line.waiting or line.waiting[0].manner.key != manner.key:
                raise NobodyWaits

        if line.instance is not None:
            await self._replace(line, manner, check)
        while (pause := line.circuit.pause_seconds(self.now)) > 0:
            check()
            await self.bell.wait(pause)
        async with self._one_at_a_time:
            check()
            await self._load(line, manner, check)

    async def _replace(self, line: Line, manner: Manner, check: Callable[[], None]) -> None:
        """Wait until the old worker has answered, and for its end."""
        old = line.instance
        if old is not None and old.state == "ready":
            room = sum(each.size_bytes for each in self._living)
            await self._loads.check(manner, line.purpose, room=room, max_memory=self._max_memory)
        while line.instance is not None:
            check()
            old = line.instance
            if old.state == "ready" and not old.running:
                self.stop(old, "replaced")
            await self.bell.wait(_ROOM_SECONDS)

    async def _load(self, line: Line, manner: Manner, check: Callable[[], None]) -> None:
        started = self.now
        instance = Instance(manner, line.purpose, self._keep_seconds(line), started)
        line.instance = instance
        try:
            begun = await self._started(line, instance, check)
            if self.closing:
                self.stop(instance, "closing")
            await self._loads.ready(begun)
            if instance.state == "broken":
                raise EngineDied("The engine ended as soon as it had loaded the model.")
        except BaseException as error:
            if instance.begun is None:
                line.instance = None
            else:
                instance.state = "broken"
            if isinstance(error, EngineFailed) and not self.closing and instance.stopped_for is None:
                self._died(line, instance, error.message, "start_failed")
            raise
        instance.state = "ready" if instance.stopped_for is None else "draining"
        worker = instance.worker
        assert worker is not None
        instance.ready_at = instance.used_at = self.now
        line.load_seconds = self.now - started
        self._watcher.loaded(line.name, line.load_seconds)
        for ticket in line.waiting:
            ticket.load_seconds += self.now - max(started, ticket.since)
        instance.engine = EngineClient(
            worker.endpoint, worker, on_break=partial(self._suspect, line, instance)
        )

    async def _started(self, line: Line, instance: Instance, check: Callable[[], None]) -> Begun:
        """A process, once there is room for it: the idle leave, the least recently used first."""
        deadline = self.now + _ROOM_SECONDS
        possible = False
        while True:
            check()
            others = self._neighbours(instance)
            lacking: DoesNotFit | None = None
            if self._max_loaded is None or len(others) < self._max_loaded:
                try:
                    return await self._start(line, instance, bytes_left(others, self._max_memory))
                except EngineUnavailable:
                    raise
                except DoesNotFit as error:
                    lacking = error
            if lacking is not None and not possible:
                await self._check_alone(line, instance, others, lacking)
                possible = True
            victim = next_to_leave(self._neighbours(instance))
            if victim is not None:
                self.stop(victim, "room")
                await victim.gone.wait()
            elif not could_leave(others):
                raise lacking or Busy("All models that may be loaded are pinned.", retry_after_seconds=60)
            elif self.now >= deadline:
                raise Busy(
                    "There is no memory for another model while all that are loaded are answering.",
                    retry_after_seconds=10,
                )
            else:
                await self.bell.wait(deadline - self.now)

    async def _start(self, line: Line, instance: Instance, max_memory: int | None) -> Begun:
        loop = asyncio.get_running_loop()

        def on_end(end: Ended) -> None:  # in the watcher's thread
            with suppress(RuntimeError):  # the loop is closed: nobody is left to care
                loop.call_soon_threadsafe(self._ended, line, instance, end)

        begun, capabilities = await self._loads.start(
            instance.manner, line.purpose, max_memory=max_memory, on_end=on_end
        )
        instance.started(begun, capabilities)
        self._living.add(instance)
        return begun

    async def _check_alone(
        self, line: Line, instance: Instance, others: list[Neighbour], lacking: DoesNotFit
    ) -> None:
        """Raise DoesNotFit where it would not fit if all others left that ever may: nobody leaves for that."""
        leaving = could_leave(others)
        if not leaving:
            raise lacking
        staying = [each for each in others if each.pinned]
        await self._loads.check(
            instance.manner,
            line.purpose,
            room=sum(each.size_bytes for each in leaving),
            max_memory=bytes_left(staying, self._max_memory),
        )

    def _neighbours(self, but: Instance) -> list[Neighbour]:
        found = []
        for line in self.lines.values():
            instance = line.instance
            if instance is not None and instance is not but and instance in self._living:
                wanted = bool(instance.running or line.waiting)
                found.append(Neighbour(instance=instance, wanted=wanted, pinned=self._is_pinned(line)))
        return found

    def _tell_failure(self, line: Line, manner: Manner, error: Exception) -> None:
        """To all who wait for that load."""
        told = error if isinstance(error, SlmctlError) else EngineFailed("The model could not be loaded.")
        if isinstance(error, SlmctlError) and not isinstance(error, EngineFailed | Busy):
            line.failed(manner, error, self.now)
        waiting, line.waiting = line.waiting, type(line.waiting)()
        for ticket in waiting:
            if ticket.manner.key == manner.key:
                ticket.wake(told)
            else:
                line.waiting.append(ticket)

    # ends

    @property
    def is_busy(self) -> bool:
        """Whether anybody is answered or waits."""
        return any(
            line.waiting or (line.instance is not None and line.instance.running)
            for line in self.lines.values()
        )

    def unload(self, line: Line) -> bool:
        """Have its worker end once nobody uses it; whether there was one."""
        instance = line.instance
        if instance is None or instance.stopped_for is not None:
            return False
        if instance.state == "ready" and not instance.running:
            self.stop(instance, "told")
        elif instance.state == "ready":
            instance.state = "draining"  # for those who come now it is loaded anew
        else:
            instance.keep_seconds = 0.0
        return True

    def stop(self, instance: Instance, reason: str) -> None:
        """Tell a worker to go; `instance.gone` says when it has."""
        if instance.stopped_for is not None or instance.state == "broken":
            return
        instance.stopped_for = reason
        if instance.timer is not None:
            instance.timer.cancel()
        if instance.state == "ready":
            instance.state = "draining"
        worker = instance.worker
        if worker is not None:
            self._begin(self._loads.stop(worker))

    def _ended(self, line: Line, instance: Instance, end: Ended) -> None:
        """A process is gone; whatever it did or was told."""
        if instance.stopped_for is None:
            instance.state = "broken"
        if instance.stopped_for is None and instance.ready_at is not None:
            instance.stopped_for = "killed" if end.returncode == -signal.SIGKILL else "crashed"
            self._died(line, instance, end.explanation.sentence, instance.stopped_for)
        if instance.timer is not None:
            instance.timer.cancel()
        self._begin(self._bury(line, instance))

    async def _bury(self, line: Line, instance: Instance) -> None:
        try:
            if instance.engine is not None:
                await instance.engine.close()
            if instance.begun is not None:
                await self._loads.release(instance.begun)
        finally:
            self._living.discard(instance)
            instance.gone.set()
            if line.instance is instance:
                line.instance = None
            self.pump(line)

    def _died(self, line: Line, instance: Instance, words: str, how: str) -> None:
        """A worker has died by itself."""
        line.last_words = words
        self._watcher.worker_ended(line.name, how)
        lived = 0.0 if instance.ready_at is None else self.now - instance.ready_at
        line.circuit.died(self.now, was_well=instance.answered or lived >= HEALTHY_SECONDS)
        if line.circuit.open_seconds(self.now):
            for ticket in line.waiting:
                ticket.wake(circuit_open(line, self.now))
            line.waiting.clear()

    def _suspect(self, line: Line, instance: Instance, broken: bool) -> None:
        instance.suspect(broken)
        if not broken:
            self.pump(line)

    async def _learn(self, begun: Begun) -> None:
        await self._loads.learn(begun)

    # all of it

    def _begin(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self, error: SlmctlError) -> None:
        """End every worker; on return nothing of them is left. Whoever waits gets `error`."""
        self.closing = True
        for line in self.lines.values():
            for ticket in line.waiting:
                ticket.wake(error)
            line.waiting.clear()
        self.bell.ring()
        while self._tasks or self._living:
            for instance in tuple(self._living):
                self.stop(instance, "closing")
            self.bell.ring()
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
            else:
                await self.bell.wait(1.0)


def circuit_open(line: Line, now: float) -> CircuitOpen:
    seconds = max(1, round(line.circuit.open_seconds(now)))
    return CircuitOpen(
        f"{short_name(line.name)} has died too often within a minute: {line.last_words}"
        f" It is tried again in {seconds} seconds.",
        retry_after_seconds=seconds,
    )
