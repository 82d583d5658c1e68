"""Waiting until something may have changed."""

from __future__ import annotations

import asyncio


class Bell:
    """`ring` wakes all who wait; each looks again whether it was for them."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Future[None]] = set()

    def ring(self) -> None:
        for each in self._waiting:
            if not each.done():
                each.set_result(None)
        self._waiting.clear()

    async def wait(self, seconds: float) -> None:
        """Until the next ring, or for so long."""
        woken = asyncio.get_running_loop().create_future()
        self._waiting.add(woken)
        try:
            await asyncio.wait((woken,), timeout=max(0.0, seconds))
        finally:
            self._waiting.discard(woken)
