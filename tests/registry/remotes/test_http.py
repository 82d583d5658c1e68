"""The HTTP client against servers that say what they should not: bytes, lengths, silences, heads."""

import gzip
import http.client
import logging
import socket
import tracemalloc
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from registry.errors import BadContent, SizeMismatch, SlmctlError, Unreachable, UsageError
from registry.remotes.base import TryAgain
from registry.remotes.http import HttpClient, HttpSettings
from registry.remotes.mishaps import NotReached
from tests.fakes.wire import Request, Script, Wire, reply, serve

FAST = HttpSettings(connect_timeout=2.0, stall_timeout=0.3, stall_bytes=64, user_agent="slmctl/test")
CANARY = "Basic Y2FuYXJ5OmNhbmFyeQ=="


@pytest.fixture
def client() -> Iterator[HttpClient]:
    with HttpClient(FAST) as made:
        yield made


def always(data: bytes) -> Script:
    return lambda _request, wire: wire.send(data)


def get(client: HttpClient, script: Script, limit: int = 10_000) -> bytes:
    """The body that a script answers with, as a small document."""
    with serve(script) as server, client.send("GET", server.url) as answer:
        return answer.read(limit)


# --- what is sent


def test_a_request_says_who_asks_and_what_for(client: HttpClient) -> None:
    with (
        serve(always(reply(200, b"hello"))) as server,
        client.send(
            "GET", f"{server.url}/v2/x?y=%2F", headers={"Accept": "text/plain"}, authorization=CANARY
        ) as answer,
    ):
        assert answer.status == 200
        assert answer.read(5) == b"hello"
    request = server.requests[0]
    assert (request.method, request.target) == ("GET", "/v2/x?y=%2F")
    assert request.headers == {
        "host": server.place,
        "user-agent": "slmctl/test",
        "accept": "text/plain",
        "accept-encoding": "identity",
        "authorization": CANARY,
    }


@pytest.mark.parametrize("body", [b"", b"x" * 200_000, None])
def test_a_body_is_sent_with_its_length(client: HttpClient, body: bytes | None) -> None:
    with serve(always(reply(201))) as server, client.send("PUT", server.url, body=body) as answer:
        assert answer.status == 201
    request = server.requests[0]
    assert request.body == (body or b"")
    assert request.headers["content-length"] == str(len(body or b""))
    assert "transfer-encoding" not in request.headers


def test_a_body_that_comes_in_pieces(client: HttpClient) -> None:
    pieces = [b"a" * 70_000, b"", b"b"]
    with (
        serve(always(reply(202))) as server,
        client.send("PATCH", server.url, body=iter(pieces), body_length=70_001) as answer,
    ):
        assert answer.status == 202
    assert server.requests[0].body == b"".join(pieces)
    assert server.requests[0].headers["content-length"] == "70001"


def test_the_environment_is_not_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object, client: HttpClient
) -> None:
    """requests would take a password from .netrc, and a proxy from the environment."""
    (netrc := tmp_path / "netrc").write_text("machine 127.0.0.1 login me password canary\n")  # type: ignore[operator]
    for name, value in {
        "NETRC": str(netrc),
        "HTTP_PROXY": "http://127.0.0.1:1",
        "http_proxy": "http://127.0.0.1:1",
    }.items():
        monkeypatch.setenv(name, value)
    with serve(always(reply(200))) as server, client.send("GET", server.url) as answer:
        assert answer.status == 200
    assert "authorization" not in server.requests[0].headers


def test_cookies_are_not_kept(client: HttpClient) -> None:
    with serve(always(reply(200, b"", {"Set-Cookie": "a=b; Path=/"}))) as server:
        for _ in range(2):
            with client.send("GET", server.url) as answer:
                answer.read(10)
    assert "cookie" not in server.requests[1].headers


def test_a_connection_serves_again_when_its_answer_was_read(client: HttpClient) -> None:
    with serve(always(reply(200, b"x" * 10))) as server:
        for _ in range(3):
            with client.send("GET", server.url) as answer:
                assert answer.read(10) == b"x" * 10
    assert [request.connection for request in server.requests] == [0, 0, 0]


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_an_answer_without_a_body(client: HttpClient, method: str, status: int) -> None:
    """Whatever its length says; and the connection serves again."""
    with serve(always(reply(status, b"", length=10))) as server:
        for _ in range(3):
            with client.send(method, server.url) as answer:
                assert (answer.status, answer.length) == (status, 10)
                assert answer.read(0) == b""
    assert [request.connection for request in server.requests] == [0, 0, 0]


def test_a_connection_that_the_server_left_is_made_anew_without_a_word(client: HttpClient) -> None:
    def script(_request: Request, wire: Wire) -> None:
        wire.send(reply(200, b"x"))
        wire.reset()

    with serve(script) as server:
        for _ in range(3):
            with client.send("GET", server.url) as answer:
                assert answer.read(10) == b"x"
    assert len(server.requests) == 3


def test_many_threads_use_one_client() -> None:
    """Each gets the answer to its own request, with its own credentials; connections are shared."""

    def script(request: Request, wire: Wire) -> None:
        if request.path.startswith("/moved"):
            wire.send(reply(307, b"", {"Location": request.path.removeprefix("/moved")}))
        else:
            wire.send(reply(200, f"{request.path} {request.headers['authorization']}".encode()))

    def ask(number: int) -> list[str]:
        said = []
        for count in range(20):
            path, secret = f"/{number}/{count}", f"Bearer {number}"
            with client.send("GET", f"{server.url}/moved{path}", authorization=secret) as answer:
                said.append(answer.read(100).decode())
        return said

    with serve(script) as server, HttpClient(HttpSettings()) as client, ThreadPoolExecutor(8) as pool:
        for number, said in enumerate(pool.map(ask, range(8))):
            assert said == [f"/{number}/{count} Bearer {number}" for count in range(20)]
    assert server.connections <= 8


# --- statuses and heads


@pytest.mark.parametrize("status", [200, 204, 304, 400, 401, 403, 404, 416, 429, 500, 503, 599])
def test_any_status_is_an_answer(client: HttpClient, status: int) -> None:
    with serve(always(reply(status))) as server, client.send("GET", server.url) as answer:
        assert answer.status == status


def test_headers_in_any_case_and_all_values(client: HttpClient) -> None:
    pairs = [("WWW-Authenticate", "Bearer realm=x"), ("www-authenticate", "Basic realm=y"), ("X", " padded ")]
    with serve(always(reply(401, b"", pairs))) as server, client.send("GET", server.url) as answer:
        assert answer.headers["Www-Authenticate"] == "Bearer realm=x"
        assert answer.values("WWW-AUTHENTICATE") == ("Bearer realm=x", "Basic realm=y")
        assert answer.headers["x"] == "padded"
        assert "content-length" in answer.headers
        assert answer.headers.get("nothing") is None
        assert answer.values("nothing") == ()


def test_retry_after_comes_from_the_head(client: HttpClient) -> None:
    with (
        serve(always(reply(429, b"", {"Retry-After": "7"}))) as server,
        client.send("GET", server.url) as answer,
    ):
        assert answer.retry_after() == 7.0


@pytest.mark.parametrize(
    "data",
    [
        b"220 ftp.example ready\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 99999 x\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(101)) + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: %s\r\n" % (n, b"y" * 60_000) for n in range(50)) + b"\r\n",
        b"HTTP/1.1 100 Continue\r\n" + b"X: y\r\n" * 99 + b"\r\n",
        b"\x16\x03\x01\x00\x05hello",
        b"\r\n\r\n\r\n",
    ],
    ids=lambda data: repr(data[:20]),
)
def test_what_is_no_http_is_refused(client: HttpClient, data: bytes) -> None:
    def script(_request: Request, wire: Wire) -> None:
        wire.send(data)
        if data.startswith(b"HTTP/1.1 100"):
            while wire.open:  # for ever
                wire.send(data)
        wire.close()

    with serve(script) as server, pytest.raises(Unreachable, match=server.place):
        client.send("GET", server.url)


# --- lengths that lie (serving.md 6, row 5)


@pytest.mark.parametrize(
    ("length", "error"),
    [
        (5, None), (6, TryAgain), (0, None), (10**30, BadContent), (10**17, SizeMismatch), (-1 - 1, BadContent), ("-5", BadContent),
        ("5, 5", None), ("5, 6", BadContent), ("+5", BadContent), ("0x5", BadContent), ("5.0", BadContent), ("five", BadContent),
        ("", BadContent), ("²", BadContent), (None, None),
    ],
)  # fmt: skip
def test_what_the_length_says(
    client: HttpClient, length: int | str | None, error: type[SlmctlError] | None
) -> None:
    def script(_request: Request, wire: Wire) -> None:
        wire.send(reply(200, b"hello", length=length))
        wire.close()

    if error is None:
        assert get(client, script) == (b"" if length == 0 else b"hello")
    else:
        with pytest.raises(error) as caught:
            get(client, script)
        assert type(caught.value) is error


def test_two_headers_with_two_lengths(client: HttpClient) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"
    with pytest.raises(BadContent):
        get(client, always(head))


def test_bytes_behind_the_length_are_not_the_next_answer(client: HttpClient) -> None:
    smuggled = reply(200, b"smuggled")
    with serve(always(reply(200, b"hello") + smuggled)) as server:
        for _ in range(3):
            with client.send("GET", server.url) as answer:
                assert answer.read(100) == b"hello"


@pytest.mark.parametrize("size", [999, 1000, 1001, 5_000_000])
@pytest.mark.parametrize("with_length", [True, False])
def test_a_body_ends_at_the_limit(client: HttpClient, size: int, with_length: bool) -> None:
    def script(_request: Request, wire: Wire) -> None:
        wire.send(reply(200, b"x" * size, length=-1 if with_length else None))
        wire.close()

    taken: list[bytes] = []
    with serve(script) as server, client.send("GET", server.url) as answer:
        if size <= 1000:
            assert sum(map(len, answer.chunks(1000))) == size
            return
        with pytest.raises(SizeMismatch):
            list(map(taken.append, answer.chunks(1000)))
    assert sum(map(len, taken)) <= 1000


@pytest.mark.parametrize("kept", [0, 1, 5_000, 99_999])
@pytest.mark.parametrize("end", ["close", "reset"])
def test_a_body_that_is_cut(client: HttpClient, kept: int, end: str) -> None:
    def script(_request: Request, wire: Wire) -> None:
        wire.send(reply(200, b"x" * kept, length=100_000))
        getattr(wire, end)()

    with serve(script) as server, client.send("GET", server.url) as answer:
        taken: list[bytes] = []
        with pytest.raises(TryAgain, match=server.place):
            list(map(taken.append, answer.chunks(100_000)))
        assert sum(map(len, taken)) <= kept


# --- chunked


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "body",
    [
        b"5\r\nhello\r\n0\r\n\r\n",
        b"1;x=y\r\nh\r\n4\r\nello\r\n0\r\nX: y\r\n\r\n",
        b"005\r\nhello\r\n00\r\n\r\n",
    ],
)
def test_chunks(client: HttpClient, body: bytes) -> None:
    assert get(client, always(CHUNKED + body)) == b"hello"


@pytest.mark.parametrize(
    "body",
    [b"", b"5\r\nhel", b"5\r\nhello\r\n", b"zz\r\nhello", b"-5\r\nhello\r\n0\r\n\r\n", b"fffffffffffffffff\r\nhello", b"\r\n\r\n",
     b"5" * 70_000],
)  # fmt: skip
def test_bad_chunks(client: HttpClient, body: bytes) -> None:
    def script(_request: Request, wire: Wire) -> None:
        wire.send(CHUNKED + body)
        wire.close()

    with pytest.raises((TryAgain, Unreachable, BadContent)):
        get(client, script)


def test_chunks_without_end_stop_at_the_limit(client: HttpClient) -> None:
    def script(_request: Request, wire: Wire) -> None:
        wire.send(CHUNKED)
        while wire.open:
            wire.send(b"400\r\n" + b"x" * 1024 + b"\r\n")

    with pytest.raises(SizeMismatch):
        get(client, script, limit=100_000)


def test_trailers_without_end_stop_somewhere(client: HttpClient) -> None:
    def script(_request: Request, wire: Wire) -> None:
        wire.send(CHUNKED + b"5\r\nhello\r\n0\r\n")
        while wire.open:
            wire.send(b"X: y\r\n" * 1000)

    settings = HttpSettings(stall_timeout=5.0, document_timeout=0.5)
    with HttpClient(settings) as patient_client, pytest.raises((TryAgain, Unreachable)):
        get(patient_client, script)


# --- compressed documents (CVE-2024-12886: what counts is decoded bytes)


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "deflate", "GZIP"])
def test_a_compressed_document_is_decoded(client: HttpClient, encoding: str) -> None:
    body = zlib.compress(b"hello") if encoding == "deflate" else gzip.compress(b"hello", mtime=0)
    assert get(client, always(reply(200, body, {"Content-Encoding": encoding}))) == b"hello"


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("br", b"hello"), ("zstd", b"hello"), ("gzip, gzip", gzip.compress(gzip.compress(b"x", mtime=0), mtime=0)), ("gzip", b"hello"), ("gzip", b""),
        ("gzip", gzip.compress(b"hello", mtime=0)[:-9]), ("gzip", gzip.compress(b"hello", mtime=0) + b"more"),
        ("gzip", gzip.compress(b"hello", mtime=0) + gzip.compress(b"member", mtime=0)),
    ],
)  # fmt: skip
def test_what_cannot_be_decoded_is_refused(client: HttpClient, encoding: str, body: bytes) -> None:
    with pytest.raises(BadContent):
        get(client, always(reply(200, body, {"Content-Encoding": encoding})))


def bomb(gibibytes: int) -> bytes:
    """A gzip stream of zeros, about a thousandth as long as what it becomes."""
    compressor = zlib.compressobj(9, wbits=-15)
    block = compressor.compress(bytes(64 * 1024 * 1024)) + compressor.flush(zlib.Z_FULL_FLUSH)
    return bytes.fromhex("1f8b0800000000000003") + block * (16 * gibibytes)


def test_a_bomb_of_ten_gigabytes_stops_at_the_limit(client: HttpClient) -> None:
    data = bomb(10)
    assert len(data) < 12_000_000
    for body in (data, data[: 1024 * 1024]):
        answering = always(reply(200, body, {"Content-Encoding": "gzip"}, length=None))
        with serve(answering) as server, client.send("GET", server.url) as answer:
            tracemalloc.start()
            with pytest.raises(SizeMismatch):
                answer.read(4 * 1024 * 1024)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
    assert peak < 32 * 1024 * 1024


def test_a_blob_comes_as_it_is(client: HttpClient) -> None:
    body = gzip.compress(b"a layer")
    answering = always(reply(200, body, {"Content-Encoding": "gzip"}))
    with serve(answering) as server, client.send("GET", server.url) as answer:
        assert b"".join(answer.chunks(1000)) == body


# --- silence (serving.md 6, row 9)


@pytest.mark.parametrize(
    "said", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell"]
)
def test_silence_is_a_stall(client: HttpClient, said: bytes) -> None:
    def script(_request: Request, wire: Wire) -> None:
        wire.send(said)
        wire.hang()

    with pytest.raises(TryAgain, match="stalled"):
        get(client, script)


@pytest.mark.parametrize("head_at_once", [True, False])
def test_a_byte_now_and_then_is_a_stall(client: HttpClient, head_at_once: bool) -> None:
    """Each byte comes in time, and all of them never would."""
    whole = reply(200, b"x" * 1000)
    head = whole.index(b"\r\n\r\n") + 4 if head_at_once else 0

    def script(_request: Request, wire: Wire) -> None:
        wire.send(whole[:head])
        wire.dribble(whole[head:], 0.05)

    with pytest.raises(TryAgain, match="stalled"):
        get(client, script)


def test_slow_but_steady_is_no_stall(client: HttpClient) -> None:
    """In all it takes longer than a stall may."""
    whole = reply(200, b"x" * 1280)

    def script(_request: Request, wire: Wire) -> None:
        wire.send(whole[:-1280])
        for _ in range(10):
            wire.dribble(b"x", 0.05)
            wire.send(b"x" * 127)

    assert get(client, script) == b"x" * 1280


def test_a_reader_that_takes_its_time_is_no_stall(client: HttpClient) -> None:
    """Only waiting for the other side counts: a limited rate or a slow disk does not."""
    import time

    with serve(always(reply(200, b"x" * 3_000_000))) as server, client.send("GET", server.url) as answer:
        pieces = answer.chunks(3_000_000)
        taken = len(next(pieces))
        end = time.monotonic() + 2 * FAST.stall_timeout
        while time.monotonic() < end:
            pass
        assert taken + sum(map(len, pieces)) == 3_000_000


def test_a_small_document_has_a_time_for_the_whole() -> None:
    def script(_request: Request, wire: Wire) -> None:
        wire.send(reply(200, b"", length=10_000))
        for _ in range(1000):
            wire.dribble(b"x", 0.02)
            wire.send(b"x" * 9)

    settings = HttpSettings(stall_timeout=5.0, stall_bytes=1, document_timeout=0.4)
    with HttpClient(settings) as client, pytest.raises(TryAgain, match="too long"):
        get(client, script)


def test_a_server_may_be_given_more_time_to_begin(client: HttpClient) -> None:
    def script(_request: Request, wire: Wire) -> None:
        wire.dribble(b"H", 2 * FAST.stall_timeout)
        wire.send(reply(200, b"late")[1:])

    with serve(script) as server, client.send("GET", server.url, within=5.0) as answer:
        assert answer.read(10) == b"late"


def test_a_server_that_does_not_read_is_a_stall(client: HttpClient) -> None:
    with serve(always(b""), greet=lambda wire: wire.dribble(b" ", 60)) as server, pytest.raises(TryAgain):
        client.send("PUT", server.url, body=bytes(50_000_000))


# --- nobody there (row 19)


def test_nobody_answers_there(client: HttpClient) -> None:
    with serve(always(b"")) as server:
        pass
    with pytest.raises(
        NotReached, match=rf"^{server.place} could not be reached: it refused the connection\.$"
    ):
        client.send("GET", server.url)


def test_one_of_several_addresses_is_enough() -> None:
    """As when a host has IPv6 and this network has not."""
    with serve(always(reply(200, b"x"))) as server:
        addresses = [(socket.AF_INET, (address, server.port)) for address in ("127.0.0.2", "127.0.0.1")]
        with (
            HttpClient(FAST, resolve=lambda _host, _port: addresses) as client,
            client.send("GET", f"http://localhost:{server.port}/") as answer,
        ):
            assert answer.read(1) == b"x"
        with HttpClient(FAST, resolve=lambda _host, _port: []) as client, pytest.raises(NotReached):
            client.send("GET", server.url)


def test_a_name_that_nobody_knows(client: HttpClient) -> None:
    with pytest.raises(NotReached, match=r"^nosuch\.invalid could not be reached: no address is known"):
        client.send("GET", "https://nosuch.invalid/v2/")


def test_offline_opens_no_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(host: str, port: int) -> list[tuple[int, tuple[object, ...]]]:
        raise AssertionError(host, port)

    with HttpClient(HttpSettings(offline="--offline was given"), resolve=resolve) as client:
        for url in ("https://registry.example/v2/", "http://127.0.0.1:5000/"):
            with pytest.raises(Unreachable, match=r"was not asked because --offline was given\.$") as caught:
                client.send("GET", url)
            assert not isinstance(caught.value, TryAgain)


def test_http_is_for_this_machine_and_by_permission(client: HttpClient) -> None:
    for url in ("http://registry.example/v2/", "http://10.0.0.1/", "http://[fe80::1]/"):
        with pytest.raises(Unreachable, match="not be encrypted") as caught:
            client.send("GET", url)
        assert "--plain-http" in str(caught.value.hint)


# --- captive portals (row 19)


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"Content-Type": "text/html; charset=utf-8"}, b"welcome"),
        ({"Content-Type": "application/json"}, b"<!DOCTYPE html><html>"),
        ({}, b"\n  <HTML><body>Please accept our terms"),
    ],
)
def test_a_page_where_a_document_was_expected(
    client: HttpClient, headers: dict[str, str], body: bytes
) -> None:
    with serve(always(reply(200, body, headers))) as server, client.send("GET", server.url) as answer:
        with pytest.raises(Unreachable, match=f"{server.place} answered with a web page") as caught:
            answer.document(1000)
        assert "log in" in str(caught.value.hint)


def test_a_document_where_one_was_expected(client: HttpClient) -> None:
    with serve(always(reply(200, b'{"a": "<html>"}'))) as server, client.send("GET", server.url) as answer:
        assert answer.document(1000) == b'{"a": "<html>"}'


# --- secrets


def test_no_error_has_the_credentials_in_it(caplog: pytest.LogCaptureFixture) -> None:
    """Nor its context, nor the log, nor what things look like in a debugger."""
    caplog.set_level(logging.DEBUG)
    scripts: list[Script] = [
        always(b"nonsense\r\n\r\n"), always(reply(200, b"x", length=5)), always(reply(302, b"", {"Location": "file:///x"})),
        always(reply(302, b"", {"Location": "http://169.254.169.254/?X-Amz-Signature=canary"})), lambda _r, wire: wire.reset(),
        lambda _r, wire: wire.hang(), always(reply(302, b"", {"Location": "https://127.0.0.1:1/?sig=canary"})),
    ]  # fmt: skip
    for script in scripts:
        with serve(script) as server, HttpClient(FAST) as client, pytest.raises(SlmctlError) as caught:
            list(client.send("GET", f"{server.url}/x?token=canary", authorization=CANARY).chunks(3))
        seen: BaseException | None = caught.value
        while seen is not None:
            assert "canary" not in f"{seen!r} {seen} {getattr(seen, 'hint', '')}".lower()
            assert "Y2FuYXJ5" not in repr(vars(seen))
            seen = seen.__cause__ or seen.__context__
    assert "Y2FuYXJ5" not in caplog.text


@pytest.mark.parametrize(
    "value",
    ["Bearer canary\n", "Bearer canary\r\nX: y", "Bearer c\0anary", "Bearer canary€", "Bearer \x85canary"],
)
def test_a_token_that_cannot_be_sent(client: HttpClient, value: str) -> None:
    with serve(always(reply(200))) as server:
        for given in ({"authorization": value}, {"headers": {"X-Token": value}}):
            with pytest.raises(UsageError, match="no header can have") as caught:
                client.send("GET", server.url, **given)
            assert "anary" not in f"{caught.value!r}{caught.value.hint}"
    assert server.requests == []


def test_http_client_is_not_debugged() -> None:
    assert http.client.HTTPConnection.debuglevel == 0
