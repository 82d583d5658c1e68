"""Nobody is answered out of what a slot remembers of another."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from hypothesis import given
from hypothesis import strategies as st

from runtimes.protocol import Finished
from slmctl.app.asks import ChatAsk
from slmctl.server.answering import chat
from slmctl.server.scheduler import Scheduler, Want
from slmctl.server.slots import Seat, Slots
from tests.slmctl.server.scheduling import World


def test_each_key_keeps_its_slot_as_long_as_there_are_enough() -> None:
    slots = Slots(2)
    for _ in range(3):
        for principal, slot in (("one", 0), ("two", 1)):
            seat = slots.take(principal)
            assert seat == Seat(slot, fresh=False)
            slots.give_back(principal, seat)


def test_a_slot_that_was_anothers_has_to_forget_and_the_longest_unused_does() -> None:
    slots = Slots(2)
    for principal in ("one", "two"):
        slots.give_back(principal, slots.take(principal))
    third = slots.take("three")
    assert third == Seat(0, fresh=True)
    slots.give_back("three", third)
    assert slots.take("two") == Seat(1, fresh=False)


def test_of_its_own_slots_a_key_gets_the_one_that_it_used_last() -> None:
    slots = Slots(3)
    first, second = slots.take("one"), slots.take("one")
    slots.give_back("one", second)
    slots.give_back("one", first)
    assert slots.take("one").slot == first.slot


def test_without_keys_the_engine_chooses_and_a_key_trusts_no_slot_after_that() -> None:
    slots = Slots(2)
    anybody = slots.take(None)
    assert anybody == Seat(None, fresh=False)
    beside = slots.take("one")
    assert beside == Seat(None, fresh=True)
    slots.give_back("one", beside)
    slots.give_back(None, anybody)
    seat = slots.take("one")
    assert seat == Seat(0, fresh=True)
    slots.give_back("one", seat)
    assert slots.take("one") == Seat(0, fresh=False)


@given(st.integers(1, 4), st.lists(st.tuples(st.sampled_from((None, "one", "two", "three")), st.booleans())))
def test_no_key_ever_meets_what_another_left(count: int, moves: list[tuple[str | None, bool]]) -> None:
    """Against a model of the engine: who wrote last into each slot, where it chooses any free one itself."""
    slots = Slots(count)
    wrote: dict[int, set[str | None]] = {slot: set() for slot in range(count)}
    busy: list[tuple[str | None, Seat]] = []
    for principal, leaves in moves:
        if busy and (leaves or len(busy) == count):
            slots.give_back(*busy.pop(0))
            continue
        seat = slots.take(principal)
        busy.append((principal, seat))
        taken = {other.slot for _, other in busy[:-1]}
        assert seat.slot is None or seat.slot not in taken
        for slot in range(count) if seat.slot is None else [seat.slot]:
            if seat.slot is not None and not seat.fresh:
                assert wrote[slot] <= {principal}
            wrote[slot] = wrote[slot] | {principal} if seat.slot is None else {principal}


def test_one_key_is_not_answered_faster_for_what_another_has_asked(world: World) -> None:
    """The real engine's count of cached tokens, through the scheduler and what asks the engine."""
    ask = ChatAsk(
        messages=[{"role": "user", "content": "What does slmctl do with the files of a model?"}],
        parameters={"num_predict": 4},
    )

    async def cached(scheduler: Scheduler, principal: str | None) -> int:
        async with (
            scheduler.use(Want(name="hello", principal=principal)) as served,
            aclosing(chat(served, ask)) as events,
        ):
            last = [event async for event in events][-1]
        assert isinstance(last, Finished)
        assert last.cached_tokens is not None
        return last.cached_tokens

    async def act() -> None:
        async with world.scheduler(parallel=2) as scheduler:
            assert await cached(scheduler, "one") == 0
            assert await cached(scheduler, "one") > 0
            assert await cached(scheduler, "two") == 0
            assert await cached(scheduler, "two") > 0
            assert await cached(scheduler, "three") == 0  # in the slot that was one's
            assert await cached(scheduler, "one") == 0  # in the slot that was two's
            assert await cached(scheduler, "one") > 0

    asyncio.run(act())
