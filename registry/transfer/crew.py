"""A few threads that do what they are given, in order. They never keep a process from ending."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from queue import SimpleQueue


class Crew:
    """`count` threads. What one of them raises is told to `on_error`, in that thread."""

    def __init__(self, name: str, count: int, on_error: Callable[[BaseException], None]) -> None:
        self._queue: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._on_error = on_error
        self._threads = [
            threading.Thread(target=self._work, name=f"{name}-{number}", daemon=True)
            for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def do(self, task: Callable[[], None]) -> None:
        """Have one of the threads call `task`."""
        self._queue.put(task)

    def end(self, deadline: float) -> bool:
        """Have the threads end when they have done what they were given, and wait for that until `deadline`
        (`time.monotonic`); whether they have."""
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _work(self) -> None:
        while (task := self._queue.get()) is not None:
            try:
                task()
            except BaseException as error:  # noqa: BLE001 - raised again in the thread that asked
                self._on_error(error)
            del task  # it may hold files
