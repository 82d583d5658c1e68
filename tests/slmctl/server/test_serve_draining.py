"""The end of a server: answers go on, what is new is sent away, and what is cut is told so."""

from __future__ import annotations

import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx
import pytest

from tests.processes import until
from tests.servers import Server, serving
from tests.slmctl.cli.program import Program
from tests.slmctl.server.guarded import parsed, rest_of
from tests.slmctl.server.streaming import LONGER, Stream, streaming

STREAMS = 4
_ENOUGH = ("--grace", "10m")
"""However busy the machine is."""


def _streams(stack: ExitStack, server: Server) -> list[Stream]:
    client = stack.enter_context(httpx.Client(timeout=60))
    return [
        stack.enter_context(streaming(client, server.base_url, model="endless", tokens=LONGER))
        for _ in range(STREAMS)
    ]


def test_no_stream_breaks_and_nobody_new_comes_in(endless: Program) -> None:
    with serving(endless, *_ENOUGH) as server, ExitStack() as stack:
        streams = _streams(stack, server)
        server.process.send_signal(signal.SIGTERM)
        assert server.event("draining")["under_way"] == STREAMS
        assert httpx.get(f"{server.base_url}/livez").status_code == 200
        unready = httpx.get(f"{server.base_url}/readyz")
        assert unready.status_code == 503
        refused = httpx.post(f"{server.base_url}/v1/completions", json={"model": "endless", "prompt": "x"})
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) > 0
        assert refused.headers["connection"] == "close"
        assert refused.json()["error"]["type"] == "overloaded_error"
        for stream in streams:
            stream.rest()
        assert server.wait() == 143
        assert server.event("ended")["cut"] == 0
        for stream in streams:
            assert stream.is_done
            assert stream.errors == []
            assert stream.finish_reasons == ["length"]


@pytest.mark.parametrize("second", [False, True])
def test_what_the_grace_does_not_hold_for_gets_one_error(endless: Program, second: bool) -> None:
    """And so does what is under way when somebody asks a second time."""
    grace = "1h" if second else "100ms"
    with serving(endless, "--grace", grace) as server, ExitStack() as stack:
        streams = _streams(stack, server)
        server.process.send_signal(signal.SIGTERM)
        if second:
            server.event("draining")
            server.process.send_signal(signal.SIGINT)
        for stream in streams:
            stream.rest()
        assert server.wait() == 143, "the first signal counts"
        cut = server.event("ended")["cut"]
        assert cut == STREAMS
        for stream in streams:
            assert len(stream.errors) == 1
            assert stream.errors[0]["message"].startswith("The server ends before the answer does.")
            assert stream.finish_reasons == []


def test_ctrl_c_is_told_from_a_sigterm(endless: Program) -> None:
    with serving(endless, ends_with=None) as server:
        assert server.stop(signal.SIGINT) == 130


def test_nobody_finds_a_server_that_is_about_to_end(endless: Program) -> None:
    """A run that starts now has a worker of its own, and is no victim of the end."""
    with serving(endless, *_ENOUGH) as server, ExitStack() as stack:
        streams = _streams(stack, server)
        server.process.send_signal(signal.SIGTERM)
        server.event("draining")
        assert endless("run", "hello", "Hi").code == 0
        for stream in streams:
            stream.rest()
            assert stream.errors == []
        assert server.wait() == 143
    assert "/slmctl/answer" not in server.log


def test_a_load_is_no_reason_to_stay(endless: Program) -> None:
    """Asked twice, it ends while a model is on its way, and whoever waits for that is told."""
    with serving(endless, *_ENOUGH) as server, ThreadPoolExecutor(1) as pool:
        body = {"model": "endless", "prompt": "x", "max_tokens": 90000, "options": {"num_ctx": 100000}}
        asked = pool.submit(httpx.post, f"{server.base_url}/v1/completions", json=body, timeout=60)
        until(lambda: server.workers or None)
        server.process.send_signal(signal.SIGTERM)
        server.event("draining")
        server.process.send_signal(signal.SIGTERM)
        answer = asked.result()
        assert answer.status_code == 503
        assert answer.json()["error"]["message"].startswith("The server ends before the answer does.")
        assert server.wait() == 143


@pytest.mark.parametrize("grace", ["10m", "100ms"])
def test_who_is_still_asking_is_answered_too(endless: Program, grace: str) -> None:
    """A long question that was let in before the signal, and is on its way."""
    body = b'{"model": "endless", "prompt": "x", "max_tokens": 2}'
    head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
    with serving(endless, "--grace", grace) as server, socket.create_connection(server.address, 60) as asking:
        asking.sendall(head + body[:20])
        metrics = f"{server.base_url}/metrics"
        until(lambda: True if "http_requests_running 2.0" in httpx.get(metrics).text else None)
        server.process.send_signal(signal.SIGTERM)
        assert server.event("draining")["under_way"] == 1
        if grace == "10m":
            asking.sendall(body[20:])
        status, _, answer = parsed(rest_of(asking))
        assert server.wait() == 143
        if grace == "10m":
            assert (status, server.event("ended")["cut"]) == (200, 0)
        else:
            assert (status, server.event("ended")["cut"]) == (503, 1)
            assert b"The server ends before the answer does." in answer
