"""Who is loaded, who waits, who leaves.

A front asks for a model by `use` and gets it loaded, with a slot of its own:

    name -> package (looked up anew for each request) -> line -> loaded? else plan, make room, start -> slot

One `Instance` is one worker process. All who want one model for one purpose stand in one `Line`, first come,
first served. A name that moved to another digest is another line from the next request on; the old worker
ends when its last stream has. Loads run in a thread, one at a time, and never hold up what is loaded already.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

from registry.errors import SlmctlError
from registry.store.reader import StoreReader
from slmctl.app.events import OnEvent, ignore
from slmctl.app.load import Loaded, Purpose
from slmctl.config import Settings
from slmctl.serve_settings import ServeSettings
from slmctl.server.fleet import Fleet, Watcher
from slmctl.server.instances import check_purpose, manner_of
from slmctl.server.lines import Line, LineId, Ticket
from slmctl.server.loads import Loads
from slmctl.server.lookup import Found, Lookup
from slmctl.server.model_settings import SettingsOfModels
from slmctl.server.problems import Busy
from slmctl.server.uses import InstanceStatus, Served, Want

__all__ = ["Found", "InstanceStatus", "Purpose", "Scheduler", "Served", "Want"]

_STOPPING_RETRY_SECONDS = 5


class Scheduler:
    """Owns every worker of the server. Its methods belong to the event loop's thread.

    Made inside the loop's thread; `on_event` is told, from other threads, what a load has to say.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        serve: ServeSettings,
        reader: StoreReader,
        watcher: Watcher | None = None,
        on_event: OnEvent = ignore,
    ) -> None:
        self._settings = settings
        self._serve = serve
        self._models = SettingsOfModels(serve)
        self._lookup = Lookup(reader, settings)
        self._loads = Loads(settings, on_event)
        self._fleet = Fleet(
            self._loads,
            is_pinned=self._is_pinned,
            keep_seconds=lambda line: self._models.keep_seconds(self._names_of(line)),
            is_current=self._is_current,
            max_memory=serve.max_memory,
            max_loaded=serve.max_loaded,
            watcher=watcher or _Nobody(),
        )
        self._of_principal: Counter[str] = Counter()
        self._stopping = False
        self._generation = 0
        self._preloaded = not serve.preload

    @property
    def preloaded(self) -> bool:
        """Whether what is to be loaded first is, or cannot be."""
        return self._preloaded

    async def find(self, name: str) -> Found:
        """The model that a client's name means, not loaded. Raises UsageError, NotFound, BadContent."""
        try:
            return await self._lookup.find(name)
        finally:
            if self._lookup.generation != self._generation:
                self._generation = self._lookup.generation
                self._fleet.names_changed()

    @asynccontextmanager
    async def use(self, want: Want, *, only_load: bool = False) -> AsyncGenerator[Served]:
        """The model, loaded, and one of its slots; both are given back at the end of the block.

        With `only_load` a good end says nothing about the worker's health. Raises NotFound, UsageError (a bad
        name), DoesNotFit (with what would fit), Busy (a queue is full, or the server stops), CircuitOpen,
        BadContent, NotSupported, EngineFailed.
        """
        found = await self.find(want.name)
        ticket = self._admitted(want, found)
        answered = False
        try:
            self._fleet.join(ticket)
            await ticket.granted()
            yield self._served(ticket, found)
            answered = not only_load
        finally:
            self._fleet.leave(ticket, answered=answered)
            self._count_principal(want.principal, -1)

    async def load(self, want: Want) -> Loaded:
        """Have it loaded and leave it so for its `keep_seconds`. Raises as `use`."""
        async with self.use(want, only_load=True) as served:
            return served.about

    async def unload(self, name: str) -> bool:
        """Have every instance of the model end when its last answer has; whether there was one."""
        found = await self.find(name)
        there = False
        for line in tuple(self._fleet.lines.values()):
            if line.id[0] == found.package.digest or found.name in line.names:
                there = self._fleet.unload(line) or there
        return there

    async def preload(self) -> Mapping[str, SlmctlError | None]:
        """Load what the settings name, one after the other; what became of each."""
        outcome: dict[str, SlmctlError | None] = {}
        for name in self._serve.preload:
            try:
                await self.load(Want(name=name))
                outcome[name] = None
            except SlmctlError as error:
                outcome[name] = error
        self._preloaded = True
        return outcome

    def status(self) -> list[InstanceStatus]:
        """A row for each worker, the one that was used last first."""
        lines = [line for line in self._fleet.lines.values() if line.instance is not None]
        lines.sort(key=lambda line: line.instance.used_at if line.instance else 0.0, reverse=True)
        return [self._status(line) for line in lines]

    @property
    def waiting(self) -> int:
        """How many requests wait for a slot or a load."""
        return sum(len(line.waiting) for line in self._fleet.lines.values())

    async def close(self) -> None:
        """End all workers; on return they are gone, and what they held is released. May be called again."""
        self._stopping = True
        await self._fleet.close(_stopping())
        self._loads.close()
        self._lookup.close()

    def _admitted(self, want: Want, found: Found) -> Ticket:
        """A place in the line of what is wanted. Raises Busy, CircuitOpen, and why it cannot be loaded."""
        if self._stopping:
            raise _stopping()
        own = self._models.of(found.name)
        check_purpose(found, want.purpose)
        manner = manner_of(
            found,
            {**own.parameters, **want.parameters},
            variant=own.variant,
            parallel=self._models.parallel(found.name),
            settings=self._settings,
        )
        digest = found.package.digest if manner.variant is None else manner.variant.digest
        line = self._line((digest, want.purpose), found.name)
        now = self._fleet.now
        self._check_room_in_line(line, want.principal)
        if line.circuit.open_seconds(now):
            raise line.circuit_open(now)
        failure = line.failure(manner, now)
        if failure is not None:
            raise failure
        self._count_principal(want.principal, 1)
        return Ticket(line, manner, want.keep_seconds, want.principal, now)

    def _line(self, identity: LineId, name: str) -> Line:
        line = self._fleet.lines.get(identity)
        if line is None:
            line = self._fleet.lines[identity] = Line(identity, name)
        line.names.add(name)
        return line

    def _check_room_in_line(self, line: Line, principal: str | None) -> None:
        busy = "server busy, please try again.  maximum pending requests exceeded"
        if len(line.waiting) >= self._serve.queue_per_model + line.free_slots:
            raise Busy(busy, retry_after_seconds=line.retry_after_seconds())
        if principal is not None and self._of_principal[principal] >= self._serve.queue_per_key:
            raise Busy(busy, retry_after_seconds=line.retry_after_seconds())

    def _count_principal(self, principal: str | None, change: int) -> None:
        if principal is None:
            return
        self._of_principal[principal] += change
        if not self._of_principal[principal]:
            del self._of_principal[principal]

    def _served(self, ticket: Ticket, found: Found) -> Served:
        instance = ticket.instance
        assert instance is not None
        assert instance.begun is not None
        assert instance.engine is not None
        assert ticket.seat is not None
        about, package = instance.begun.about, found.package
        variant = next(
            (each for each in package.variants if each.digest == instance.begun.variant.digest),
            instance.begun.variant,
        )
        return Served(
            name=found.name,
            about=Loaded(
                name=package.name,
                digest=package.digest,
                variant=variant.id,
                engine=about.engine,
                context_length=about.context_length,
                load_seconds=ticket.line.load_seconds,
            ),
            package=package,
            variant=variant,
            capabilities=instance.capabilities,
            spec=self._models.spec(variant.spec, found.name),
            chat_template=about.chat_template,
            has_chat_template=about.has_chat_template,
            engine=instance.engine,
            environment=self._settings.environment,
            max_tokens=self._serve.max_tokens,
            slot=ticket.seat.slot,
            fresh=ticket.seat.fresh,
            queue_seconds=ticket.queue_seconds,
            load_seconds=ticket.load_seconds,
        )

    def _status(self, line: Line) -> InstanceStatus:
        instance = line.instance
        assert instance is not None
        begun, timer = instance.begun, instance.timer
        left = None if timer is None else max(0.0, timer.when() - self._fleet.now)
        return InstanceStatus(
            name=self._current_name(line),
            digest=str(instance.manner.found.package.digest),
            variant="" if begun is None else begun.variant.id,
            purpose=line.purpose,
            engine="" if begun is None else begun.about.engine,
            state=instance.state,
            size_bytes=instance.size_bytes,
            vram_bytes=instance.vram_bytes,
            context_length=0 if begun is None else begun.about.context_length,
            parallel=instance.parallel,
            running=instance.running,
            waiting=len(line.waiting),
            seconds_left=left,
            pinned=self._is_pinned(line),
            pid=None if instance.worker is None else instance.worker.pid,
        )

    def _current_name(self, line: Line) -> str:
        """A name that means it still; else the one that it was loaded by."""
        names = self._names_of(line)
        return line.name if line.name in names or not names else names[0]

    def _names_of(self, line: Line) -> list[str]:
        """The names that it was asked for by and that mean it still: what is said of a name goes with it."""
        return sorted(name for name in line.names if self._means(name, line))

    def _is_pinned(self, line: Line) -> bool:
        return self._models.is_pinned(self._names_of(line))

    def _means(self, name: str, line: Line) -> bool:
        digest = line.instance.manner.found.package.digest if line.instance is not None else line.id[0]
        return self._lookup.digest_of(name) == digest

    def _is_current(self, line: Line) -> bool:
        return any(self._means(name, line) for name in line.names)


class _Nobody:
    def loaded(self, model: str, seconds: float) -> None:
        """Nobody counts."""

    def worker_ended(self, model: str, reason: str) -> None:
        """Nobody counts."""


def _stopping() -> Busy:
    return Busy("The server is stopping.", retry_after_seconds=_STOPPING_RETRY_SECONDS)
