"""The workers of a server, and the lines before them: it grants slots, loads, replaces, evicts, buries.

Everything here runs in the event loop's thread; what blocks is done by `Loads`. After anything that may let
somebody go on (`pump`), the first of a line gets the slot, or a task of the line's own does what it takes.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Protocol

from registry.errors import SlmctlError
from runtimes.process import Ended
from slmctl.server.arrivals import Arrivals
from slmctl.server.bell import Bell
from slmctl.server.circuit import HEALTHY_SECONDS
from slmctl.server.instances import Instance
from slmctl.server.lines import Line, LineId, Ticket
from slmctl.server.loads import Loads
from slmctl.server.room import Neighbour


class Watcher(Protocol):
    """Who is told of loads and deaths. `model` is a full name; `reason` is "killed" (by SIGKILL: the system
    for want of memory, or somebody), "crashed", "unresponsive" or "start_failed"."""

    def loaded(self, model: str, seconds: float) -> None: ...

    def worker_ended(self, model: str, reason: str) -> None: ...


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
        self.keep_seconds = keep_seconds
        self.watcher = watcher
        self.living: set[Instance] = set()
        """Those that have a process."""
        self._loads = loads
        self._is_pinned = is_pinned
        self._is_current = is_current
        self._arrivals = Arrivals(self, loads, max_memory=max_memory, max_loaded=max_loaded)
        self._tasks: set[asyncio.Task[None]] = set()

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
            assert ticket.seat is not None
            instance.slots.give_back(ticket.principal, ticket.seat)
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
        ticket.seat = instance.slots.take(ticket.principal)
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
        if instance.begun is not None and instance.answered and not instance.learned:
            instance.learned = True
            self._begin(self._loads.learn(instance.begun))
        if not self._is_current(line):
            self.stop(instance, "moved")
        elif instance.keep_seconds <= 0:
            self.stop(instance, "idle")
        elif instance.keep_seconds < float("inf"):
            rest = max(0.0, instance.used_at + instance.keep_seconds - self.now)
            loop = asyncio.get_running_loop()
            instance.timer = loop.call_later(rest, self.stop, instance, "idle")

    def names_changed(self) -> None:
        """Names may mean other models now: what none means any more ends when it is idle."""
        for identity, line in tuple(self.lines.items()):
            self.pump(line)
            if line.is_empty and not self._is_current(line):
                del self.lines[identity]

    async def _bring(self, line: Line) -> None:
        try:
            await self._arrivals.bring(line)
        finally:
            line.loading = None
            self.pump(line)

    def neighbours(self, but: Instance | None) -> list[Neighbour]:
        """All that take memory, but one."""
        found = []
        for line in self.lines.values():
            instance = line.instance
            if instance is not None and instance is not but and instance in self.living:
                wanted = bool(instance.running or line.waiting)
                found.append(Neighbour(instance=instance, wanted=wanted, pinned=self._is_pinned(line)))
        return found

    # ends

    def unload(self, line: Line) -> bool:
        """Have its worker end once nobody uses it; whether there was one."""
        instance = line.instance
        if instance is None or instance.stopped_for is not None:
            return False
        if instance.state == "ready" and not instance.running:
            self.stop(instance, "told")
        elif instance.state == "ready" and not line.waiting:
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

    def on_end(self, line: Line, instance: Instance) -> Callable[[Ended], None]:
        """What a worker's watcher calls, from its own thread."""
        loop = asyncio.get_running_loop()

        def told(end: Ended) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody is left to care
                loop.call_soon_threadsafe(self._ended, line, instance, end)

        return told

    def _ended(self, line: Line, instance: Instance, end: Ended) -> None:
        """A process is gone; whatever it did or was told."""
        instance.ended = True
        if instance.stopped_for is None:
            instance.state = "broken"
        if instance.stopped_for is None and instance.ready_at is not None:
            instance.stopped_for = "killed" if end.returncode == -signal.SIGKILL else "crashed"
            self.died(line, instance, end.explanation.sentence, instance.stopped_for)
            if line.circuit.open_seconds(self.now):
                line.turn_away(line.circuit_open(self.now))
        if instance.begun is not None:
            self._begin(self._bury(line, instance))

    def born(self, line: Line, instance: Instance) -> None:
        """It has a process, or had one: its end may have come first."""
        self.living.add(instance)
        if instance.ended:
            self._begin(self._bury(line, instance))

    async def _bury(self, line: Line, instance: Instance) -> None:
        if instance.timer is not None:
            instance.timer.cancel()
        try:
            if instance.engine is not None:
                await instance.engine.close()
            if instance.begun is not None:
                await self._loads.release(instance.begun)
        finally:
            self.living.discard(instance)
            instance.gone.set()
            if line.instance is instance:
                line.instance = None
            self.pump(line)

    def died(self, line: Line, instance: Instance, words: str, how: str) -> None:
        """A worker has died by itself."""
        line.last_words = words
        self.watcher.worker_ended(line.name, how)
        lived = 0.0 if instance.ready_at is None else self.now - instance.ready_at
        line.circuit.died(self.now, was_well=instance.answered or lived >= HEALTHY_SECONDS)

    def suspect(self, line: Line, instance: Instance, broken: bool) -> None:
        instance.suspect(broken)
        if not broken:
            self.pump(line)

    def silenced(self, line: Line, instance: Instance) -> None:
        """It lives, and neither speaks nor works: the next one may do better."""
        worker = instance.worker
        if instance.ended or instance.state == "broken" or worker is None:
            return
        if instance.stopped_for is None:
            self.died(line, instance, "The engine lived and did nothing.", "unresponsive")
        instance.state, instance.stopped_for = "broken", instance.stopped_for or "unresponsive"
        self._begin(self._loads.stop(worker, 0.0))

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
            line.turn_away(error)
        self.bell.ring()
        while self._tasks or self.living:
            for instance in tuple(self.living):
                self.stop(instance, "closing")
            self.bell.ring()
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
            else:
                await self.bell.wait(1.0)
