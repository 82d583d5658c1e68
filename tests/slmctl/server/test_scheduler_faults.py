"""Workers that die, and models that cannot be loaded."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from pathlib import Path

import pytest

from registry.errors import BadContent, NotFound, SlmctlError
from runtimes.errors import EngineDied, EngineStartFailed, EngineUnresponsive, ModelTooBig
from slmctl.server import circuit
from slmctl.server.problems import CircuitOpen
from slmctl.server.scheduler import Scheduler, Want
from tests.slmctl.server.scheduling import FakeEngines, World, answer, loaded, row, text_of, until


async def kill(scheduler: Scheduler, name: str) -> None:
    """End its worker as nobody should, and wait until that is known."""
    found = row(scheduler, name)
    assert found is not None
    assert found.pid is not None
    os.kill(found.pid, signal.SIGKILL)
    await until(lambda: True if (now := row(scheduler, name)) is None or now.pid != found.pid else None)


def test_a_death_hits_only_those_that_were_being_answered(
    world: World, fake_engines: FakeEngines, tiny_model: Path
) -> None:
    world.create("other", tiny_model)
    fake_engines.next.extend([("--hold-after", "1"), ()])

    async def act() -> None:
        async with world.scheduler(parallel=2) as scheduler:
            hit = [asyncio.create_task(answer(scheduler, "hello")) for _ in range(2)]
            await until(lambda: True if (now := row(scheduler, "hello")) and now.running == 2 else None)
            behind = [asyncio.create_task(answer(scheduler, "hello")) for _ in range(3)]
            async with scheduler.use(Want(name="other")) as served:
                found = row(scheduler, "hello")
                assert found is not None
                assert found.waiting == 3
                await kill(scheduler, "hello")
                told = await asyncio.gather(*hit, return_exceptions=True)
                assert [type(each) for each in told] == [EngineDied, EngineDied]
                assert "was killed" in str(told[0])
                assert await asyncio.gather(*behind) == [" word word word"] * 3
                assert await text_of(served)
            assert world.watched.ends == [("hello:latest", "killed")]

    asyncio.run(act())
    assert fake_engines.started == 3


def test_one_that_has_answered_is_started_again_at_once(world: World, fake_engines: FakeEngines) -> None:
    async def act() -> None:
        async with world.scheduler() as scheduler:
            for _ in range(5):  # more than open the circuit
                await answer(scheduler, "hello")
                await kill(scheduler, "hello")
            assert await answer(scheduler, "hello")

    asyncio.run(act())


@pytest.mark.parametrize("how", ["at load", "before any answer"])
def test_three_deaths_open_the_circuit_which_says_so(
    world: World, fake_engines: FakeEngines, monkeypatch: pytest.MonkeyPatch, tiny_model: Path, how: str
) -> None:
    monkeypatch.setattr(circuit, "_FIRST_PAUSE_SECONDS", 0.01)
    world.create("other", tiny_model)
    dies = ("--die-at-load", "3") if how == "at load" else ("--die-after", "0")
    fake_engines.next.extend([(), dies, dies, dies])

    async def act() -> None:
        async with world.scheduler() as scheduler:
            await answer(scheduler, "other")
            for _ in range(3):
                with pytest.raises((EngineStartFailed, EngineDied), match="exit code"):
                    await answer(scheduler, "hello")
                await until(lambda: True if row(scheduler, "hello") is None else None)
            for _ in range(3):
                with pytest.raises(
                    CircuitOpen, match=r"^hello has died too often within a minute: .*exit code"
                ):
                    await answer(scheduler, "hello")
            assert fake_engines.started == 4
            assert await answer(scheduler, "other")
            reason = "start_failed" if how == "at load" else "crashed"
            assert world.watched.ends == [("hello:latest", reason)] * 3

    asyncio.run(act())


def test_after_its_time_the_circuit_lets_one_try(
    world: World, fake_engines: FakeEngines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(circuit, "_FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(circuit, "_OPEN_SECONDS", 0.3)
    fake_engines.next.extend([("--die-at-load", "3")] * 3)

    async def act() -> None:
        async with world.scheduler() as scheduler:
            for _ in range(3):
                with pytest.raises(EngineStartFailed):
                    await answer(scheduler, "hello")
            with pytest.raises(CircuitOpen) as caught:
                await answer(scheduler, "hello")
            assert caught.value.retry_after_seconds == 1
            await asyncio.sleep(0.3)
            assert await answer(scheduler, "hello") == " word word word"

    asyncio.run(act())


def test_all_who_wait_for_a_load_hear_why_it_failed_and_the_next_starts_later(
    world: World, fake_engines: FakeEngines
) -> None:
    fake_engines.next.append(("--load-seconds", "0.2", "--die-at-load", "9"))

    async def act() -> None:
        async with world.scheduler() as scheduler:
            told = await asyncio.gather(
                *(answer(scheduler, "hello") for _ in range(20)), return_exceptions=True
            )
            assert {type(each) for each in told} == {EngineStartFailed}
            assert fake_engines.started == 1
            began = asyncio.get_running_loop().time()
            async with scheduler.use(Want(name="hello")) as served:
                assert served.queue_seconds + served.load_seconds >= 0.4
                assert await text_of(served)
            assert asyncio.get_running_loop().time() - began >= 0.4  # the first pause

    asyncio.run(act())


def test_what_is_the_models_own_fault_is_no_death_and_no_storm(
    world: World, fake_engines: FakeEngines, tiny_model: Path
) -> None:
    world.create("broken", tiny_model)

    async def act() -> None:
        async with world.scheduler() as scheduler:
            await answer(scheduler, "hello")
            package = (await scheduler.find("broken")).package
            blob = world.settings.store / "blobs" / "sha256" / package.variants[0].weights[0].digest.hex
            blob.chmod(0o644)
            blob.write_bytes(b"\0" * blob.stat().st_size)
            errors: list[SlmctlError] = []
            for _ in range(50):
                with pytest.raises(BadContent) as caught:
                    await answer(scheduler, "broken")
                errors.append(caught.value)
            assert len({id(each) for each in errors}) < 10  # most are told what was found a moment ago
            assert fake_engines.started == 1
            assert world.watched.ends == []
            blob.unlink()
            await asyncio.sleep(1.0)  # what is remembered of a failure
            with pytest.raises(NotFound):
                await answer(scheduler, "broken")
            assert loaded(scheduler) == ["hello"]

    asyncio.run(act())


def test_a_worker_that_cuts_one_connection_goes_on_for_the_others(
    world: World, fake_engines: FakeEngines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slmctl.server.engine._DEATH_SECONDS", 0.2)
    fake_engines.usual = ("--cut-after", "2")

    async def act() -> None:
        async with world.scheduler() as scheduler:
            for _ in range(2):
                with pytest.raises(EngineDied, match="cut the connection"):
                    await answer(scheduler, "hello")
            assert fake_engines.started == 1

    asyncio.run(act())


def test_a_worker_that_lives_and_does_nothing_is_replaced(
    world: World, fake_engines: FakeEngines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slmctl.server.engine._SILENT_SECONDS", 0.6)
    fake_engines.next.append(("--hold-after", "1", "--ignore-sigterm", "--ignore-stdin"))

    async def act() -> None:
        async with world.scheduler(parallel=1) as scheduler:
            hung = asyncio.create_task(answer(scheduler, "hello"))
            await until(lambda: True if (now := row(scheduler, "hello")) and now.running else None)
            monkeypatch.setattr("slmctl.server.engine._SILENT_SECONDS", 600.0)  # the next one may be slow
            behind = asyncio.create_task(answer(scheduler, "hello"))
            with pytest.raises(EngineUnresponsive, match="has said nothing"):
                await hung
            assert await behind == " word word word"
            assert world.watched.ends == [("hello:latest", "unresponsive")]

    asyncio.run(act())
    assert fake_engines.started == 2


def test_whatever_happens_at_once_everybody_hears_something(
    world: World, fake_engines: FakeEngines, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills, evictions, reloads, unloads and clients that go away, all at random, and no request is lost."""
    monkeypatch.setattr(circuit, "_FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(circuit, "_OPEN_SECONDS", 0.1)
    for name in ("one", "two"):
        world.create(name, tiny_model)
    assert world.program("cp", "--force", "hello", "two").code == 0
    dice = random.Random(9)
    names = ("hello", "one", "two")

    async def ask(scheduler: Scheduler) -> str:
        parameters = {"num_ctx": dice.choice((256, 512))} if dice.random() < 0.1 else {}
        keep = dice.choice((None, None, None, 0.0))
        want = Want(name=dice.choice(names), parameters=parameters, keep_seconds=keep)
        return await answer(scheduler, want)

    async def trouble(scheduler: Scheduler, done: asyncio.Event) -> None:
        while not done.is_set():
            await asyncio.sleep(dice.random() * 0.1)
            for each in scheduler.status():
                if each.pid is not None and dice.random() < 0.4:
                    with contextlib.suppress(ProcessLookupError):  # it has just gone by itself
                        os.kill(each.pid, signal.SIGKILL)
            if dice.random() < 0.3:
                await scheduler.unload(dice.choice(names))

    async def act() -> None:
        async with world.scheduler(max_loaded=1, parallel=2) as scheduler:
            done = asyncio.Event()
            troubling = asyncio.create_task(trouble(scheduler, done))
            asked: list[asyncio.Task[str]] = []
            for _ in range(300):
                asked.append(asyncio.create_task(ask(scheduler)))
                if dice.random() < 0.3:
                    asyncio.get_running_loop().call_later(dice.random(), asked[-1].cancel)
                await asyncio.sleep(dice.random() * 0.02)
            told = await asyncio.gather(*asked, return_exceptions=True)
            done.set()
            await troubling
            kinds = {type(each) for each in told}
            killed = {EngineDied, ModelTooBig, EngineStartFailed, CircuitOpen}
            assert kinds <= {str, asyncio.CancelledError, *killed}, kinds
            assert scheduler.waiting == 0
            await asyncio.sleep(0.1)  # what is left of a circuit's time
            for name in names:
                assert await answer(scheduler, name)
            await until(lambda: True if all(each.running == 0 for each in scheduler.status()) else None)

    asyncio.run(act())
