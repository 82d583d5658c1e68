"""What OpenAI's client makes of a server that is full, and of an engine that dies."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest
from openai import APIError, APIStatusError, InternalServerError, OpenAI
from openai.types import Completion

from tests.servers import Server, serving, until_workers
from tests.slmctl.cli.program import Program
from tests.slmctl.server.models import TINY


@contextmanager
def client_of(server: Server) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server.base_url}/v1", api_key="x", max_retries=0, timeout=60) as client:
        yield client


def test_an_engine_that_dies_is_told_inside_the_stream(stocked: Program) -> None:
    """And the next request is answered by another."""
    with serving(stocked) as server, client_of(server) as client:
        stream = client.completions.create(model=TINY, prompt="Once", max_tokens=100_000, stream=True)
        for _ in range(3):
            next(stream)
        (worker,) = until_workers(server, 1)
        os.kill(worker, signal.SIGKILL)
        with pytest.raises(APIError) as caught:
            list(stream)
        assert caught.value.code == "engine_failed"
        again = client.completions.create(model=TINY, prompt="Once", max_tokens=3)
        assert again.choices[0].text


def test_the_last_words_of_a_stream_that_broke_off(stocked: Program) -> None:
    with serving(stocked) as server:
        body = {"model": TINY, "prompt": "Once", "max_tokens": 100_000, "stream": True}
        with httpx.stream("POST", f"{server.base_url}/v1/completions", json=body, timeout=60) as answer:
            lines = (line for line in answer.iter_lines() if line)
            next(lines)
            (worker,) = until_workers(server, 1)
            os.kill(worker, signal.SIGKILL)
            *_, error, end = lines
        assert error.startswith('data: {"error":{"message":')
        assert end == "data: [DONE]"


@contextmanager
def narrow(stocked: Program) -> Iterator[tuple[Server, OpenAI]]:
    """A server with one slot and room for one who waits; the model is loaded."""
    limits = {"SLMCTL_SERVE_PARALLEL": "1", "SLMCTL_SERVE_QUEUE_PER_MODEL": "1"}
    with serving(stocked, environment=limits) as server, client_of(server) as client:
        client.completions.create(model=TINY, prompt="Once", max_tokens=1)
        yield server, client


def ask_at_once(client: OpenAI, count: int) -> list[Completion | APIStatusError]:
    def ask(_: int) -> Completion | APIStatusError:
        try:
            return client.completions.create(model=TINY, prompt="Once", max_tokens=800)
        except APIStatusError as error:
            return error

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(ask, range(count)))


def test_a_server_that_is_full_says_when_to_come_again(stocked: Program) -> None:
    with narrow(stocked) as (_, client):
        outcomes = ask_at_once(client, 6)
    refused = [each for each in outcomes if isinstance(each, APIStatusError)]
    assert refused
    assert len(outcomes) - len(refused) >= 2
    for error in refused:
        assert isinstance(error, InternalServerError)
        assert (error.status_code, error.code) == (503, "busy")
        assert int(error.response.headers["retry-after"]) > 0


def test_the_client_comes_again_by_itself(stocked: Program) -> None:
    with narrow(stocked) as (server, client):
        outcomes = ask_at_once(client.with_options(max_retries=100), 5)
        assert any(event.get("status") == 503 for event in server.events)
    assert all(isinstance(each, Completion) for each in outcomes)
