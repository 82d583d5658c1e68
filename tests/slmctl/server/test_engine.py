"""The asynchronous client of a worker, against the fake and the real engine."""

from __future__ import annotations

import asyncio
import dataclasses
import tempfile
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path

import pytest

from registry.errors import SlmctlError
from runtimes import protocol
from runtimes.client import Client, Endpoint
from runtimes.errors import EngineDied, EngineRefused, EngineUnresponsive
from runtimes.events import TextDelta, joined
from runtimes.process import Worker
from runtimes.sampling import Sampling
from slmctl.app.ships import FOLDER
from slmctl.server import engine
from slmctl.server.engine import EngineClient
from slmctl.server.silence import Silence
from tests.runtimes.launches import DEADLINE_SECONDS, ONE_THREAD, fake_launch, llama_worker

HELLO = FOLDER / "hello" / "hello.gguf"
CHAT = protocol.chat_request([{"role": "user", "content": "Hi"}])
COMPLETION = protocol.completion_request("Hi")


@pytest.fixture
def base() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="slm") as folder:
        yield Path(folder)


@contextmanager
def fake(base: Path, *arguments: str) -> Iterator[Worker]:
    with Worker(fake_launch(base, *arguments)) as worker:
        worker.ensure_ready(DEADLINE_SECONDS)
        yield worker


async def gather(client: EngineClient, seen: list[protocol.Event]) -> None:
    async for event in client.stream(CHAT):
        seen.append(event)  # noqa: PERF401 - what came before an error counts


async def events_of(client: EngineClient, request: protocol.HttpRequest) -> list[protocol.Event]:
    async with aclosing(client.stream(request)) as events:
        return [event async for event in events]


@pytest.mark.parametrize("request_", [CHAT, COMPLETION])
def test_gives_the_events_that_the_synchronous_client_gives(
    base: Path, request_: protocol.HttpRequest
) -> None:
    with fake(base, "--tokens", "40") as worker:
        expected = list(Client(worker.endpoint, worker).stream(request_))
        found = asyncio.run(events_of(EngineClient(worker.endpoint, worker), request_))
        assert list(joined(found)) == list(joined(expected))
        assert len(expected) == 41


def test_tokens_that_have_come_together_go_on_as_one_piece(base: Path) -> None:
    tokens = [f'data: {{"content":"{token}","stop":false}}\n\n' for token in "abc"]
    parts = [*tokens, 'data: {"content":"","stop":true,"stop_type":"eos"}\n\n', ""]
    chunks = "".join(f"{len(part):x}\r\n{part}\r\n" for part in parts)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b'"Hi"')
        writer.write(f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}".encode())
        await writer.drain()
        writer.close()

    async def ask(worker: Worker) -> list[protocol.Event]:
        path = base / "s"
        async with await asyncio.start_unix_server(answer, path):
            return await events_of(EngineClient(Endpoint(path, "key"), worker), COMPLETION)

    with fake(base) as worker:
        text, end = asyncio.run(ask(worker))
    assert text == TextDelta("abc")
    assert isinstance(end, protocol.Finished)


@pytest.mark.parametrize(
    ("arguments", "error", "sentence"),
    [
        (("--die-after", "2"), EngineDied, "ended unexpectedly with exit code 7"),
        (("--cut-after", "2"), EngineDied, "cut the connection"),
        (("--fail-after", "2"), EngineRefused, "Context size exceeded"),
        (("--hold-after", "2"), EngineUnresponsive, "has said nothing for 0.5 seconds"),
        (("--hold-after", "0"), EngineUnresponsive, "has said nothing for 0.5 seconds"),
    ],
)
def test_tells_what_goes_wrong_in_the_middle(
    base: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    error: type[SlmctlError],
    sentence: str,
) -> None:
    if "--cut-after" in arguments:
        monkeypatch.setattr(engine, "_DEATH_SECONDS", 0.2)  # it lives: so long nobody knows

    async def ask(worker: Worker) -> tuple[list[protocol.Event], list[bool]]:
        told: list[bool] = []
        timeout = 0.5 if "--hold-after" in arguments else 30.0
        client = EngineClient(worker.endpoint, worker, timeout_seconds=timeout, on_break=told.append)
        seen: list[protocol.Event] = []
        with pytest.raises(error, match=sentence):
            await gather(client, seen)
        return seen, told

    with fake(base, *arguments) as worker:
        seen, told = asyncio.run(ask(worker))
    whole = [TextDelta(" word word")] if "0" not in arguments else []
    assert list(joined(seen)) == whole
    if error is EngineDied:
        assert told == ([True] if "--die-after" in arguments else [True, False])


def test_an_engine_that_is_at_work_may_be_silent(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[bool] = []
    was_idle = Silence.was_idle

    def look(silence: Silence, seconds: float) -> bool:
        looks.append(was_idle(silence, seconds))
        return looks[-1]

    monkeypatch.setattr(Silence, "was_idle", look)

    async def ask(worker: Worker) -> None:
        silences: list[None] = []
        client = EngineClient(
            worker.endpoint, worker, timeout_seconds=1.0, on_silence=lambda: silences.append(None)
        )
        asking = asyncio.create_task(gather(client, []))
        async with asyncio.timeout(DEADLINE_SECONDS):
            while len(looks) < 3:  # noqa: ASYNC110 - what is looked at has no event
                await asyncio.sleep(0.01)
        assert not asking.done()
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        assert silences == []

    with fake(base, "--hold-after", "2", "--spin") as worker:
        asyncio.run(ask(worker))
    assert looks[:3] == [False] * 3


def test_one_look_at_a_worker_does_for_all_whose_connections_break(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And who goes away meanwhile does not end it: nobody is sent to a worker that is about to be known dead."""
    monkeypatch.setattr(engine, "_DEATH_SECONDS", 3.0)

    async def ask(worker: Worker) -> list[bool]:
        told: list[bool] = []
        client = EngineClient(worker.endpoint, worker, on_break=told.append)
        all_of_them = [asyncio.create_task(gather(client, [])) for _ in range(30)]
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not told:  # noqa: ASYNC110 - what is looked at has no event
                await asyncio.sleep(0.01)
            all_of_them[0].cancel()
            found = await asyncio.gather(*all_of_them, return_exceptions=True)
        assert {type(each) for each in found} <= {EngineDied, asyncio.CancelledError}
        return told

    with fake(base, "--cut-after", "2") as worker:
        assert asyncio.run(ask(worker)) == [True, False]


def test_a_worker_that_is_gone_is_told_in_the_words_of_its_end(base: Path) -> None:
    with fake(base) as worker:
        client = EngineClient(worker.endpoint, worker)
        worker.stop()
        for request in (CHAT, protocol.tokenize_request("a b")):
            with pytest.raises(SlmctlError, match="The engine was stopped"):
                asyncio.run(client.body(request))


def test_a_refusal_has_the_engines_words(base: Path) -> None:
    with fake(base) as worker:
        stranger = EngineClient(Endpoint(worker.endpoint.socket, "guess"), worker)
        with pytest.raises(EngineRefused, match="Invalid API Key") as caught:
            asyncio.run(events_of(stranger, CHAT))
        assert caught.value.status == 401


def test_a_body_is_read_whole_or_its_beginning(base: Path) -> None:
    with fake(base) as worker:
        client = EngineClient(worker.endpoint, worker)
        asked = protocol.tokenize_request("a b c")
        assert protocol.parse_tokens(asyncio.run(client.body(asked))) == (0, 1, 2)
        assert asyncio.run(client.body(asked, most_bytes=5)) == b'{"tok'


def test_many_at_once_find_the_engine_although_its_backlog_is_short(base: Path) -> None:
    async def ask(worker: Worker) -> list[bytes]:
        client = EngineClient(worker.endpoint, worker)
        return await asyncio.gather(*(client.body(protocol.tokenize_request("a b")) for _ in range(300)))

    with fake(base) as worker:
        answers = asyncio.run(ask(worker))
    assert {protocol.parse_tokens(answer) for answer in answers} == {(0, 1)}


@pytest.mark.parametrize("how", ["close", "cancel"])
def test_who_goes_away_frees_the_slot_of_the_real_engine(base: Path, how: str) -> None:
    endless = protocol.completion_request("Hello", Sampling(num_predict=60_000), ignore_end=True)

    async def listen(client: EngineClient, heard: asyncio.Event, go: asyncio.Event) -> None:
        async with aclosing(client.stream(endless)) as events:
            await anext(events)
            heard.set()
            await go.wait()

    async def ask(worker: Worker) -> None:
        client, heard, go = EngineClient(worker.endpoint, worker), asyncio.Event(), asyncio.Event()
        task = asyncio.create_task(listen(client, heard, go))
        await heard.wait()
        go.set() if how == "close" else task.cancel()
        async with asyncio.timeout(2.5):  # ten times what it may take
            await asyncio.gather(task, return_exceptions=True)
            short = protocol.completion_request("Hello", Sampling(num_predict=1))
            assert await events_of(client, short)

    one_slot = dataclasses.replace(ONE_THREAD, context_length=65_536, parallel=1)
    with llama_worker(base, HELLO, one_slot) as worker:
        asyncio.run(ask(worker))
