from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import aclosing

import pytest

from registry.digest import Digest
from registry.errors import NotFound
from slmctl.app.events import Event, Note, Transfer
from slmctl.server.jobs import Job, Stopped, Teller, in_thread_of_its_own
from tests.processes import until

BLOBS = [Digest.of(b"a"), Digest.of(b"b")]


def moved(blob: Digest, done: int, total: int = 1000) -> Transfer:
    return Transfer(
        stage="pull", item="x", done=done, total=total, all_done=0, all_total=0, reused=0, digest=blob
    )


def test_everything_is_told_in_order_and_of_each_item_at_least_its_end() -> None:
    def work(on_event: Teller) -> str:
        on_event(Note(text="first"))
        for done in range(1001):
            on_event(moved(BLOBS[0], done))
            on_event(moved(BLOBS[1], done))
        on_event(Note(text="last"))
        return "result"

    async def run() -> tuple[list[Event], str]:
        job = Job(work, name="test")
        events = [event async for event in job.events()]
        return events, job.result

    events, result = asyncio.run(run())
    assert result == "result"
    assert [event for event in events if isinstance(event, Note)] == [Note(text="first"), Note(text="last")]
    for blob in BLOBS:
        dones = [event.done for event in events if isinstance(event, Transfer) and event.digest == blob]
        assert dones == sorted(set(dones))
        assert dones[-1] == 1000


def test_a_client_that_is_slow_is_told_the_newest_and_nothing_piles_up() -> None:
    told = threading.Event()
    goes_on = threading.Event()

    def work(on_event: Teller) -> str:
        on_event(moved(BLOBS[0], 0))
        assert goes_on.wait(30)
        for done in range(1, 1001):
            on_event(moved(BLOBS[0], done))
        told.set()
        return ""

    async def run() -> list[int]:
        dones = []
        async for event in Job(work, name="test").events():
            assert isinstance(event, Transfer)
            dones.append(event.done)
            goes_on.set()
            await asyncio.to_thread(told.wait, 30)  # all else happens while this client is at the first
        return dones

    assert asyncio.run(run()) == [0, 1000]


def test_what_the_work_raises_is_raised_behind_what_it_told() -> None:
    def work(on_event: Teller) -> str:
        on_event(Note(text="before"))
        raise NotFound("There is no such thing.")

    async def run() -> list[Event]:
        events = Job(work, name="test").events()
        first = await anext(events)
        with pytest.raises(NotFound, match="no such thing"):
            await anext(events)
        return [first]

    assert asyncio.run(run()) == [Note(text="before")]


@pytest.mark.parametrize(
    "ask", [lambda teller: teller(Note(text="nobody hears it")), lambda teller: teller.check()]
)
def test_who_leaves_stops_the_work_when_it_tells_or_asks(ask: Callable[[Teller], None]) -> None:
    left, ended = threading.Event(), threading.Event()
    raised: list[BaseException] = []

    def work(on_event: Teller) -> str:
        on_event(Note(text="begun"))
        assert left.wait(30)
        try:
            ask(on_event)
        except Stopped as error:
            raised.append(error)
            raise
        finally:
            ended.set()
        return "never"

    async def run() -> None:
        async with aclosing(Job(work, name="test").events()) as events:
            assert await anext(events) == Note(text="begun")
        left.set()
        assert await asyncio.to_thread(ended.wait, 30)

    asyncio.run(run())
    assert len(raised) == 1


def test_who_is_cancelled_waits_for_nothing() -> None:
    released = threading.Event()

    def work() -> str:
        assert released.wait(30)
        return "late"

    async def run() -> None:
        task = asyncio.create_task(in_thread_of_its_own(work, name="slmctl-test-late"))
        await asyncio.to_thread(until, lambda: True if _is_running("slmctl-test-late") else None)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    released.set()
    until(lambda: None if _is_running("slmctl-test-late") else True)


def test_in_thread_gives_what_the_work_gave() -> None:
    name = asyncio.run(in_thread_of_its_own(lambda: threading.current_thread().name, name="slmctl-test"))
    assert name == "slmctl-test"


def _is_running(name: str) -> bool:
    return any(thread.name == name for thread in threading.enumerate())
