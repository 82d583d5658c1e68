"""What is done to an answer on its way: events in, events out, whatever brings them.

A stage is written once and is used by the transport that waits (`through`) and by the server's.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from typing import Protocol

from runtimes.protocol import Event


class Stage(Protocol):
    """One step. What it holds back comes at the latest with the events that `Finished` makes."""

    def read(self, event: Event) -> Iterable[Event]:
        """The events that `event` makes, none or several."""


def through(events: Generator[Event], stage: Stage) -> Generator[Event]:
    """`events` as `stage` passes them on; they are closed with the generator."""
    try:
        for event in events:
            yield from stage.read(event)
    finally:
        events.close()


def passed(events: Iterable[Event], stages: Sequence[Stage]) -> Iterable[Event]:
    """What comes of `events` behind all of `stages`, one after the other."""
    for stage in stages:
        events = [out for event in events for out in stage.read(event)]
    return events
