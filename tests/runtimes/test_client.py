"""The transport, against a fake engine that misbehaves."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from pathlib import Path

import pytest

from runtimes.client import Client, Endpoint, healthy
from runtimes.errors import (
    EngineDied,
    EngineRefused,
    EngineSpokeNonsense,
    EngineStopped,
    EngineUnresponsive,
)
from runtimes.process import State, Worker
from runtimes.protocol import Finished, TextDelta, chat_request, completion_request
from runtimes.sampling import Sampling
from tests.runtimes.launches import DEADLINE_SECONDS, fake_launch


def test_both_endpoints(base: Path) -> None:
    with Worker(fake_launch(base, "--tokens", "2")) as worker:
        client = Client(worker.ensure_ready(DEADLINE_SECONDS), worker)
        for request in (completion_request("x"), chat_request([{"role": "user", "content": "x"}])):
            events = list(client.stream(request))
            assert events[:2] == [TextDelta(" word"), TextDelta(" word")]
            assert isinstance(events[2], Finished)
            assert (events[2].reason, events[2].generated_tokens) == ("stop", 2)
        limited = list(client.stream(completion_request("x", Sampling(num_predict=1))))
        assert isinstance(limited[-1], Finished)
        assert limited[-1].reason == "length"
        assert client.tokenize("a b c") == (0, 1, 2)
        assert client.apply_template([{"role": "user", "content": "hi"}]) == "<user>hi"


@pytest.mark.parametrize("tokens", [0, 1, 2])
def test_an_engine_that_dies_in_the_middle(base: Path, tokens: int) -> None:
    worker = Worker(fake_launch(base, "--die-after", str(tokens)))
    client = Client(worker.ensure_ready(DEADLINE_SECONDS), worker)
    stream = client.stream(completion_request("x"))
    for _ in range(tokens):
        assert next(stream) == TextDelta(" word")
    with pytest.raises(EngineDied, match="exit code 7"):
        next(stream)
    assert worker.state is State.CRASHED


def test_without_a_worker_the_cut_itself_is_told(base: Path) -> None:
    with Worker(fake_launch(base, "--cut-after", "1")) as worker:
        stream = Client(worker.ensure_ready(DEADLINE_SECONDS)).stream(completion_request("x"))
        next(stream)
        with pytest.raises(EngineDied, match="cut the connection"):
            next(stream)


def test_an_error_inside_the_stream(base: Path) -> None:
    with Worker(fake_launch(base, "--fail-after", "1")) as worker:
        stream = Client(worker.ensure_ready(DEADLINE_SECONDS), worker).stream(completion_request("x"))
        next(stream)
        with pytest.raises(EngineRefused, match="Context size exceeded"):
            next(stream)


def test_a_silent_engine(base: Path) -> None:
    with Worker(fake_launch(base, "--hold-after", "1")) as worker:
        client = Client(worker.ensure_ready(DEADLINE_SECONDS), worker, timeout_seconds=0.2)
        stream = client.stream(completion_request("x"))
        next(stream)
        with pytest.raises(EngineUnresponsive, match=r"0\.2 seconds"):
            next(stream)


def test_killed_in_the_middle_is_told_quickly(base: Path) -> None:
    worker = Worker(fake_launch(base, "--hold-after", "1"))
    stream = Client(worker.ensure_ready(DEADLINE_SECONDS), worker).stream(completion_request("x"))
    next(stream)
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    begin = time.monotonic()
    with pytest.raises(EngineDied, match="killed"):
        next(stream)
    assert time.monotonic() - begin < 5
    assert worker.state is State.CRASHED


def test_stopped_in_the_middle(base: Path) -> None:
    worker = Worker(fake_launch(base, "--hold-after", "1"))
    stream = Client(worker.ensure_ready(DEADLINE_SECONDS), worker).stream(completion_request("x"))
    next(stream)
    worker.stop()
    with pytest.raises(EngineStopped):
        next(stream)


def test_after_the_end_of_the_worker(base: Path) -> None:
    with Worker(fake_launch(base)) as worker:
        endpoint = worker.ensure_ready(DEADLINE_SECONDS)
    with pytest.raises(EngineStopped):
        list(Client(endpoint, worker).stream(completion_request("x")))
    assert not healthy(endpoint, timeout_seconds=1)


def test_a_wrong_key(base: Path) -> None:
    with Worker(fake_launch(base)) as worker:
        endpoint = worker.ensure_ready(DEADLINE_SECONDS)
        with pytest.raises(EngineRefused) as caught:
            Client(Endpoint(endpoint.socket, "wrong"), worker).tokenize("x")
        assert caught.value.status == 401


def read_request(connection: socket.socket) -> None:
    """All of a request with JSON for a body; closing with some of it unread would be a reset."""
    request = b""
    while not request.endswith(b"}"):
        request += connection.recv(65536)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"nonsense\r\n\r\n", EngineDied),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", EngineDied),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", EngineSpokeNonsense),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", EngineDied),
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", EngineRefused),
        (b"", EngineDied),
    ],
)
def test_what_is_no_answer(base: Path, answer: bytes, error: type[Exception]) -> None:
    path = base / "n.sock"

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            read_request(connection)
            connection.sendall(answer)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        server = threading.Thread(target=serve)
        server.start()
        with pytest.raises(error):
            Client(Endpoint(path, "k")).tokenize("x")
        server.join(DEADLINE_SECONDS)


def test_closing_the_generator_closes_the_connection(base: Path) -> None:
    path = base / "c.sock"
    gone = threading.Event()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            read_request(connection)
            body = b'data: {"content":"a"}\n\n'
            connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            connection.sendall(f"{len(body):x}\r\n".encode() + body + b"\r\n")
            if connection.recv(1) == b"":
                gone.set()

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        server = threading.Thread(target=serve)
        server.start()
        stream = Client(Endpoint(path, "k")).stream(completion_request("x"))
        assert next(stream) == TextDelta("a")
        stream.close()
        assert gone.wait(DEADLINE_SECONDS)
        server.join(DEADLINE_SECONDS)
