"""Several small requests at once: what takes a while is the way there and back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
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
    return list(in_order(call, items))


def in_order(call: Callable[[T], R], items: Sequence[T], *, threads: int = _AT_ONCE) -> Iterator[R]:
    """As `at_once`, each as soon as it and those before it are there. Who stops waits for nobody."""
    if len(items) < 2:
        yield from map(call, items)
        return
    outcomes: SimpleQueue[tuple[int, R] | BaseException] = SimpleQueue()
    stopped = threading.Event()

    def do(number: int) -> None:
        if not stopped.is_set():
            outcomes.put((number, call(items[number])))

    crew = Crew("ask", min(threads, len(items)), outcomes.put)
    results: dict[int, R] = {}
    given = 0
    try:
        for number in range(len(items)):
            crew.do(partial(do, number))
        while given < len(items):
            outcome = outcomes.get()
            if isinstance(outcome, BaseException):
                raise outcome
            results[outcome[0]] = outcome[1]
            while given in results:
                yield results.pop(given)
                given += 1
    finally:
        stopped.set()
        crew.end(time.monotonic() + (_GRACE_SECONDS if given == len(items) else 0))
