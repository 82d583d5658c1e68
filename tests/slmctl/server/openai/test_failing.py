"""What OpenAI's client makes of a server that is full, and of an engine that dies."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from openai import APIError, InternalServerError, OpenAI

from tests.processes import until
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


def test_a_server_that_is_full_says_when_to_come_again(stocked: Program) -> None:
    config = "[serve]\nparallel = 1\nqueue_per_model = 1\n"
    with serving(stocked, config=config) as server, client_of(server) as client:
        asked = {"model": TINY, "prompt": "Once", "max_tokens": 100_000, "stream": True}
        first = client.completions.create(model=TINY, prompt="Once", max_tokens=100_000, stream=True)
        next(first)
        with httpx.Client(base_url=server.base_url, timeout=60) as other:
            request = other.build_request("POST", "/v1/completions", json=asked)
            waiting = threading.Thread(target=lambda: other.send(request, stream=True), daemon=True)
            waiting.start()

            def refused() -> InternalServerError | None:
                try:
                    client.completions.create(model=TINY, prompt="Once", max_tokens=1, timeout=1)
                except InternalServerError as error:
                    return error
                except APIError:
                    return None
                return None

            error = until(refused)
            assert error.status_code == 503
            assert error.code == "busy"
            assert int(error.response.headers["retry-after"]) > 0
            first.close()
            waiting.join(60)
            assert not waiting.is_alive()
