"""The inputs of serving.md 5B as requests, to each API: refused with a sentence in its shape, and no worker dies."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import pytest

from tests.servers import Server
from tests.slmctl.server.models import HELLO

TIMEOUT_SECONDS = 60.0
MESSAGES = [{"role": "user", "content": "Hi"}]
PATHS: Mapping[str, Mapping[str, Any]] = {
    "/v1/chat/completions": {"messages": MESSAGES, "max_tokens": 4},
    "/v1/completions": {"prompt": "Hi", "max_tokens": 4},
    "/v1/responses": {"input": "Hi", "max_output_tokens": 16},
    "/v1/messages": {"messages": MESSAGES, "max_tokens": 4},
    "/api/chat": {"messages": MESSAGES, "options": {"num_predict": 4}, "stream": False},
    "/api/generate": {"prompt": "Hi", "options": {"num_predict": 4}, "stream": False},
}


@pytest.fixture(scope="module")
def client(served: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.base_url, timeout=TIMEOUT_SECONDS) as client:
        yield client


@pytest.fixture(autouse=True)
def _the_workers_live_on(client: httpx.Client, served: Server) -> Iterator[None]:
    assert client.post("/api/chat", json={"model": HELLO, **PATHS["/api/chat"]}).status_code == 200
    before = set(served.workers)
    yield
    assert client.post("/api/chat", json={"model": HELLO, **PATHS["/api/chat"]}).status_code == 200
    assert before <= set(served.workers)


def refused(answer: httpx.Response, *statuses: int) -> str:
    """The error's text: one sentence or two, and no secret."""
    assert answer.status_code in (statuses or (400,)), answer.text[:300]
    error = answer.json()["error"]
    text = error if isinstance(error, str) else error["message"]
    assert isinstance(text, str)
    assert 0 < len(text) < 1000
    assert "Traceback" not in text
    assert ".sock" not in text
    return text


@pytest.mark.parametrize("path", [path for path in PATHS if path.startswith("/v1")])
@pytest.mark.parametrize(
    "extra",
    [
        {"chat_template": "{% for i in range(10**9) %}x{% endfor %}"},
        {"chat_template_kwargs": {"chat_template": "{% for i in range(10**9) %}x{% endfor %}"}},
        {"chat_template_kwargs": {"tokenize": True}},
        {"documents": [{"text": "a"}]},
        {"prompt_embeds": "AAAA"},
        {"id_slot": 999},
        {"n_discard": -100},
        {"n_probs": 2_000_000_000},
        {"n": 1_000_000},
        {"best_of": 1_000_000_000},
        {"temperature": 1e308},
        {"temperature": "hot"},
        {"top_p": -1},
        {"grammar": "root ::= " + "(" * 50_000 + '"a"' + ")" * 50_000},
        {"logit_bias": {"-1": 1}},
        {"logit_bias": {"999999999": 1}},
        {"logit_bias": {"x": 1}},
        {"max_tokens": "many"},
        {"messages": "Hi"},
        {"stop": ["x"] * 1000},
        {"stop": [""]},
    ],
    ids=lambda extra: next(iter(extra)),
)
def test_what_v1_does_not_take(client: httpx.Client, path: str, extra: dict[str, Any]) -> None:
    if path == "/v1/messages" and "stop" in extra:
        extra = {"stop_sequences": extra["stop"]}
    if path == "/v1/responses" and "max_tokens" in extra:
        extra = {"max_output_tokens": "many"}
    refused(client.post(path, json={"model": HELLO, **PATHS[path], **extra}))


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate"])
@pytest.mark.parametrize(
    "options",
    [
        {"num_keep": -5},
        {"top_k": -(2**31)},
        {"temperature": 1e308},
        {"temperature": "hot"},
        {"repeat_last_n": 2**31 - 1},
        {"num_predict": 10**30},
        {"stop": [""]},
        {"stop": ["x" * 100_000]},
        {"top_p": -1.0},
    ],
    ids=lambda options: next(iter(options)),
)
def test_options_that_no_engine_gets(client: httpx.Client, path: str, options: dict[str, Any]) -> None:
    refused(client.post(path, json={"model": HELLO, **PATHS[path], "options": options}))


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate"])
def test_what_ollama_does_not_know_changes_nothing(client: httpx.Client, path: str) -> None:
    options = {"num_predict": 8, "temperature": 0.0}
    body = {"model": HELLO, **PATHS[path], "options": options}
    extra = {
        "chat_template": "X",
        "chat_template_kwargs": {"chat_template": "X"},
        "grammar": "root ::= root",
        "prompt_embeds": "AAAA",
        "tokenize": True,
        "documents": [],
    }
    plain, more = client.post(path, json=body), client.post(path, json={**body, **extra})
    assert plain.status_code == more.status_code == 200
    told = ("message", "response", "prompt_eval_count", "eval_count")
    assert [plain.json().get(name) for name in told] == [more.json().get(name) for name in told]


SCHEMAS: list[Mapping[str, Any]] = [
    {"type": "array", "items": {"type": "string"}, "minItems": 2_000_000_000},
    {"$ref": "#"},
    {"type": "stsring"},
    {"type": "string", "pattern": "(((("},
    {"type": "string", "pattern": "^(a{1,1000}){1,1000}$"},
    {"$ref": "http://127.0.0.1:1/"},
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=range(len(SCHEMAS)))
def test_schemas(client: httpx.Client, schema: Mapping[str, Any]) -> None:
    named = {"name": "a", "schema": schema}
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    for path, extra, model in (
        ("/api/chat", {"format": schema}, HELLO),
        ("/api/generate", {"format": schema}, HELLO),
        ("/v1/chat/completions", {"response_format": {"type": "json_schema", "json_schema": named}}, HELLO),
        ("/v1/responses", {"text": {"format": {"type": "json_schema", **named}}}, HELLO),
        ("/v1/chat/completions", {"tools": [tool]}, "tools"),
        ("/api/chat", {"tools": [tool]}, "go-tools"),
        ("/v1/messages", {"tools": [{"name": "f", "input_schema": schema}]}, "tools"),
    ):
        refused(client.post(path, json={"model": model, **PATHS[path], **extra}))


BODIES: list[tuple[str, bytes]] = [
    ("depth", b'{"model":"hello","x":' + b"[" * 200_000 + b"]" * 200_000 + b"}"),
    ("twice", b'{"model":"hello","model":"tiny"}'),
    ("digits", b'{"model":"hello","seed":' + b"9" * 5000 + b"}"),
    ("not a number", b'{"model":"hello","temperature":NaN}'),
    ("endless", b'{"model":"hello","temperature":Infinity}'),
    (
        "beyond",
        b'{"model":"hello","messages":[{"role":"user","content":"a"}],"prompt":"a","temperature":1e999,"options":{"temperature":1e999}}',
    ),
    ("utf-16", '{"model":"hello"}'.encode("utf-16")),
    ("no json", b"{'model': 'hello'}"),
    ("a list", b"[]"),
    ("a text", b'"hello"'),
    ("nothing", b""),
    ("blanks", b"  "),
    ("cut", b'{"model":"hel'),
    ("bytes", b'{"model":"\xff"}'),
    ("many", b'{"model":"hello","x":[' + b"1," * 1_000_000 + b"1]}"),
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("body", [body for _, body in BODIES], ids=[name for name, _ in BODIES])
def test_bodies(client: httpx.Client, path: str, body: bytes) -> None:
    refused(client.post(path, content=body, headers={"content-type": "application/json"}), 400, 413)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/api/chat"])
def test_half_a_character(client: httpx.Client, path: str) -> None:
    body = json.dumps(
        {"model": HELLO, **PATHS[path], "messages": [{"role": "user", "content": "canary \ud800"}]}
    )
    answer = client.post(path, content=body.encode(), headers={"content-type": "application/json"})
    if answer.status_code != 200:
        assert "canary" not in refused(answer)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/chat"])
def test_odd_characters_are_answered(client: httpx.Client, path: str) -> None:
    for content in ("\0", "\ufeff", "<|im_end|>", "<__media__>" * 20, "\u202e", ""):
        body = {"model": HELLO, **PATHS[path], "messages": [{"role": "user", "content": content}]}
        assert client.post(path, json=body).status_code == 200
