"""What strangers send instead of requests, to the installed program over real connections (serving.md 5B, 5E)."""

from __future__ import annotations

import contextlib
import random
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.processes import until
from tests.servers import Server, serving
from tests.slmctl.cli.program import Program
from tests.slmctl.server.guarded import parsed, rest_of

CONFIG = """\
[serve]
header_timeout = "1s"
max_connections = 300
"""
CLOSED_SECONDS = 10.0
"""Ten times what a silent connection may take."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("hostile")
    runtime = Path(tempfile.mkdtemp(prefix="slm"))
    try:
        with serving(Program(folder / "home", runtime), config=CONFIG) as running:
            yield running
    finally:
        shutil.rmtree(runtime)


@pytest.fixture
def runtime() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="slm"))  # short, for socket paths
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(autouse=True)
def still_there(server: Server) -> Iterator[None]:
    """After each test the server answers, and has written no more than lines of its log."""
    yield
    assert livez(server) == 200
    assert all(line.startswith("{") for line in server.lines)


def connect(server: Server) -> socket.socket:
    return socket.create_connection(server.address, timeout=CLOSED_SECONDS)


def answers(server: Server, data: bytes) -> bytes:
    """All that comes back until the server closes the connection; it must."""
    with connect(server) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(data)
        return rest_of(connection)


def livez(server: Server) -> int:
    return parsed(answers(server, b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))[0]


def memory(server: Server) -> int:
    return int(psutil.Process(server.pid).memory_info().rss)


def statuses(answer: bytes) -> list[int]:
    return [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]


POST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"

NONSENSE = {
    "no HTTP": b"hello there\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "HTTP/9.9": b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0" * 9,
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)) * 2 + b"\r\n\r\n",
    "a name of a method that is none": b"G\x00T / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "blanks in the target": b"GET /a b HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "no ASCII in the target": b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "no Host": b"GET /livez HTTP/1.1\r\n\r\n",
    "two Hosts": b"GET /livez HTTP/1.1\r\nHost: localhost\r\nHost: evil.com\r\n\r\n",
    "a blank before the colon": b"GET /livez HTTP/1.1\r\nHost : localhost\r\n\r\n",
    "a header without a colon": b"GET /livez HTTP/1.1\r\nHost: localhost\r\nnothing\r\n\r\n",
    "a header without a name": b"GET /livez HTTP/1.1\r\nHost: localhost\r\n: x\r\n\r\n",
    "a NUL in a header": b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX: a\x00b\r\n\r\n",
    "a CR in a header": b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX: a\rb\r\n\r\n",
    "two lengths": POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "a negative length": POST + b"Content-Length: -1\r\n\r\n",
    "a length with a sign": POST + b"Content-Length: +2\r\n\r\n{}",
    "a length in hexadecimal": POST + b"Content-Length: 0x2\r\n\r\n{}",
    "a length that is no number": POST + b"Content-Length: two\r\n\r\n{}",
    "a length of 100 digits": POST + b"Content-Length: " + b"9" * 100 + b"\r\n\r\n",
    "another coding": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "a coding that is nearly chunked": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked twice": POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "chunked twice, in two headers": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a chunk of no size": CHUNKED + b"\r\nab\r\n0\r\n\r\n",
    "a chunk of a negative size": CHUNKED + b"-2\r\n{}\r\n0\r\n\r\n",
    "a chunk with 0x": CHUNKED + b"0x2\r\n{}\r\n0\r\n\r\n",
    "a chunk of size Z": CHUNKED + b"Z\r\n{}\r\n0\r\n\r\n",
    "a chunk of 10^24 bytes": CHUNKED + b"F" * 24 + b"\r\n{}\r\n0\r\n\r\n",
    "a chunk longer than its size": CHUNKED + b"1\r\n{}\r\n0\r\n\r\n",
    "a chunk without its end": CHUNKED + b"2\r\n{}0\r\n\r\n",
    "a chunk's extension without end": CHUNKED + b"2;" + b"x" * 1_000_000 + b"\r\n{}\r\n0\r\n\r\n",
    "a target of 100 kB": b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
}  # fmt: skip


@pytest.mark.parametrize("data", NONSENSE.values(), ids=NONSENSE.keys())
def test_what_is_no_request_is_refused_at_once_and_its_connection_closed(server: Server, data: bytes) -> None:
    began = time.monotonic()
    found = statuses(answers(server, data))
    assert len(found) <= 1
    assert found == [] or 400 <= found[0] < 500
    assert time.monotonic() - began < CLOSED_SECONDS


def test_nothing_hides_behind_a_request(server: Server) -> None:
    """What is a second request to one reader must be one to all, or none."""
    hidden = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for data in (
        POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden,
        POST + b"Transfer-Encoding: chunked\r\nContent-Length: %d\r\n\r\n0\r\n\r\n" % len(hidden) + hidden,
        POST + b"Transfer-Encoding: chunked\r\n\r\n0\n\r\n" + hidden,
        POST + b"Transfer-Encoding : chunked\r\nContent-Length: 0\r\n\r\n" + hidden,
        POST + b"Transfer-Encoding:\x0bchunked\r\nContent-Length: 0\r\n\r\n" + hidden,
        POST + b"Content-Length: 0\r\n Transfer-Encoding: chunked\r\n\r\n" + hidden,
    ):
        found = statuses(answers(server, data))
        assert found in ([], [400]), data


def test_requests_one_after_the_other_are_answered_in_their_order(server: Server) -> None:
    asks = [b"GET /livez", b"GET /nowhere", b"GET /livez", b"POST /livez"]
    data = b"".join(ask + b" HTTP/1.1\r\nHost: localhost\r\n\r\n" for ask in asks)
    last = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    assert statuses(answers(server, data + last)) == [200, 404, 200, 405, 200]


@pytest.mark.parametrize("path", [b"/livez", b"/api/tags", b"/v1/models", b"/nowhere"])
def test_who_says_nothing_more_still_hears_its_answer(server: Server, path: bytes) -> None:
    """As `nc -N` does it, whether or not it asks for the end of the connection."""
    ask = b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\n"
    whole, last = ask + b"\r\n", ask + b"Connection: close\r\n\r\n"
    for data, expected in ((whole, 1), (last, 1), (whole + whole, 2)):
        with connect(server) as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            found = statuses(rest_of(connection))
        assert found == expected * [404 if path == b"/nowhere" else 200]


def test_a_slot_is_not_held_for_who_says_nothing_more(server: Server) -> None:
    body = b'{"model": "hello", "prompt": "Hi", "stream": false}'
    head = b"POST /api/generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
    get = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for data, expected in ((head + body, []), (get + head + body, [200])):
        with connect(server) as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            assert statuses(rest_of(connection)) == expected


def test_64_megabytes_of_headers(server: Server) -> None:
    before = memory(server)
    for begin in (b"X: ", b"X: a\r\nY: ", b""):
        with connect(server) as connection:
            connection.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n" + begin)
            with pytest.raises(ConnectionError):
                connection.sendall(b"x" * (64 << 20))
    assert memory(server) - before < 32 << 20


def test_100_000_headers(server: Server) -> None:
    lines = b"".join(b"X-%d: y\r\n" % number for number in range(100_000))
    assert statuses(answers(server, b"GET /livez HTTP/1.1\r\nHost: localhost\r\n" + lines + b"\r\n")) in (
        [400],
        [],
    )
    few = b"".join(b"X-%d: y\r\n" % number for number in range(1000))
    head = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    assert statuses(answers(server, head + few + b"\r\n")) == [200]


def test_what_costs_more_to_read_than_to_send_is_not_read(server: Server) -> None:
    """Whoever is at it keeps the others from their answers: a quarter of a megabyte in chunks of a byte each takes
    seconds."""
    lines = b"a:\n" * 5000
    stream = POST + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    asked = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n"
    assert statuses(answers(server, CHUNKED + b"1\r\n \r\n" * 5000)) in ([400], [])
    assert statuses(answers(server, CHUNKED + b"1\r\n{\r\n0\r\n" + lines)) in ([400], [])
    assert statuses(answers(server, asked + lines + b"\n")) in ([400], [])
    assert statuses(answers(server, asked + b"\r\n" + asked + lines + b"\n")) in ([200, 400], [200], [])
    body = b'{"model": "nope", "messages": [{"role": "user", "content": "%s"}]}' % (b"Hi" * 200)
    for size, text in ((1, body), (300, body + b" " * 1_000_000)):
        pieces = [text[begin : begin + size] for begin in range(0, len(text), size)]
        chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
        assert statuses(answers(server, stream + chunks + b"0\r\nX: y\r\n\r\n")) == [404], size


def test_a_gigabyte_is_announced_and_does_not_come(server: Server) -> None:
    before = memory(server)
    assert statuses(answers(server, POST + b"Content-Length: 1073741824\r\n\r\n")) == [413]
    assert statuses(answers(server, POST + b"Content-Length: 1048576\r\n\r\n{")) == [408]
    assert statuses(answers(server, CHUNKED + b"40000000\r\n{")) == [408]
    expecting = b"Expect: 100-continue\r\nContent-Length: 1073741824\r\n\r\n"
    assert statuses(answers(server, POST + expecting)) == [413], "and nobody is told to go on"
    assert memory(server) - before < 32 << 20


def test_200_connections_that_send_nothing(server: Server) -> None:
    silent = [connect(server) for _ in range(200)]
    began = time.monotonic()
    assert livez(server) == 200
    for connection in silent:
        assert connection.recv(1) == b"", "closed, and nothing was said"
        connection.close()
    assert time.monotonic() - began < CLOSED_SECONDS


def test_heads_that_come_byte_by_byte(server: Server) -> None:
    """The time is that of the whole head; a byte now and then wins nothing."""
    slow = [connect(server) for _ in range(50)]
    text = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 10_000
    began, closed = time.monotonic(), 0
    for number in range(10_000):
        if closed == len(slow):
            break
        for connection in slow:
            if connection.fileno() >= 0:
                try:
                    connection.sendall(text[number : number + 1])
                    connection.settimeout(0.001)
                    closed += connection.recv(1) == b""
                    connection.close()
                except TimeoutError:
                    continue
                except ConnectionError:
                    closed += 1
                    connection.close()
        assert time.monotonic() - began < CLOSED_SECONDS
    assert closed == len(slow)


def test_a_kept_connection_that_says_half_a_request_more(server: Server) -> None:
    with connect(server) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        connection.sendall(b"GET /li")
        assert b"HTTP" not in rest_of(connection)


def test_more_connections_than_there_may_be_push_out_silent_ones(server: Server) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(600):
            stack.enter_context(connect(server))
        assert livez(server) == 200
        assert psutil.Process(server.pid).num_fds() < 400


def test_connections_leave_files_for_the_workers(
    tmp_path: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the system gives few, as in some containers."""
    program = Program(tmp_path / "home", runtime)
    few = ["sh", "-c", 'ulimit -n 256; exec "$@"', "sh"]
    command = program.command
    monkeypatch.setattr(program, "command", lambda *arguments: [*few, *command(*arguments)])
    with serving(program) as server, contextlib.ExitStack() as stack:
        for _ in range(400):
            stack.enter_context(connect(server))
        assert livez(server) == 200
        body = b'{"model": "hello", "prompt": "Hi", "stream": false, "options": {"num_predict": 2}}'
        head = b"POST /api/generate HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        stack.enter_context(one := socket.create_connection(server.address, timeout=60))
        one.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        assert statuses(rest_of(one)) == [200]


def test_connections_that_are_reset_leave_nothing(server: Server) -> None:
    until(lambda: psutil.Process(server.pid).num_fds() < 100 or None)
    before = psutil.Process(server.pid).num_fds()
    for number in range(300):
        connection = connect(server)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.sendall((POST + b"Content-Length: 5\r\n\r\n{")[: number % 90])
        connection.close()
    until(lambda: psutil.Process(server.pid).num_fds() <= before or None)


@pytest.mark.parametrize("seed", range(4))
def test_random_bytes(server: Server, seed: int) -> None:
    """Whole nonsense, and requests with some bytes changed."""
    source = random.Random(seed)
    right = POST + b"Content-Type: application/json\r\nContent-Length: 17\r\n\r\n" + b'{"model": "nope"}'
    for _ in range(100):
        data = bytearray(right if source.random() < 0.8 else source.randbytes(source.randrange(1, 400)))
        for _ in range(source.randrange(1, 6)):
            data[source.randrange(len(data))] = source.randrange(256)
        with connect(server) as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            found = statuses(rest_of(connection))
        assert all(400 <= status < 500 for status in found), bytes(data)
