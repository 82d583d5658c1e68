"""What of loading and ending workers blocks, in threads of its own: the event loop never waits for a disk."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from runtimes.process import Ended, Worker
from runtimes.protocol import Finished
from slmctl.app.capabilities import capabilities_of
from slmctl.app.events import OnEvent
from slmctl.app.load import BIG_BYTES, LoadRequest, Purpose, Serving
from slmctl.app.loading import Begun, start
from slmctl.app.planning.serving import plan_served
from slmctl.app.planning.wishes import NO_WISHES
from slmctl.config import Settings
from slmctl.server.instances import Manner

T = TypeVar("T")

_STOP_SECONDS = 5.0
_STOPPING_AT_ONCE = 16


class Loads:
    """Starts and ends workers. One thread loads, so that a plan finds the memory as the last load left it."""

    def __init__(self, settings: Settings, on_event: OnEvent) -> None:
        self._settings = settings
        self._on_event = on_event
        self._loader = ThreadPoolExecutor(1, "slmctl-load")
        self._stopper = ThreadPoolExecutor(_STOPPING_AT_ONCE, "slmctl-stop")

    async def check(self, manner: Manner, purpose: Purpose, *, room: int, max_memory: int | None) -> None:
        """Raise DoesNotFit (with what would fit) where it would not fit if so many bytes more were free."""
        request = request_of(manner, purpose, max_memory)
        assert request.serving is not None
        serving = request.serving
        await self._run(
            self._loader,
            lambda: plan_served(manner.found.reader, self._settings, request, serving, room=room),
        )

    async def start(
        self, manner: Manner, purpose: Purpose, *, max_memory: int | None, on_end: Callable[[Ended], None]
    ) -> tuple[Begun, frozenset[str]]:
        """Plan against the memory that is free now, and start a worker; and what its model can do.

        Raises as `loading.start`.
        """
        request = request_of(manner, purpose, max_memory)
        reader = manner.found.reader

        def act() -> tuple[Begun, frozenset[str]]:
            begun = start(reader, self._settings, request, self._on_event, BIG_BYTES, on_end=on_end)
            try:
                return begun, capabilities_of(reader, begun.variant)
            except BaseException:
                begun.worker.kill()
                begun.held.release()
                raise

        return await self._run(self._loader, act)

    async def ready(self, begun: Begun) -> None:
        """Wait until it has loaded. Raises what its end means."""

        def wait() -> None:
            with begun.learning.watching(self._on_event):
                begun.worker.ensure_ready()

        await self._run(self._loader, wait)

    async def stop(self, worker: Worker, grace_seconds: float = _STOP_SECONDS) -> None:
        """End it; on return it is gone."""
        await self._run(self._stopper, lambda: worker.stop(grace_seconds))

    async def release(self, begun: Begun) -> None:
        """Let go of what a worker that is gone has held."""
        await self._run(self._stopper, begun.held.release)

    async def learn(self, begun: Begun) -> None:
        """Hold the plan against what the engine said while it loaded; it has said all by its first answer."""
        told = Finished(reason="stop")
        await self._run(self._stopper, lambda: begun.learning.answered(begun.worker, told, self._on_event))

    def close(self) -> None:
        self._loader.shutdown(wait=False, cancel_futures=True)
        self._stopper.shutdown(wait=False, cancel_futures=True)

    @staticmethod
    async def _run(threads: ThreadPoolExecutor, act: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(threads, act)


def request_of(manner: Manner, purpose: Purpose, max_memory: int | None) -> LoadRequest:
    """What `loading.start` is asked for."""
    return LoadRequest(
        package=manner.found.package,
        parameters=manner.parameters,
        variant=None if manner.variant is None else manner.variant.id,
        wishes=NO_WISHES if max_memory is None else dataclasses.replace(NO_WISHES, max_memory=max_memory),
        serving=Serving(purpose=purpose, parallel=manner.parallel),
    )
