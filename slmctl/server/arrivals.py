"""How a worker comes to stand behind a line: what stands there goes, room is made, a plan, a start.

One at a time, in the order in which they were asked for; and each only as long as somebody waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from registry.errors import DoesNotFit, EngineFailed, SlmctlError
from runtimes.errors import EngineDied, EngineUnavailable, ModelTooBig
from slmctl.app.loading import Begun
from slmctl.server.engine import EngineClient
from slmctl.server.instances import Instance, Manner
from slmctl.server.lines import Line, Ticket
from slmctl.server.loads import Loads
from slmctl.server.problems import Busy
from slmctl.server.room import Neighbour, bytes_left, could_leave, next_to_leave

if TYPE_CHECKING:
    from slmctl.server.fleet import Fleet

_ROOM_SECONDS = 60.0
"""So long a load waits for others to become idle."""


_DEATHS = EngineFailed, ModelTooBig
"""What it means that a process died while it loaded; all else is the model's own fault, or the request's."""


class NobodyWaits(Exception):
    """All who wanted it have gone away meanwhile."""


class Arrivals:
    """Loads for the lines of a fleet. `max_memory` is bytes for all workers together."""

    def __init__(self, fleet: Fleet, loads: Loads, *, max_memory: int | None, max_loaded: int | None) -> None:
        self._fleet = fleet
        self._loads = loads
        self._max_memory = max_memory
        self._max_loaded = max_loaded
        self._one_at_a_time = asyncio.Lock()

    async def bring(self, line: Line) -> None:
        """Have workers for those at the head of a line, until there is one that the first can use."""
        while (first := self._unserved(line)) is not None:
            try:
                await self._bring(line, first.manner)
            except NobodyWaits:
                continue
            except Exception as error:  # noqa: BLE001 - whoever waits has to hear of it
                self._tell_failure(line, first.manner, error)

    def _unserved(self, line: Line) -> Ticket | None:
        """The first of the line, if no worker is there that it could use, now or soon."""
        if not line.waiting or self._fleet.closing:
            return None
        first, instance = line.waiting[0], line.instance
        if instance is not None and instance.state in ("ready", "loading") and instance.suits(first.manner):
            return None
        return first

    async def _bring(self, line: Line, manner: Manner) -> None:
        def check() -> None:
            if self._fleet.closing or not line.waiting or line.waiting[0].manner.key != manner.key:
                raise NobodyWaits

        if line.instance is not None:
            await self._replace(line, manner, check)
        while (pause := line.circuit.pause_seconds(self._fleet.now)) > 0:
            check()
            await self._fleet.bell.wait(pause)
        async with self._one_at_a_time:
            check()
            await self._load(line, manner, check)

    async def _replace(self, line: Line, manner: Manner, check: Callable[[], None]) -> None:
        """Wait until the old worker has answered, and for its end; not for what would not fit anyway."""
        old = line.instance
        if old is not None and old.state == "ready":
            await self._check_without(line, manner, self._fleet.neighbours(old), old.size_bytes)
        while line.instance is not None:
            check()
            old = line.instance
            if old.state == "ready" and not old.running:
                self._fleet.stop(old, "replaced")
            await self._fleet.bell.wait(_ROOM_SECONDS)

    async def _load(self, line: Line, manner: Manner, check: Callable[[], None]) -> None:
        fleet = self._fleet
        started = fleet.now
        instance = line.instance = Instance(manner, line.purpose, fleet.keep_seconds(line), started)
        try:
            begun = await self._started(line, instance, check)
            if fleet.closing:
                fleet.stop(instance, "closing")
            await self._loads.ready(begun)
            if instance.state == "broken":
                raise EngineDied("The engine ended as soon as it had loaded the model.")
        except BaseException as error:
            if instance.begun is None:
                line.instance = None
            else:
                instance.state = "broken"
            if isinstance(error, _DEATHS) and instance.stopped_for is None:
                fleet.died(line, instance, error.message, "start_failed")
            raise
        worker = instance.worker
        assert worker is not None
        instance.state = "ready" if instance.stopped_for is None else "draining"
        instance.engine = EngineClient(
            worker.endpoint,
            worker,
            on_break=partial(fleet.suspect, line, instance),
            on_silence=partial(fleet.silenced, line, instance),
        )
        instance.ready_at = instance.used_at = fleet.now
        line.load_seconds = fleet.now - started
        for ticket in line.waiting:
            ticket.load_seconds += fleet.now - max(started, ticket.since)
        fleet.watcher.loaded(line.name, line.load_seconds)

    async def _started(self, line: Line, instance: Instance, check: Callable[[], None]) -> Begun:
        """A process, once there is room for it: the idle leave, the least recently used first."""
        fleet = self._fleet
        deadline = fleet.now + _ROOM_SECONDS
        could_fit = False
        while True:
            check()
            others, here = fleet.neighbours(instance), len(fleet.living)
            lacking: DoesNotFit | None = None
            if self._max_loaded is None or len(others) < self._max_loaded:
                try:
                    return await self._start(line, instance, bytes_left(others, self._max_memory))
                except EngineUnavailable:
                    raise
                except DoesNotFit as error:
                    lacking = error
            if not could_leave(others):
                raise lacking or Busy(
                    "As many models as may be loaded are pinned.", retry_after_seconds=int(_ROOM_SECONDS)
                )
            if lacking is not None and not could_fit:
                await self._check_without(line, instance.manner, others)
                could_fit = True
            while len(fleet.living) == here:  # nobody has gone while the plan was made, or since
                check()
                victim = next_to_leave(fleet.neighbours(instance))
                if victim is not None:
                    fleet.stop(victim, "room")
                    await victim.gone.wait()
                elif fleet.now < deadline:
                    await fleet.bell.wait(deadline - fleet.now)
                else:
                    raise Busy(
                        "There is no room for another model while all that are loaded are answering.",
                        retry_after_seconds=line.retry_after_seconds(),
                    )

    async def _start(self, line: Line, instance: Instance, max_memory: int | None) -> Begun:
        begun, capabilities = await self._loads.start(
            instance.manner,
            line.purpose,
            max_memory=max_memory,
            on_end=self._fleet.on_end(line, instance),
        )
        instance.started(begun, capabilities)
        self._fleet.born(line, instance)
        return begun

    async def _check_without(
        self, line: Line, manner: Manner, others: list[Neighbour], own_bytes: int = 0
    ) -> None:
        """Raise DoesNotFit where it would not fit if all left that ever may: nobody leaves for that."""
        staying = [each for each in others if each.pinned]
        await self._loads.check(
            manner,
            line.purpose,
            room=own_bytes + sum(each.size_bytes for each in could_leave(others)),
            max_memory=bytes_left(staying, self._max_memory),
        )

    def _tell_failure(self, line: Line, manner: Manner, error: Exception) -> None:
        """To all who wait for that load."""
        told = error if isinstance(error, SlmctlError) else EngineFailed("The model could not be loaded.")
        if not isinstance(told, (*_DEATHS, Busy)):
            line.failed(manner, told, self._fleet.now)
        for ticket in tuple(line.waiting):
            if ticket.manner.key == manner.key:
                line.waiting.remove(ticket)
                ticket.wake(told)
        if line.circuit.open_seconds(self._fleet.now):
            line.turn_away(line.circuit_open(self._fleet.now))
