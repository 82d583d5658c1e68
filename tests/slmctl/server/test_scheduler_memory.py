"""Who leaves for whom: real models in real workers under a budget that is too small for all of them."""

from __future__ import annotations

import asyncio
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from registry.errors import DoesNotFit
from runtimes import protocol
from slmctl.app.planning.history import EstimateRecord
from slmctl.app.planning.history_file import read_history
from slmctl.serve_settings import ModelSettings
from slmctl.server.problems import Busy
from slmctl.server.scheduler import Want
from tests.processes import until as wait
from tests.servers import serving
from tests.slmctl.cli.program import Program
from tests.slmctl.server.scheduling import (
    DEADLINE_SECONDS,
    FakeEngines,
    World,
    answer,
    loaded,
    row,
    text_of,
    until,
)
from tools.random_model import write_random_model
from tools.random_reranker import write_random_reranker

CONTEXT = 256


def of(name: str, keep_seconds: float | None = None) -> Want:
    return Want(name=name, parameters={"num_ctx": CONTEXT}, keep_seconds=keep_seconds)


@pytest.fixture(params=["made here", "stories"])
def second(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The model that is loaded beside hello: random, or the real one from outside."""
    if request.param == "stories":
        stories: Path = request.getfixturevalue("stories")
        return next(stories.glob("*.gguf"))
    path = tmp_path / "second.gguf"
    write_random_model(path, seed=2)
    return path


def test_a_third_model_sends_away_the_one_that_was_used_least_recently(
    world: World, second: Path, tiny_model: Path
) -> None:
    """Must-show 2 of the issue: eviction order, status, keep_alive 0, for ever and for a while, none lost."""
    world.create("second", second)
    world.create("third", tiny_model)
    budget = 0

    async def act() -> None:
        async with world.scheduler(parallel=1, max_memory=budget) as scheduler:
            await answer(scheduler, of("hello", math.inf))
            await answer(scheduler, of("second", 900))
            assert loaded(scheduler) == ["second", "hello"]
            await answer(scheduler, of("hello"))
            assert loaded(scheduler) == ["hello", "second"]

            await answer(scheduler, of("third", 0.0))  # second was used before hello
            assert "second" not in [name for name in loaded(scheduler) if name != "third"]
            await until(lambda: True if loaded(scheduler) == ["hello"] else None)  # keep_alive 0

            async with scheduler.use(of("hello")) as served:  # in use, it cannot leave
                await answer(scheduler, of("second"))
                third = asyncio.create_task(answer(scheduler, of("third")))
                await until(lambda: True if "third" in loaded(scheduler) else None)
                assert loaded(scheduler).count("second") == 0
                assert await third
                assert await text_of(served)
            rows = {each.name: each for each in scheduler.status()}
            assert rows["hello:latest"].seconds_left is None  # for ever
            left = rows["third:latest"].seconds_left
            assert left is not None
            assert 250 < left <= 300
            assert sum(each.size_bytes for each in rows.values()) <= budget

            asked = [("hello", "second", "third")[number % 3] for number in range(30)]
            answers = await asyncio.gather(*(answer(scheduler, of(name), 8) for name in asked))
            assert all(answers)
            assert world.watched.ends == []

    needs = sorted(world.need_of(name, CONTEXT) for name in ("hello", "second", "third"))
    budget = needs[1] + needs[2]  # any two, and never three
    assert sum(needs) > budget
    asyncio.run(act())


def test_those_in_use_are_waited_for(world: World, fake_engines: FakeEngines, tiny_model: Path) -> None:
    world.create("other", tiny_model)

    async def act() -> None:
        async with world.scheduler(max_loaded=1) as scheduler:
            async with scheduler.use(Want(name="hello")) as served:
                other = asyncio.create_task(answer(scheduler, "other"))
                await until(lambda: True if scheduler.waiting == 1 else None)
                await text_of(served)
                assert loaded(scheduler) == ["hello"]
            assert await other
            assert loaded(scheduler) == ["other"]

    asyncio.run(act())


def test_waiting_for_room_ends(
    world: World, fake_engines: FakeEngines, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slmctl.server.arrivals._ROOM_SECONDS", 0.2)
    world.create("other", tiny_model)

    async def act() -> None:
        async with world.scheduler(max_loaded=1) as scheduler, scheduler.use(Want(name="hello")):
            with pytest.raises(Busy, match="no room"):
                await answer(scheduler, "other")
            assert loaded(scheduler) == ["hello"]

    asyncio.run(act())


def test_pinned_models_never_leave(world: World, fake_engines: FakeEngines, tiny_model: Path) -> None:
    world.create("other", tiny_model)

    async def act() -> None:
        pinned = {"hello": ModelSettings(pinned=True)}
        async with world.scheduler(max_loaded=1, preload=("hello",), models=pinned) as scheduler:
            await scheduler.preload()
            with pytest.raises(Busy, match="pinned"):
                await answer(scheduler, "other")
            found = row(scheduler, "hello")
            assert found is not None
            assert found.pinned
            assert found.seconds_left is None  # it stays for ever, too

    asyncio.run(act())


def test_a_pin_goes_with_its_name(world: World, fake_engines: FakeEngines, tiny_model: Path) -> None:
    """What the name meant before is free to leave, although another name means it still."""
    world.create("tiny", tiny_model)
    assert world.program("cp", "tiny", "mine").code == 0

    async def act() -> None:
        pinned = {"mine:latest": ModelSettings(pinned=True)}
        async with world.scheduler(max_loaded=1, models=pinned) as scheduler:
            for name in ("tiny", "mine"):
                await answer(scheduler, name)
            assert [each.pinned for each in scheduler.status()] == [True]
            assert world.program("cp", "--force", "hello", "mine").code == 0
            await answer(scheduler, "mine")
            assert [each.pinned for each in scheduler.status()] == [True]
            assert loaded(scheduler) == ["mine"]
            with pytest.raises(Busy, match="pinned"):
                await answer(scheduler, "tiny")

    asyncio.run(act())


def test_what_never_fits_is_told_at_once_and_nobody_leaves_for_it(
    world: World, fake_engines: FakeEngines, tiny_model: Path
) -> None:
    world.create("small", tiny_model)
    budget = world.need_of("small", CONTEXT) + 1
    assert world.need_of("hello", CONTEXT) > budget

    async def act() -> None:
        async with world.scheduler(parallel=1, max_memory=budget) as scheduler:
            await answer(scheduler, of("small"))
            with pytest.raises(DoesNotFit) as caught:
                await answer(scheduler, of("hello"))
            assert "fit" in (caught.value.hint or "")
            assert loaded(scheduler) == ["small"]
            assert fake_engines.started == 1

    asyncio.run(act())


def test_a_context_that_does_not_fit_costs_nobody_the_model(world: World, fake_engines: FakeEngines) -> None:
    budget = world.need_of("hello", 256) + 1

    async def act() -> None:
        async with world.scheduler(parallel=1, max_memory=budget) as scheduler:
            await answer(scheduler, of("hello"))
            with pytest.raises(DoesNotFit):
                await answer(scheduler, Want(name="hello", parameters={"num_ctx": 1024}))
            assert loaded(scheduler) == ["hello"]
            assert fake_engines.started == 1

    asyncio.run(act())


def test_slots_are_four_where_they_fit_and_as_many_as_are_asked_for(world: World) -> None:
    async def act() -> None:
        async with world.scheduler() as scheduler:
            await answer(scheduler, "hello")
            found = row(scheduler, "hello")
            assert found is not None
            assert (found.parallel, found.context_length) == (4, 1024)
        async with world.scheduler(models={"hello": ModelSettings(parallel=3)}) as scheduler:
            await answer(scheduler, "hello")
            found = row(scheduler, "hello")
            assert found is not None
            assert found.parallel == 3

    asyncio.run(act())


def test_a_text_as_long_as_the_context_is_ranked(world: World, tmp_path: Path) -> None:
    """llama.cpp takes it in one batch only, which is 512 tokens when nobody says."""
    ranker = tmp_path / "ranker.gguf"
    write_random_reranker(ranker, context=1024)
    world.create("ranker", ranker)

    async def act() -> None:
        want = Want(name="ranker", purpose="rank")
        async with world.scheduler() as scheduler, scheduler.use(want) as served:
            request = protocol.rerank_request("cat dog", ["cat " * 900, "dog " * 700])
            scores, tokens = protocol.parse_scores(await served.engine.body(request))
            assert len(set(scores)) == 2
            assert tokens > 1600

    asyncio.run(act())


def test_each_load_is_held_against_its_plan(world: World) -> None:
    def learned() -> tuple[EstimateRecord, ...] | None:
        return read_history(world.settings.home).estimates or None

    async def act() -> None:
        async with world.scheduler(parallel=2) as scheduler:
            assert learned() is None
            await answer(scheduler, of("hello"))
            (record,) = await until(learned)
            assert (record.loads, record.engine) == (1, "llama.cpp")
            assert 0.5 < record.planned / record.measured < 2

    asyncio.run(act())


@pytest.mark.parametrize("keep", [0, -1, "10m"])
def test_the_same_as_a_client_sees_it(
    slmctl: Program, second: Path, tiny_model: Path, keep: int | str
) -> None:
    """Must-show 2 through the APIs: a third model under a budget for two, and what `ps` says."""
    world = World(slmctl)
    world.create("second", second)
    world.create("third", tiny_model)
    needs = sorted(world.need_of(name, CONTEXT) for name in ("hello", "second", "third"))
    config = f'[serve]\nmax_memory = "{(needs[1] + needs[2]) // 10**6 + 1}MB"\nparallel = 1\n'

    def ask(client: httpx.Client, model: str, keep_alive: int | str) -> None:
        options = {"num_ctx": CONTEXT, "num_predict": 3}
        body = {"model": model, "prompt": "Hi", "stream": False, "keep_alive": keep_alive, "options": options}
        answer = client.post("/api/generate", json=body)
        assert answer.status_code == 200, answer.text
        assert answer.json()["done"] is True

    def there(client: httpx.Client) -> dict[str, str]:
        return {each["name"]: each["expires_at"] for each in client.get("/api/ps").json()["models"]}

    with (
        serving(slmctl, config=config) as server,
        httpx.Client(base_url=server.base_url, timeout=DEADLINE_SECONDS) as client,
    ):
        ask(client, "second", -1)
        ask(client, "hello", -1)
        assert set(there(client)) == {"second:latest", "hello:latest"}
        ask(client, "third", keep)
        if keep == 0:
            wait(lambda: True if set(there(client)) == {"hello:latest"} else None)
            return
        rows = there(client)
        assert set(rows) == {"hello:latest", "third:latest"}
        left = datetime.fromisoformat(rows["third:latest"][:19]) - datetime.now(UTC).replace(tzinfo=None)
        if keep == -1:
            assert left > timedelta(days=365)
        else:
            assert timedelta(minutes=9) < left <= timedelta(minutes=10, seconds=1)
        listed = slmctl("ps").out
        assert "hello" in listed
        assert "second" not in listed
