"""How long an answer may take, and how it is ended before: with an error that its client is told."""

from __future__ import annotations

import asyncio
from types import TracebackType

from registry.errors import SlmctlError
from slmctl.server.problems import TooSlow


class Limit:
    """`async with limit:` ends what is inside with an error when the time is over, or when `cut` is called.

    It is entered again for each part of an answer; the time is that of all of them. None is as long as it
    takes.
    """

    def __init__(self, seconds: float | None) -> None:
        self._loop = asyncio.get_running_loop()
        self._deadline = None if seconds is None else self._loop.time() + seconds
        self._error: SlmctlError | None = None
        self._timer: asyncio.Timeout | None = None

    def cut(self, error: SlmctlError) -> None:
        """End it now. Of two errors the first one counts."""
        self._error = self._error or error
        if self._timer is not None and not self._timer.expired():
            self._timer.reschedule(self._loop.time())

    async def __aenter__(self) -> None:
        if self._error is not None:
            raise self._error
        self._timer = asyncio.timeout_at(self._deadline)
        await self._timer.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        timer, self._timer = self._timer, None
        assert timer is not None
        try:
            await timer.__aexit__(kind, error, trace)
        except TimeoutError:
            raise (self._error or TooSlow("The answer took longer than a request may.")) from None
