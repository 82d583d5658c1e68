from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from registry.errors import EngineFailed
from runtimes.protocol import TextDelta
from slmctl.server.answering import AnswerEvent
from slmctl.server.openai.answers import gathered, interleaved


class Speaker:
    """Answers that say `words`; `closed` tells how many of them have ended."""

    def __init__(self) -> None:
        self.closed = 0
        self.started = 0
        self.all_started: asyncio.Barrier | None = None

    async def say(self, *words: str, then: Exception | None = None) -> AsyncGenerator[AnswerEvent]:
        self.started += 1
        try:
            for word in words:
                await asyncio.sleep(0)
                yield TextDelta(word)
            if then is not None:
                raise then
        finally:
            self.closed += 1

    async def for_ever(self) -> AsyncGenerator[AnswerEvent]:
        self.started += 1
        try:
            if self.all_started is not None:
                await self.all_started.wait()
            while True:
                await asyncio.sleep(0)
                yield TextDelta("a")
        finally:
            self.closed += 1


@pytest.mark.parametrize("count", [1, 2, 5])
def test_every_event_comes_with_the_number_of_its_answer(count: int) -> None:
    speaker = Speaker()

    async def ask() -> list[str]:
        return [each.text for each in await gathered([speaker.say(*"abc", str(n)) for n in range(count)])]

    assert asyncio.run(ask()) == [f"abc{n}" for n in range(count)]
    assert speaker.closed == count


@pytest.mark.parametrize("count", [1, 3])
def test_whoever_stops_listening_ends_all(count: int) -> None:
    speaker = Speaker()

    async def ask() -> None:
        async with aclosing(interleaved([speaker.for_ever() for _ in range(count)])) as events:
            seen: set[int] = set()
            async for number, _ in events:
                seen.add(number)
                if len(seen) == count:
                    return

    asyncio.run(ask())
    assert speaker.started == speaker.closed == count


@pytest.mark.parametrize("count", [1, 3])
def test_a_listener_that_is_cancelled_ends_all(count: int) -> None:
    speaker = Speaker()

    async def ask() -> None:
        speaker.all_started = asyncio.Barrier(count + 1)
        async with asyncio.TaskGroup() as group:
            listener = group.create_task(gathered([speaker.for_ever() for _ in range(count)]))
            await speaker.all_started.wait()
            listener.cancel()
        assert listener.cancelled()

    asyncio.run(ask())
    assert speaker.closed == count


@pytest.mark.parametrize("others", [0, 3])
def test_one_that_fails_ends_all(others: int) -> None:
    speaker = Speaker()

    async def ask() -> None:
        answers = [
            speaker.say("a", then=EngineFailed("it died")),
            *(speaker.for_ever() for _ in range(others)),
        ]
        await gathered(answers)

    with pytest.raises(EngineFailed, match="it died"):
        asyncio.run(ask())
    assert speaker.closed == speaker.started
