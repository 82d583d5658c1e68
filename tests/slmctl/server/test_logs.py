"""The log: what stands in a line, what never does, and that its reader holds up nobody."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import Response

from registry.errors import NoSpace, NotFound
from slmctl.app.api_keys import add_key
from slmctl.server.call import Call, Endpoint
from slmctl.server.logs import LogHandler, ServerLog, place
from slmctl.server.problems import Busy, SchemaNotMet
from slmctl.server.streams import answer
from tests.processes import until
from tests.slmctl.server.guarded import Guarded, guarded

SECRET = "the walrus and the carpenter"


class Lines:
    """A log whose lines can be looked at."""

    def __init__(self, *, as_json: bool = True, **more: Any) -> None:
        self.stream = io.StringIO()
        self.log = ServerLog(self.stream, as_json=as_json, **more)

    def end(self) -> str:
        self.log.close()
        return self.stream.getvalue()

    def documents(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.end().splitlines()]


def test_a_line_is_one_json_object_with_its_time() -> None:
    lines = Lines()
    lines.log.event("info", "made", model="m:latest", seconds=1.23456789, nothing=None, count=0, is_it=False)
    (found,) = lines.documents()
    assert found.pop("ts").endswith("Z")
    assert found == {
        "level": "info",
        "event": "made",
        "model": "m:latest",
        "seconds": 1.234568,
        "count": 0,
        "is_it": False,
    }


HOSTILE = "a\nb\r\x1b[31m\x00\u2028\u202e\ud800\x7f\x9b{}\"'\\ ü 模 \U0001f980"


@pytest.mark.parametrize("as_json", [True, False])
def test_nothing_in_a_line_breaks_out_of_it(as_json: bool) -> None:
    lines = Lines(as_json=as_json)
    lines.log.event("info", "x", a=HOSTILE, b=["\n\x1b", {"\n": "\r"}], c=Path("\n"), d=b"\n", e="")
    text = lines.end()
    assert text.endswith("\n")
    assert text.count("\n") == 1
    assert text[:-1].isascii()
    assert text[:-1].isprintable()
    if as_json:
        assert json.loads(text)["a"] == HOSTILE


def test_long_texts_are_cut() -> None:
    lines = Lines()
    lines.log.event("info", "x", a="y" * 1_000_000)
    assert len(lines.end()) < 3000


def test_on_a_terminal_it_is_text() -> None:
    reader, writer = os.openpty()
    with os.fdopen(writer, "w") as stream:
        log = ServerLog(stream)
        log.event("warning", "full", model="m:latest", text="No room.", seconds=2.0)
        log.close()
        shown = os.read(reader, 1000).decode()
    os.close(reader)
    assert shown.split(" ", 1)[1] == 'WARNING full model=m:latest text="No room." seconds=2.000\r\n'


def test_a_reader_that_stands_still_holds_up_nobody_and_is_told_what_it_missed() -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream:
        log = ServerLog(stream, as_json=True)
        for number in range(40_000):
            log.event("info", "line", number=number, filler="x" * 100)
        with os.fdopen(reader) as pipe:
            lines: list[dict[str, Any]] = []
            taker = threading.Thread(target=lambda: lines.extend(json.loads(line) for line in pipe))
            taker.start()
            log.event("info", "still here")
            until(lambda: any(line["event"] == "lines_lost" for line in list(lines)) or None)
            log.event("info", "last")
            log.close()
            stream.close()
            taker.join()
    lost = sum(line["count"] for line in lines if line["event"] == "lines_lost")
    kept = [line["number"] for line in lines if line["event"] == "line"]
    assert lost + len(kept) + sum(line["event"] == "still here" for line in lines) == 40_001
    assert kept == sorted(kept)
    assert lines[-1]["event"] == "last"


def test_a_reader_that_has_gone_ends_nothing() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    stream = os.fdopen(writer, "w")
    log = ServerLog(stream, as_json=True)
    for _ in range(3):
        log.event("info", "x")
    log.close()
    with pytest.raises(BrokenPipeError):
        stream.close()


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:  # noqa: BLE001 - to have its traceback
        return caught


def test_what_libraries_log_is_a_line_without_the_text_of_errors() -> None:
    lines = Lines()
    logger = logging.getLogger("tests.some.library")
    logger.propagate = False
    handler = LogHandler(lines.log)
    logger.addHandler(handler)
    logger.info("not this")
    try:
        raise ValueError(SECRET)
    except ValueError:
        logger.exception(
            "Task exception was never retrieved\nfuture: <Task exception=ValueError('%s')>", SECRET
        )
    logger.removeHandler(handler)
    (line,) = lines.documents()
    assert (line["level"], line["text"], line["type"]) == (
        "error",
        "Task exception was never retrieved",
        "ValueError",
    )
    assert SECRET not in str(line)


def test_a_place_is_one_of_our_own() -> None:
    def through_us() -> None:
        from slmctl.app.api_keys import expiry

        expiry("30d", None)  # type: ignore[arg-type]

    try:
        through_us()
    except TypeError as error:
        found = place(error)
    assert found is not None
    assert found.startswith("slmctl/app/api_keys.py:")
    assert place(raised(ValueError())) is None
    assert place(ValueError()) is None


# Requests


async def fail(call: Call) -> Response:
    errors: dict[str, Callable[[], BaseException]] = {
        "unforeseen": lambda: RuntimeError(SECRET),
        "foreseen": lambda: SchemaNotMet(f"The answer is {SECRET}."),
        "machine": lambda: NoSpace("The disk is full."),
        "client": lambda: NotFound(f"There is no {SECRET}."),
        "busy": lambda: Busy("All is taken.", retry_after_seconds=1),
        "key": lambda: KeyError(SECRET),
        "group": lambda: ExceptionGroup(SECRET, [ValueError(SECRET)]),
    }
    make = errors[str((await call.json())["as"])]
    raise make()


async def say(call: Call) -> Response:
    await call.json()
    told = call.told
    told.model, told.digest, told.finish_reason = "m:latest", "sha256:00", "stop"
    told.prompt_tokens, told.cached_tokens, told.generated_tokens = 5, 3, 7
    told.queue_seconds, told.load_seconds, told.first_token_seconds = 0.5, 0.25, 0.125
    call.state.log.note(call, "An option means nothing here.")
    return answer(call, {})


TABLE = tuple(
    Endpoint(method="POST", path=path, handler=handler, scope=scope, family="openai", label=path, about="")  # type: ignore[arg-type]
    for path, handler, scope in (("/fail", fail, "infer"), ("/say", say, "infer"), ("/read", say, "read"))
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with guarded(tmp_path_factory.mktemp("logs"), *TABLE) as running:
        yield running


def told(server: Guarded, request_id: str, event: str) -> dict[str, Any]:
    line = server.line(event=event, request_id=request_id)
    return {key: value for key, value in line.items() if key not in {"ts", "seconds", "request_id", "client"}}


def test_the_line_of_a_request(server: Guarded) -> None:
    body = json.dumps({"prompt": SECRET}).encode()
    request_id = server.ask("POST", f"/say?{SECRET.replace(' ', '+')}", body)[1]["x-request-id"]
    assert told(server, request_id, "request") == {
        "level": "info",
        "event": "request",
        "method": "POST",
        "path": "/say",
        "status": 200,
        "model": "m:latest",
        "digest": "sha256:00",
        "finish_reason": "stop",
        "queue_seconds": 0.5,
        "load_seconds": 0.25,
        "first_token_seconds": 0.125,
        "prompt_tokens": 5,
        "cached_tokens": 3,
        "generated_tokens": 7,
    }
    assert told(server, request_id, "note")["text"] == "An option means nothing here."
    assert "walrus" not in server.log


@pytest.mark.parametrize(
    ("kind", "status", "failure"),
    [
        ("unforeseen", 500, {"level": "error", "code": "internal_error", "type": "RuntimeError"}),
        ("key", 500, {"level": "error", "code": "internal_error", "type": "KeyError"}),
        ("group", 500, {"level": "error", "code": "internal_error", "type": "ExceptionGroup"}),
        ("foreseen", 500, {"level": "warning", "code": "schema_not_met", "type": "SchemaNotMet"}),
        (
            "machine",
            507,
            {"level": "warning", "code": "no_space", "type": "NoSpace", "text": "The disk is full."},
        ),
        ("busy", 503, {"level": "warning", "code": "busy", "type": "Busy", "text": "All is taken."}),
        ("client", 404, None),
    ],
)
def test_the_line_of_a_failure(
    server: Guarded, kind: str, status: int, failure: dict[str, str] | None
) -> None:
    answered, headers, body = server.ask("POST", "/fail", json.dumps({"as": kind}).encode())
    assert answered == status
    line = told(server, headers["x-request-id"], "request")
    assert (line["status"], line["level"]) == (status, "warning" if status >= 500 else "info")
    if failure is not None:
        found = told(server, headers["x-request-id"], "failure")
        found.pop("place", None)
        assert found == {"event": "failure", **failure}
        assert line["code"] == failure["code"]
    assert SECRET not in server.log
    assert (SECRET in body.decode()) == (kind in {"foreseen", "client"}), "its client may see what it said"


def test_what_strangers_make_up_is_not_in_the_log(server: Guarded) -> None:
    walrus = "WALRUS"
    server.ask(
        walrus,
        f"/{walrus}?{walrus}={walrus}",
        headers=f"User-Agent: {walrus}\r\nReferer: {walrus}\r\nCookie: {walrus}\r\n",
    )
    server.ask("GET", "/livez", host=walrus)
    server.ask(
        "POST",
        "/say",
        walrus.encode(),
        headers=f"x-request-id: {walrus} {walrus}\r\nAuthorization: Bearer {walrus}\r\n",
    )
    assert server.line(method="other", status=404)
    assert walrus not in server.log


def test_probes_are_not_logged(server: Guarded) -> None:
    before = len(server.lines)
    for path in ("/livez", "/readyz", "/metrics"):
        assert server.ask("GET", path)[0] == 200
    marker = server.ask("POST", "/say", b"{}")[1]["x-request-id"]
    server.line(request_id=marker, event="request")
    assert {line["request_id"] for line in server.lines[before:]} == {marker}


def test_prompts_are_logged_where_somebody_asked_for_it(tmp_path: Path) -> None:
    body = json.dumps({"prompt": SECRET + "\n\x1b[31m"}).encode()
    with guarded(tmp_path, *TABLE, log_prompts=True) as server:
        request_id = server.ask("POST", "/say", body)[1]["x-request-id"]
        line = server.line(event="prompt", request_id=request_id)
        assert json.loads(line["request"])["prompt"] == SECRET + "\n\x1b[31m"
        server.ask("POST", "/read", body)
        long = server.ask("POST", "/say", b'{"a":"' + b"x" * 200_000 + b'"}')[1]["x-request-id"]
        line = server.line(event="prompt", request_id=long)
        assert line["request"].endswith("... and 100008 characters more")
        assert sum(line["event"] == "prompt" for line in server.lines) == 2


def test_who_tries_keys_fills_no_log(tmp_path: Path) -> None:
    with guarded(tmp_path, *TABLE) as server:
        add_key(tmp_path)
        with server.connect() as connection:
            wrong = b"POST /say HTTP/1.1\r\nHost: localhost\r\nx-api-key: wrong\r\n\r\n"
            connection.sendall(wrong * 500)
            answered = b""
            while answered.count(b"HTTP/1.1 401") < 500:
                answered += connection.recv(65536)
        until(lambda: (server.ask("POST", "/say")[0] == 401 and "lines_left_out" in server.log) or None)
        left_out = sum(line["count"] for line in server.lines if line["event"] == "lines_left_out")
        assert left_out >= 400
        counted = server.ask("GET", "/metrics", headers=f"x-api-key: {add_key(tmp_path).secret}\r\n")[2]
        found = re.search(rb'rejected_total{reason="invalid_api_key"} (\d+)', counted)
        assert found is not None
        assert int(found[1]) >= 500, "all of them"
