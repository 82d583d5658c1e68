"""Several small requests at once: what takes a while is the way there and back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from queue import SimpleQueue
from typing import TypeVar

from registry.transfer.crew import Crew

T = TypeVar("T")
R = TypeVar("R")

_AT_ONCE = 8
_GRACE_SECONDS = 5.0


def at_once(call: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """What `call` gives for each item, in their order.

    Raises what the first that fails raises; the others are not waited for then."""
    if len(items) < 2:
        return [call(item) for item in items]
    outcomes: SimpleQueue[tuple[int, R] | BaseException] = SimpleQueue()
    stopped = threading.Event()

    def do(number: int) -> None:
        if not stopped.is_set():
            outcomes.put((number, call(items[number])))

    crew = Crew("hub", min(_AT_ONCE, len(items)), outcomes.put)
    results: dict[int, R] = {}
    try:
        for number in range(len(items)):
            crew.do(partial(do, number))
        while len(results) < len(items):
            outcome = outcomes.get()
            if isinstance(outcome, BaseException):
                raise outcome
            results[outcome[0]] = outcome[1]
    finally:
        stopped.set()
        crew.end(time.monotonic() + (_GRACE_SECONDS if len(results) == len(items) else 0))
    return [results[number] for number in range(len(items))]
