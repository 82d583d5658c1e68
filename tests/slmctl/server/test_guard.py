"""What stands around every handler: in what order, with what answers, and that it lets go in time."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import PlainTextResponse, Response

from registry.errors import NotFound
from slmctl.app.api_keys import Scope, add_key, keys_file, revoke_key
from slmctl.server import connections
from slmctl.server.call import Call, Endpoint, Handler
from slmctl.server.problems import Busy, Family
from slmctl.server.streams import DONE, answer, event, line, ndjson, sse
from tests.processes import until
from tests.slmctl.server.guarded import Guarded, guarded, parsed, rest_of

SECRET = "the walrus and the carpenter"


class Seen:
    """What happened in the handlers."""

    def __init__(self) -> None:
        self.begun = 0
        self.ended: list[str] = []
        self.bodies: list[object] = []


SEEN = Seen()


async def echo(call: Call) -> Response:
    body = await call.json()
    SEEN.bodies.append(body)
    return answer(call, {"body": body, "principal": call.principal, "scopes": sorted(call.scopes)})


async def wait(call: Call) -> Response:
    """Never answers."""
    SEEN.begun += 1
    try:
        await asyncio.Event().wait()
        return answer(call, {})
    except asyncio.CancelledError:
        SEEN.ended.append("cancelled")
        raise


async def stream(call: Call) -> Response:
    async def pieces() -> AsyncGenerator[bytes]:
        SEEN.begun += 1
        try:
            for number in range(10**9):
                yield line({"number": number})
                await asyncio.sleep(0.001)
        finally:
            SEEN.ended.append("stream")

    return await ndjson(call, pieces())


async def flood(call: Call) -> Response:
    async def pieces() -> AsyncGenerator[bytes]:
        try:
            while True:
                yield b"x" * 65536
                await asyncio.sleep(0)  # as whoever makes pieces has to wait for something
        finally:
            SEEN.ended.append("flood")

    return await ndjson(call, pieces())


async def broken_stream(call: Call) -> Response:
    async def pieces() -> AsyncGenerator[bytes]:
        yield event({"text": "a"})
        raise ValueError(SECRET)

    return await sse(call, pieces(), lambda problem: [event(problem.body("openai")), DONE])


async def broken(call: Call) -> Response:
    raise ValueError(SECRET)


async def missing(call: Call) -> Response:
    raise NotFound("There is no such thing.", hint="Look elsewhere.")


async def busy(call: Call) -> Response:
    raise Busy("All is taken.", retry_after_seconds=7)


async def upload(call: Call) -> Response:
    size = 0
    async for part in call.request.stream():
        size += len(part)
    return PlainTextResponse(str(size))


async def slow_upload(call: Call) -> Response:
    """Takes a second over the first piece."""
    size = 0
    async for part in call.request.stream():
        size += len(part)
        for _ in range(3 if size == 2 else 0):
            await asyncio.sleep(0.3)
            SEEN.begun += 1
    return PlainTextResponse(str(size))


async def named(call: Call) -> Response:
    return PlainTextResponse(call.request.path_params["name"])


def endpoint(
    path: str,
    handler: Handler,
    *,
    method: Any = "POST",
    scope: Scope | None = "infer",
    family: Family = "openai",
    reads_body: bool = True,
) -> Endpoint:
    return Endpoint(
        method=method,
        path=path,
        handler=handler,
        scope=scope,
        family=family,
        label=path.strip("/") or "root",
        about="",
        reads_body=reads_body,
    )


TABLE = (
    endpoint("/v1/echo", echo),
    endpoint("/api/echo", echo, family="ollama"),
    endpoint("/v1/messages/echo", echo, family="anthropic"),
    endpoint("/v1/look", missing, method="GET", scope="read"),
    endpoint("/v1/look", echo, method="DELETE", scope="manage"),
    endpoint("/v1/wait", wait),
    endpoint("/v1/stream", stream),
    endpoint("/v1/flood", flood),
    endpoint("/v1/broken-stream", broken_stream),
    endpoint("/v1/broken", broken),
    endpoint("/api/broken", broken, family="ollama"),
    endpoint("/v1/messages/broken", broken, family="anthropic"),
    endpoint("/plain/broken", broken, family="plain"),
    endpoint("/v1/busy", busy),
    endpoint("/upload", upload, reads_body=False),
    endpoint("/slow", slow_upload, reads_body=False),
    endpoint("/v1/models/{name:path}", named, method="GET", scope="read"),
    endpoint("/api/blobs/{name}", named, method="HEAD", scope="read", family="ollama"),
)


@pytest.fixture(autouse=True)
def seen() -> Seen:
    SEEN.__init__()  # type: ignore[misc]
    return SEEN


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """For all tests that leave it as it was."""
    with guarded(tmp_path_factory.mktemp("guarded"), *TABLE, max_request_bytes=1 << 20) as running:
        yield running


# What is told


def test_a_request_gets_its_answer_with_an_id_that_the_log_has(server: Guarded) -> None:
    status, headers, body = server.ask("POST", "/v1/echo", b'{"a": 1}')
    assert (status, json.loads(body)["body"]) == (200, {"a": 1})
    assert headers["x-content-type-options"] == "nosniff"
    assert "server" not in headers
    assert re.fullmatch("[0-9a-f]{24}", headers["x-request-id"])
    told = server.line(request_id=headers["x-request-id"])
    assert (told["event"], told["path"], told["status"], told["method"]) == (
        "request",
        "/v1/echo",
        200,
        "POST",
    )
    assert told["client"] == "127.0.0.1"
    assert told["seconds"] > 0


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("abc-DEF_1.2", True),
        ("x" * 64, True),
        ("x" * 65, False),
        ("", False),
        ("a b", False),
        ('a"b', False),
        ("a\x1b[31m", False),
        ("a\xe4", False),
        ("../../etc", False),
    ],
)
def test_an_id_of_the_clients_is_echoed_where_it_is_sane(server: Guarded, given: str, kept: bool) -> None:
    answered = server.ask("POST", "/v1/echo", b"{}", headers=f"X-Request-Id: {given}\r\n")[1]
    if kept:
        assert answered["x-request-id"] == given
    elif answered:
        assert re.fullmatch("[0-9a-f]{24}", answered.get("x-request-id", "0" * 24))


def test_a_trace_of_w3c_is_logged_where_it_is_sane(server: Guarded) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    for given, logged in (
        (f"00-{trace}-00f067aa0ba902b7-01", trace),
        (f"00-{'0' * 32}-00f067aa0ba902b7-01", None),
        ("x", None),
    ):
        answered = server.ask("POST", "/v1/echo", b"{}", headers=f"traceparent: {given}\r\n")[1]
        assert server.line(request_id=answered["x-request-id"]).get("trace_id") == logged


def test_errors_are_told_in_the_words_of_each_api(server: Guarded) -> None:
    for path, body in {
        "/v1/broken": {"error": {"message": "internal error", "type": "api_error", "param": None, "code": "internal_error"}},
        "/api/broken": {"error": "internal error"},
        "/v1/messages/broken": {"type": "error", "error": {"type": "api_error", "message": "internal error"}},
    }.items():  # fmt: skip
        status, headers, raw = server.ask("POST", path, b"{}")
        answered = json.loads(raw)
        if "messages" in path:
            assert answered.pop("request_id") == headers["request-id"] == headers["x-request-id"]
        assert (status, headers["content-type"], answered) == (500, "application/json", body)
        failure = server.line(request_id=headers["x-request-id"], event="failure")
        assert (failure["type"], failure["level"]) == ("ValueError", "error")
        assert failure["place"].startswith("slmctl/server/guard.py:")
    assert server.ask("POST", "/plain/broken")[2] == b"internal error"
    assert SECRET not in server.log


def test_an_error_in_a_stream_is_its_last_piece(server: Guarded) -> None:
    status, headers, body = server.ask("POST", "/v1/broken-stream", b"{}")
    pieces = body.decode().split("\n\n")
    assert (status, headers["x-accel-buffering"], headers["cache-control"]) == (200, "no", "no-cache")
    assert json.loads(pieces[1].removeprefix("data: "))["error"]["code"] == "internal_error"
    assert pieces[2:] == ["data: [DONE]", ""]
    assert SECRET not in server.log


def test_who_is_busy_says_when_to_come_again(server: Guarded) -> None:
    status, headers, _ = server.ask("POST", "/v1/busy")
    assert (status, headers["retry-after"]) == (503, "7")


def test_what_is_not_there(server: Guarded) -> None:
    for path in ("/", "/v1", "/v1/echo/", "/v1/echo/x", "/v1/ECHO", "/V1/echo", "/v1/echo;", "/v1/echo;x=1", "/v1/echox", "/v1/ech", "/v1%2Fecho", "/v1/%65cho", "/upload/", "/v1/models"):  # fmt: skip
        status, headers, body = server.ask("GET", path)
        assert (status, headers["content-type"], body) == (
            404,
            "text/plain; charset=utf-8",
            b"404 page not found",
        ), path


def test_paths_that_others_would_read_otherwise(server: Guarded) -> None:
    for path in ("//v1/echo", "/v1//echo", "/v1/../v1/echo", "/v1/./echo", "/%2fv1/echo", "/v1/%2e%2e/v1/echo", "/v1/models/../../upload", "/v1/models/x%2f..%2fy", "/v1/models/x%00", "/v1/models/x%0ay", "/v1/models/x%5cy", "/v1/models/x//y", "/v1/models/x/", "*", "http://localhost/v1/echo", "v1/echo"):  # fmt: skip
        for method in ("GET", "POST"):
            assert server.ask(method, path)[0] in {400, 404}, path
    assert SEEN.bodies == []


def test_names_in_paths(server: Guarded) -> None:
    for path, name in {"a": "a", "hf.co/a/b:Q4": "hf.co/a/b:Q4", "hf.co%2Fa%2Fb": "hf.co/a/b", "%C3%A4": "ä", "..a": "..a"}.items():  # fmt: skip
        assert server.ask("GET", f"/v1/models/{path}")[2].decode() == name


def test_a_wrong_method_says_which_are_right(server: Guarded) -> None:
    for method in ("PUT", "POST", "PATCH", "HEAD", "OPTIONS", "TRACE", "FOO"):
        status, headers, body = server.ask(method, "/v1/look")
        assert (status, headers["allow"]) == (405, "DELETE, GET")
        assert method == "HEAD" or json.loads(body)["error"]["code"] == "method_not_allowed"
    assert server.ask("GET", "/v1/echo")[1]["allow"] == "POST"
    assert json.loads(server.ask("GET", "/api/echo")[2]) == {"error": "GET is not possible here, but POST."}
    assert server.ask("HEAD", "/metrics")[0] == 405
    assert server.ask("HEAD", "/api/blobs/x")[0] == 200


def test_a_connection_is_kept_after_errors_too(server: Guarded) -> None:
    with server.connect() as connection:
        for path, status in (("/nowhere", 404), ("/v1/look", 404), ("/v1/echo", 405), ("/livez", 200)):
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            received = b""
            while b"\r\n\r\n" not in received or len(parsed(received)[2]) < int(
                parsed(received)[1]["content-length"]
            ):
                received += connection.recv(65536)
            assert parsed(received)[0] == status
            assert "connection" not in parsed(received)[1]


# Bodies


def test_compressed_bodies_are_refused(server: Guarded) -> None:
    for encoding in ("gzip", "zstd", "br", "gzip, identity"):
        status, _, body = server.ask(
            "POST", "/v1/echo", b"\x1f\x8b", headers=f"Content-Encoding: {encoding}\r\n"
        )
        assert (status, json.loads(body)["error"]["code"]) == (415, "unsupported_media_type")
    assert server.ask("POST", "/v1/echo", b"{}", headers="Content-Encoding: identity\r\n")[0] == 200


def test_a_body_that_is_announced_too_long_is_not_read(server: Guarded) -> None:
    head = "POST /v1/echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n"
    for length in (1048577, 1 << 30, 10**15):
        with server.connect() as connection:
            connection.sendall(head.format(length).encode())
            status, headers, body = parsed(rest_of(connection))
            assert (status, headers["connection"]) == (413, "close")
            assert "1,048,576 bytes" in json.loads(body)["error"]["message"]


def test_a_body_that_becomes_too_long_is_not_read_on(server: Guarded) -> None:
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    with server.connect() as connection:
        connection.sendall(b"POST /v1/echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        with suppress(ConnectionError):
            for _ in range(17):
                connection.sendall(chunk)
        assert parsed(rest_of(connection))[0] == 413
    assert SEEN.bodies == []


def test_who_sends_all_of_it_first_reads_the_answer_too(server: Guarded) -> None:
    """As most clients do: a connection that is reset would take the answer away."""
    status, _, body = server.ask("POST", "/v1/echo", b"x" * (8 << 20))
    assert (status, json.loads(body)["error"]["type"]) == (413, "request_too_large")


def test_a_body_as_long_as_may_be(server: Guarded) -> None:
    body = b'{"a":"' + b"x" * ((1 << 20) - 8) + b'"}'
    assert len(body) == 1 << 20
    assert server.ask("POST", "/v1/echo", body)[0] == 200


def test_a_handler_that_reads_by_itself_has_no_limit(server: Guarded) -> None:
    assert server.ask("POST", "/upload", b"x" * (4 << 20))[2] == b"4194304"


def test_a_body_that_does_not_come(tmp_path: Path) -> None:
    with guarded(tmp_path, *TABLE, header_seconds=0.2) as server:
        for path in ("/v1/echo", "/upload"):
            for head in ("Content-Length: 1000000000", "Content-Length: 10", "Transfer-Encoding: chunked"):
                if path == "/v1/echo" and "1000000000" in head:
                    continue
                with server.connect() as connection:
                    connection.sendall(f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{head}\r\n\r\n".encode())
                    status, headers, _ = parsed(rest_of(connection))
                    assert (status, headers["connection"]) == (408, "close")
        assert server.ask("GET", "/livez")[0] == 200


# Clients that go


@pytest.mark.parametrize("path", ["/v1/wait", "/v1/stream"])
def test_a_client_that_goes_away_takes_its_answer_along(server: Guarded, seen: Seen, path: str) -> None:
    """0.25 seconds are the goal; ten times as long is the deadline."""
    with server.connect() as connection:
        connection.sendall(
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{{}}".encode()
        )
        until(lambda: seen.begun or None)
        if path == "/v1/stream":
            connection.recv(1000)
        assert len(server.state.running) == 1
    until(lambda: seen.ended or None, deadline_seconds=2.5)
    until(lambda: len(server.state.running) == 0 or None, deadline_seconds=2.5)
    assert server.line(path=path, status=499)


def test_a_client_that_goes_away_in_the_middle_of_its_body(server: Guarded) -> None:
    for path in ("/v1/echo", "/upload"):
        with server.connect() as connection:
            connection.sendall(
                f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n{{".encode()
            )
        server.line(path=path, status=499)
    assert SEEN.bodies == []


def test_ten_thousand_clients_that_go_leave_nothing(server: Guarded, seen: Seen) -> None:
    """In turns of a hundred, at every stage: nothing said, half a head, half a body, asked, half an answer."""
    body = b"POST /v1/wait HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}"
    before = len(server.call(tasks))
    for turn in range(200):
        connections = [server.connect() for _ in range(50)]
        for number, connection in enumerate(connections):
            connection.sendall(body[: len(body) * (number % 10 + 1) // 10])
        if turn % 2:
            until(lambda turn=turn: seen.begun >= (turn + 1) * 5 or None)  # type: ignore[misc]
        for connection in connections:
            connection.close()
    until(lambda: len(server.state.running) == 0 or None)
    until(lambda: len(server.call(tasks)) <= before or None)


async def tasks() -> set[asyncio.Task[Any]]:
    return asyncio.all_tasks()


# Time and the end


def test_an_answer_that_takes_too_long_is_told_so(tmp_path: Path, seen: Seen) -> None:
    with guarded(tmp_path, *TABLE, request_seconds=0.2) as server:
        status, _, body = server.ask("POST", "/v1/wait", b"{}")
        assert (status, json.loads(body)["error"]["code"]) == (504, "timeout")
        until(lambda: seen.ended or None)
        status, _, body = server.ask("POST", "/v1/stream", b"{}")
        lines = [json.loads(each) for each in body.splitlines()]
        assert status == 200
        assert [each["number"] for each in lines[:-1]] == list(range(len(lines) - 1))
        assert lines[-1] == {"error": "The answer took longer than a request may."}
        assert seen.ended == ["cancelled", "stream"]


def test_what_is_cut_ends_with_the_error_of_who_cut_it(server: Guarded, seen: Seen) -> None:
    async def cut() -> None:
        for request in server.state.running:
            request.cut(Busy("It is over.", retry_after_seconds=3))

    for path in ("/v1/wait", "/v1/stream"):
        with server.connect() as connection:
            connection.sendall(
                f"POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{{}}".encode()
            )
            until(lambda: len(server.state.running) or None)
            if path == "/v1/stream":
                connection.recv(1, socket.MSG_PEEK)
            server.call(cut)
            status, headers, body = parsed(rest_of(connection))
        if path == "/v1/wait":
            assert (status, headers["retry-after"]) == (503, "3")
        else:
            assert (status, json.loads(body.splitlines()[-1])) == (200, {"error": "It is over."})
    assert seen.ended == ["cancelled", "stream"]


def test_a_server_that_drains_takes_nothing_new_and_says_so(tmp_path: Path) -> None:
    with guarded(tmp_path, *TABLE) as server:
        assert server.ask("GET", "/readyz")[:3:2] == (200, b"ok\n")
        server.state.draining = True
        for method, path in (("POST", "/v1/echo"), ("GET", "/v1/look"), ("POST", "/upload")):
            with server.connect() as connection:
                connection.sendall(
                    f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{{}}".encode()
                )
                status, headers, _ = parsed(rest_of(connection))
            assert (status, headers["connection"]) == (503, "close")
            assert int(headers["retry-after"]) > 0
        assert server.ask("GET", "/livez")[0] == 200
        assert server.ask("GET", "/metrics")[0] == 200
        assert server.ask("GET", "/readyz")[:3:2] == (503, b"the server is about to end\n")


# Keys


def test_keys_scopes_and_what_the_log_says_of_them(tmp_path: Path) -> None:
    with guarded(tmp_path, *TABLE) as server:
        ignored = server.ask("POST", "/v1/echo", b"{}", headers="Authorization: Bearer nonsense\r\n")
        assert json.loads(ignored[2]) == {
            "body": {},
            "principal": None,
            "scopes": ["infer", "manage", "read"],
        }
        asker, manager = add_key(tmp_path, scopes=("infer",)), add_key(tmp_path, scopes=("manage",))
        status, headers, body = server.ask("POST", "/v1/echo", b"{}")
        assert (status, headers["www-authenticate"]) == (401, 'Bearer realm="slmctl"')
        assert json.loads(body)["error"]["type"] == "authentication_error"

        def ask(method: str, path: str, secret: str) -> int:
            given = f"Authorization: Bearer {secret}\r\n"
            return server.ask(method, path, b"{}" if method == "POST" else b"", headers=given)[0]

        assert [ask("POST", "/v1/echo", each.secret) for each in (asker, manager)] == [200, 403]
        assert [ask("GET", "/v1/look", each.secret) for each in (asker, manager)] == [403, 404]
        assert [ask("DELETE", "/v1/look", each.secret) for each in (asker, manager)] == [403, 400]
        assert [ask("GET", "/metrics", each.secret) for each in (asker, manager)] == [403, 200]
        assert server.line(principal=asker.key.id, status=200)
        revoke_key(tmp_path, asker.key.id)
        assert ask("POST", "/v1/echo", asker.secret) == 401
        keys_file(tmp_path).write_bytes(b"damaged")
        assert ask("POST", "/v1/echo", manager.secret) == 503
        assert server.ask("GET", "/readyz")[:3:2] == (503, b"the API keys cannot be read\n")
        assert server.ask("GET", "/livez")[0] == 200
        for secret in (asker.secret, manager.secret, asker.key.hash, manager.key.hash):
            assert secret not in server.log


def test_a_key_that_is_revoked_during_a_stream_ends_no_stream(tmp_path: Path, seen: Seen) -> None:
    with guarded(tmp_path, *TABLE) as server:
        made = add_key(tmp_path)
        given = f"Authorization: Bearer {made.secret}\r\n"
        with server.connect() as connection:
            connection.sendall(
                f"POST /v1/stream HTTP/1.1\r\nHost: localhost\r\n{given}Content-Length: 2\r\n\r\n{{}}".encode()
            )
            connection.recv(1000)
            revoke_key(tmp_path, made.key.id)
            assert server.ask("POST", "/v1/stream", b"{}", headers=given)[0] == 401
            for _ in range(20):
                assert connection.recv(65536)
            assert seen.ended == []


def test_limits_of_strangers_are_behind_the_key(tmp_path: Path) -> None:
    """Who has no key learns nothing but that: no limit, no draining, no form."""
    with guarded(tmp_path, *TABLE, max_request_bytes=10) as server:
        add_key(tmp_path)
        server.state.draining = True
        for headers, body in (
            ("", b"x" * 100),
            ("Content-Encoding: gzip\r\n", b"x"),
            ("Upgrade: websocket\r\n", b""),
        ):
            assert server.ask("POST", "/v1/echo", body, headers=headers)[0] == 401
        assert server.ask("PUT", "/v1/echo")[0] == 401


# Connections


def test_who_does_not_read_is_dropped(tmp_path: Path, seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "STALLED_READER_SECONDS", 0.3)
    with guarded(tmp_path, *TABLE) as server, server.connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(b"POST /v1/flood HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}")
        until(lambda: seen.ended or None)
        assert server.line(path="/v1/flood", status=499)
        assert len(server.state.running) == 0


def test_who_reads_slowly_gets_all_of_it(server: Guarded, seen: Seen) -> None:
    with server.connect() as connection:
        connection.sendall(b"POST /v1/flood HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}")
        taken = 0
        while taken < 20_000_000:
            taken += len(connection.recv(100_000))
        assert seen.ended == []


@pytest.mark.parametrize(
    "nonsense", [b"\x00\xff nonsense\r\n\r\n", b"GET / HTTP/1.1\r\n: x\r\n\r\n", b"x" * 200_000]
)
def test_nonsense_in_the_middle_of_an_answer_ends_the_connection_and_the_answer(
    server: Guarded, seen: Seen, nonsense: bytes
) -> None:
    with server.connect() as connection:
        connection.sendall(b"POST /v1/stream HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}")
        connection.recv(1000)
        connection.sendall(nonsense)
        connection.shutdown(socket.SHUT_WR)
        rest_of(connection)
    until(lambda: seen.ended or None, deadline_seconds=2.5)
    assert server.ask("GET", "/livez")[0] == 200


def test_requests_that_wait_behind_an_answer_are_not_begun_by_who_has_gone(
    server: Guarded, seen: Seen
) -> None:
    ask = b"POST /v1/wait HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}"
    with server.connect() as connection:
        connection.sendall(ask * 50)
        until(lambda: seen.begun or None)
        assert (seen.begun, len(server.state.running)) == (1, 1)
    until(lambda: seen.ended or None, deadline_seconds=2.5)
    until(lambda: len(server.state.running) == 0 or None, deadline_seconds=2.5)
    assert seen.begun == 1


def test_a_server_ends_however_much_was_asked_ahead(tmp_path: Path, seen: Seen) -> None:
    ask = b"POST /v1/wait HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}"
    with contextlib.ExitStack() as stack:
        with guarded(tmp_path, *TABLE) as server:
            for _ in range(5):
                stack.enter_context(server.connect()).sendall(ask * 50)
            until(lambda: seen.begun == 5 or None)
            began = time.monotonic()
        assert time.monotonic() - began < 30
    assert "Exception" not in server.log


def test_a_body_that_drips_is_not_waited_for(tmp_path: Path) -> None:
    """A byte now and then wins nothing; it is the time of waiting that counts, not that of a slow handler."""
    with guarded(tmp_path, *TABLE, header_seconds=0.5) as server, server.connect() as connection:
        connection.sendall(b"POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n")
        began = time.monotonic()
        connection.settimeout(0.05)
        answered = b""
        while not answered and time.monotonic() - began < 10:
            with suppress(TimeoutError):
                connection.sendall(b"x")
                answered = connection.recv(65536)
        assert parsed(answered)[0] == 408


def test_a_handler_that_takes_its_time_over_a_body_is_not_the_clients_fault(tmp_path: Path) -> None:
    with guarded(tmp_path, *TABLE, header_seconds=0.5) as server, server.connect() as connection:
        connection.sendall(
            b"POST /slow HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 4\r\n\r\nab"
        )
        until(lambda: SEEN.begun == 3 or None)
        connection.sendall(b"cd")
        assert parsed(rest_of(connection))[2] == b"4"


def test_all_bodies_together_have_a_limit_too(tmp_path: Path, seen: Seen) -> None:
    head = "POST {} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 1000\r\n\r\n"
    with guarded(tmp_path, *TABLE, max_request_bytes=1000) as server, contextlib.ExitStack() as stack:
        for number in range(8):
            stack.enter_context(server.connect()).sendall(head.format("/v1/wait").encode() + b"x" * 1000)
            until(lambda number=number: seen.begun == number + 1 or None)  # type: ignore[misc]
        status, headers, body = parsed(server.raw(head.format("/v1/echo").encode() + b"x" * 1000))
        assert (status, json.loads(body)["error"]["code"]) == (503, "busy")
        assert int(headers["retry-after"]) > 0
        assert server.ask("GET", "/livez")[0] == 200
        stack.close()
        until(lambda: len(server.state.running) == 0 or None)
        until(lambda: server.ask("POST", "/v1/echo", b'{"a":"' + b"x" * 992 + b'"}')[0] == 200 or None)
        assert server.ask("POST", "/upload", b"x" * 20_000)[2] == b"20000"
