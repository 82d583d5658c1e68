"""Slots, lines, and how long models stay: the scheduler over fake engines."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from registry.errors import InvalidReference, NotFound, UsageError
from slmctl.serve_settings import ModelSettings
from slmctl.server.problems import Busy, NotSupported
from slmctl.server.scheduler import Scheduler, Served, Want
from tests.slmctl.server.scheduling import FakeEngines, World, answer, loaded, row, text_of, until


@asynccontextmanager
async def held(
    scheduler: Scheduler, want: Want | str = "hello"
) -> AsyncIterator[tuple[Served, asyncio.Event]]:
    """A slot that another task holds until the event is set."""
    ready: asyncio.Future[Served] = asyncio.get_running_loop().create_future()
    go = asyncio.Event()

    async def hold() -> None:
        try:
            async with scheduler.use(want if isinstance(want, Want) else Want(name=want)) as served:
                ready.set_result(served)
                await go.wait()
        except BaseException as error:
            if not ready.done():
                ready.set_exception(error)
            raise

    task = asyncio.create_task(hold())
    try:
        yield await ready, go
    finally:
        go.set()
        await asyncio.gather(task, return_exceptions=True)


def test_the_first_use_loads_and_the_next_ones_find_it(world: World, fake_engines: FakeEngines) -> None:
    async def act() -> None:
        async with world.scheduler() as scheduler:
            async with scheduler.use(Want(name="hello")) as first:
                assert await text_of(first) == " word word word"
                assert first.load_seconds > 0
                assert first.name == "hello:latest"
                assert first.about.digest == first.package.digest
            async with scheduler.use(Want(name="HELLO:latest")) as second:
                assert second.load_seconds == 0
                assert second.engine is first.engine
            assert world.watched.loads == ["hello:latest"]

    asyncio.run(act())
    assert fake_engines.started == 1


def test_two_names_of_one_digest_share_a_worker(world: World, fake_engines: FakeEngines) -> None:
    async def act() -> None:
        async with world.scheduler() as scheduler:
            await answer(scheduler, "hello")
            assert world.program("cp", "hello", "other").code == 0
            async with scheduler.use(Want(name="other")) as served:
                assert (served.name, served.about.name) == ("other:latest", "other:latest")
            assert len(scheduler.status()) == 1

    asyncio.run(act())
    assert fake_engines.started == 1


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("nobody", NotFound),
        ("hf.co/some/body", NotFound),
        ("https://127.0.0.1:9/library/hello", NotFound),
        ("/etc/passwd", InvalidReference),
        ("./bundle", InvalidReference),
        ("file:///tmp/bundle", InvalidReference),
        ("", InvalidReference),
        ("a b", InvalidReference),
    ],
)
def test_only_names_in_the_store_are_served(world: World, name: str, error: type[UsageError]) -> None:
    async def act() -> None:
        async with world.scheduler() as scheduler:
            with pytest.raises(error):
                await scheduler.load(Want(name=name))

    asyncio.run(act())


def test_a_model_is_started_only_for_what_it_can(world: World, fake_engines: FakeEngines) -> None:
    async def act() -> None:
        async with world.scheduler() as scheduler:
            with pytest.raises(NotSupported, match='"hello" does not support rerank'):
                await scheduler.load(Want(name="hello", purpose="rank"))
            await scheduler.load(Want(name="hello"))
            await scheduler.load(Want(name="hello", purpose="embedding"))
            assert {each.purpose for each in scheduler.status()} == {"text", "embedding"}

    asyncio.run(act())
    assert fake_engines.started == 2


def test_slots_are_given_first_come_first_served(world: World, fake_engines: FakeEngines) -> None:
    async def one(scheduler: Scheduler, number: int, order: list[int]) -> None:
        async with scheduler.use(Want(name="hello")) as served:
            order.append(number)
            assert sum(each.running for each in scheduler.status()) <= 2
            await text_of(served)

    async def act() -> None:
        order: list[int] = []
        waiting = []
        async with world.scheduler(parallel=2) as scheduler:
            async with held(scheduler), held(scheduler):
                for number in range(20):
                    waiting.append(asyncio.create_task(one(scheduler, number, order)))
                    await until(lambda: True if scheduler.waiting == len(waiting) else None)
                found = row(scheduler, "hello")
                assert found is not None
                assert (found.running, found.waiting, found.parallel) == (2, 20, 2)
                assert found.seconds_left is None
                assert order == []
            await asyncio.gather(*waiting)
        assert order == list(range(20))

    asyncio.run(act())


def test_a_load_delays_nobody_whose_model_is_there(
    world: World, fake_engines: FakeEngines, tiny_model: Path
) -> None:
    world.create("slow", tiny_model)
    fake_engines.next.extend([(), ("--never-ready",)])

    async def act() -> None:
        async with world.scheduler(max_memory=1 << 40) as scheduler:
            await answer(scheduler, "hello")
            loading = asyncio.create_task(answer(scheduler, "slow"))
            await until(lambda: found if (found := row(scheduler, "slow")) and found.pid else None)
            for _ in range(50):
                async with scheduler.use(Want(name="hello")) as served:
                    assert served.queue_seconds + served.load_seconds == 0
                    await text_of(served)
            found = row(scheduler, "slow")
            assert found is not None
            assert (found.state, found.waiting) == ("loading", 1)
            loading.cancel()
            await asyncio.gather(loading, return_exceptions=True)

    asyncio.run(act())


def test_a_full_line_says_when_to_come_again(world: World, fake_engines: FakeEngines) -> None:
    async def act() -> None:
        async with (
            world.scheduler(parallel=1, queue_per_model=3) as scheduler,
            held(scheduler) as (_, go),
        ):
            waiting = [asyncio.create_task(answer(scheduler, "hello")) for _ in range(3)]
            await until(lambda: True if scheduler.waiting == 3 else None)
            with pytest.raises(Busy, match="server busy") as caught:
                await answer(scheduler, "hello")
            assert 1 <= caught.value.retry_after_seconds <= 60
            go.set()
            assert await asyncio.gather(*waiting) == [" word word word"] * 3

    asyncio.run(act())


def test_a_line_of_none_lets_in_who_need_not_wait(world: World, fake_engines: FakeEngines) -> None:
    async def act() -> None:
        async with world.scheduler(parallel=2, queue_per_model=0) as scheduler:
            assert await answer(scheduler, "hello")
            async with held(scheduler), held(scheduler):
                with pytest.raises(Busy):
                    await answer(scheduler, "hello")
            assert await answer(scheduler, "hello")

    asyncio.run(act())


def test_each_key_has_its_own_limit(world: World, fake_engines: FakeEngines) -> None:
    def of(principal: str | None) -> Want:
        return Want(name="hello", principal=principal)

    async def act() -> None:
        async with (
            world.scheduler(parallel=4, queue_per_key=2) as scheduler,
            held(scheduler, of("one")),
            held(scheduler, of("one")),
        ):
            with pytest.raises(Busy):
                await answer(scheduler, of("one"))
            assert await answer(scheduler, of("two"))
            async with held(scheduler, of(None)):
                assert await answer(scheduler, of(None))

    asyncio.run(act())


def test_who_goes_away_leaves_the_line_at_once(world: World, fake_engines: FakeEngines) -> None:
    async def act() -> None:
        async with world.scheduler(parallel=1) as scheduler:
            async with held(scheduler):
                first, second = (asyncio.create_task(answer(scheduler, "hello")) for _ in range(2))
                await until(lambda: True if scheduler.waiting == 2 else None)
                first.cancel()
                await asyncio.gather(first, return_exceptions=True)
                assert scheduler.waiting == 1
            assert await second == " word word word"

    asyncio.run(act())


def test_no_slot_is_lost_whenever_clients_go_away(
    world: World, fake_engines: FakeEngines, tiny_model: Path
) -> None:
    """Thousands are cancelled at random moments: before the load, in line, as the slot comes, in the answer."""
    world.create("other", tiny_model)
    fake_engines.usual = ("--tokens", "2")
    dice = random.Random(8)

    async def one(scheduler: Scheduler, number: int) -> None:
        keep = dice.choice((None, None, None, 0.0, 0.01, math.inf))
        context = dice.choice((None, None, None, None, 512, 768)) if number % 50 == 0 else None
        parameters = {} if context is None else {"num_ctx": context}
        want = Want(name=dice.choice(("hello", "other")), keep_seconds=keep, parameters=parameters)
        async with scheduler.use(want) as served:
            for _ in range(dice.randrange(3)):
                await asyncio.sleep(0)
            if number % 20 == 0:
                await text_of(served)

    async def act() -> None:
        async with world.scheduler(parallel=2, queue_per_model=10_000) as scheduler:
            going: set[asyncio.Task[None]] = set()
            for number in range(5000):
                task = asyncio.create_task(one(scheduler, number))
                going.add(task)
                if dice.random() < 0.6:
                    asyncio.get_running_loop().call_later(dice.random() * 0.05, task.cancel)
                if dice.random() < 0.2:
                    await asyncio.sleep(dice.random() * 0.002)
            results = await asyncio.gather(*going, return_exceptions=True)
            strange = [each for each in results if each and not isinstance(each, asyncio.CancelledError)]
            assert strange == []
            assert scheduler.waiting == 0
            assert all(each.running == 0 for each in scheduler.status())
            async with asyncio.TaskGroup() as both:  # and all slots are there
                for _ in range(4):
                    both.create_task(answer(scheduler, "hello"))

    asyncio.run(act())


@pytest.mark.parametrize(
    ("request_", "own", "server", "stays"),
    [
        (None, None, 0.0, False),
        (None, None, 1000.0, True),
        (None, 0.0, 1000.0, False),
        (0.0, 1000.0, 1000.0, False),
        (math.inf, 0.0, 0.0, True),
    ],
)
def test_how_long_a_model_stays_is_said_by_the_request_else_for_it_else_for_all(
    world: World,
    fake_engines: FakeEngines,
    request_: float | None,
    own: float | None,
    server: float,
    stays: bool,
) -> None:
    async def act() -> None:
        models = {} if own is None else {"hello": ModelSettings(keep_seconds=own)}
        async with world.scheduler(keep_seconds=server, models=models) as scheduler:
            await answer(scheduler, Want(name="hello", keep_seconds=request_))
            if stays:
                found = row(scheduler, "hello")
                assert found is not None
                left = found.seconds_left
                assert left is None if request_ == math.inf else left is not None and left > 900
            else:
                await until(lambda: True if not scheduler.status() else None)

    asyncio.run(act())


def test_each_use_renews_and_the_end_comes_when_it_is_idle(world: World, fake_engines: FakeEngines) -> None:
    async def act() -> None:
        async with world.scheduler() as scheduler:
            async with held(scheduler, Want(name="hello", keep_seconds=0.2)):
                await asyncio.sleep(0.4)  # in use, its time does not pass
                found = row(scheduler, "hello")
                assert found is not None
                assert (found.state, found.seconds_left) == ("ready", None)
            await answer(scheduler, Want(name="hello", keep_seconds=900))
            found = row(scheduler, "hello")
            assert found is not None
            assert found.seconds_left is not None
            assert found.seconds_left > 800
            await answer(scheduler, Want(name="hello", keep_seconds=0.05))
            await until(lambda: True if not scheduler.status() else None)

    asyncio.run(act())


def test_unload_waits_for_the_last_answer(world: World, fake_engines: FakeEngines) -> None:
    async def act() -> None:
        async with world.scheduler() as scheduler:
            assert not await scheduler.unload("hello")
            async with held(scheduler, Want(name="hello", keep_seconds=math.inf)) as (served, _):
                assert await scheduler.unload("hello")
                found = row(scheduler, "hello")
                assert found is not None
                assert found.state == "draining"
                assert await text_of(served)
            await until(lambda: True if not scheduler.status() else None)
            assert await answer(scheduler, "hello")
        assert fake_engines.started == 2

    asyncio.run(act())


def test_another_context_is_another_load_and_none_is_any(world: World, fake_engines: FakeEngines) -> None:
    def of(context: int | None) -> Want:
        return Want(name="hello", parameters={} if context is None else {"num_ctx": context})

    async def act() -> None:
        async with world.scheduler() as scheduler:
            async with scheduler.use(of(512)) as served:
                assert served.about.context_length == 512
            for same in (None, 512):
                async with scheduler.use(of(same)) as served:
                    assert (served.about.context_length, served.load_seconds) == (512, 0.0)
            async with held(scheduler, of(512)) as (_, go):
                other = asyncio.create_task(answer(scheduler, of(256)))
                after = asyncio.create_task(answer(scheduler, of(None)))
                await until(lambda: True if scheduler.waiting == 2 else None)
                assert [each.context_length for each in scheduler.status()] == [512]
                go.set()
                await asyncio.gather(other, after)
            assert [each.context_length for each in scheduler.status()] == [256]
            async with scheduler.use(of(100_000)) as served:  # no more than it was trained for
                assert served.about.context_length == 1024
        assert fake_engines.started == 3

    asyncio.run(act())


@pytest.mark.parametrize(
    ("parameter", "value", "sentence"),
    [
        ("num_ctx", -5, "context of -5 tokens"),
        ("num_ctx", 1, "too short"),
        ("num_batch", 1, "num_batch"),
        ("num_thread", 0, "num_thread"),
        ("num_gpu", -7, "num_gpu"),
        ("main_gpu", 4096, "main_gpu"),
        ("draft_num_predict", 5000, "draft_num_predict"),
    ],
)
def test_a_value_that_no_engine_takes_costs_nobody_a_model(
    world: World, fake_engines: FakeEngines, parameter: str, value: int, sentence: str
) -> None:
    async def act() -> None:
        async with world.scheduler() as scheduler:
            await answer(scheduler, "hello")
            with pytest.raises(UsageError, match=sentence):
                await scheduler.load(Want(name="hello", parameters={parameter: value}))
            assert loaded(scheduler) == ["hello"]

    asyncio.run(act())
    assert fake_engines.started == 1


def test_a_name_that_moves_is_served_from_the_next_request_on(
    world: World, fake_engines: FakeEngines, tiny_model: Path
) -> None:
    world.create("mine", tiny_model)

    async def act() -> None:
        async with world.scheduler() as scheduler:
            async with held(scheduler, "mine") as (old, _):
                await scheduler.load(Want(name="hello"))
                assert world.program("cp", "--force", "hello", "mine").code == 0
                async with scheduler.use(Want(name="mine")) as new:
                    assert new.about.digest != old.about.digest
                    assert new.about.digest == (await scheduler.find("hello")).package.digest
                    assert await text_of(old)  # the stream on the old one goes on
                assert len(scheduler.status()) == 2
            await until(lambda: True if len(scheduler.status()) == 1 else None)
            assert fake_engines.started == 2

    asyncio.run(act())


def test_a_model_that_is_removed_is_gone_at_once_and_its_streams_finish(
    world: World, fake_engines: FakeEngines, tiny_model: Path
) -> None:
    world.create("mine", tiny_model)

    async def act() -> None:
        async with world.scheduler() as scheduler:
            async with held(scheduler, Want(name="mine", keep_seconds=math.inf)) as (served, _):
                assert world.program("rm", "mine").code == 0
                with pytest.raises(NotFound):
                    await answer(scheduler, "mine")
                assert await text_of(served)
            await until(lambda: True if not scheduler.status() else None)

    asyncio.run(act())


def test_what_is_to_be_there_first_is_loaded_and_told(world: World, fake_engines: FakeEngines) -> None:
    async def act() -> None:
        async with world.scheduler(preload=("nobody", "hello")) as scheduler:
            assert scheduler.preloaded is False
            outcome = await scheduler.preload()
            assert isinstance(outcome["nobody"], NotFound)
            assert outcome["hello"] is None
            assert loaded(scheduler) == ["hello"]
            assert bool(scheduler.preloaded)

    asyncio.run(act())


def test_closing_tells_who_waits_and_leaves_nothing(
    world: World, fake_engines: FakeEngines, tiny_model: Path
) -> None:
    world.create("slow", tiny_model)
    fake_engines.next.extend([(), ("--never-ready", "--ignore-sigterm", "--ignore-stdin")])

    async def act() -> None:
        async with world.scheduler(parallel=1) as scheduler, held(scheduler):
            waits = [asyncio.create_task(answer(scheduler, name)) for name in ("hello", "slow")]
            await until(lambda: found if (found := row(scheduler, "slow")) and found.pid else None)
            await scheduler.close()
            told = await asyncio.gather(*waits, return_exceptions=True)
            assert [type(each) for each in told] == [Busy, Busy]
            with pytest.raises(Busy, match="stopping"):
                await answer(scheduler, "hello")
            await scheduler.close()

    asyncio.run(act())
