"""The asynchronous transport to a worker: httpx over its unix socket, as runtimes.protocol says."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from runtimes.client import Endpoint, Mortal
from runtimes.protocol import Event, HttpRequest


class EngineClient:
    """Requests to one worker from the event loop. Connections are pooled and kept alive."""

    def __init__(self, endpoint: Endpoint, worker: Mortal, *, timeout_seconds: float = 600.0) -> None:
        raise NotImplementedError

    def stream(self, request: HttpRequest) -> AsyncGenerator[Event]:
        """The events of a completion or chat as they come; the last one is `Finished`.

        Closing the generator closes the connection, which frees the engine's slot. Raises EngineRefused,
        EngineDied, EngineUnresponsive or EngineSpokeNonsense.
        """
        raise NotImplementedError

    async def body(self, request: HttpRequest, *, most_bytes: int | None = None) -> bytes:
        """The whole body of an answer (or its first bytes). Raises as `stream`."""
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError
