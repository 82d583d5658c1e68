"""Secrets in the configuration, the environment, headers and requests turn up nowhere: in no log, no error, no
metric, no list of processes, no file (serving.md 5E, CVE-2025-48374)."""

from __future__ import annotations

import base64
import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from slmctl.app.api_keys import add_key
from tests.processes import children, until
from tests.servers import Server, serving
from tests.slmctl.cli.program import Program

WORDS = (
    *("hf-token", "api-key", "aws", "proxy-password", "other-proxy", "config-token", "unknown-variable"),
    *(
        "llama-arg",
        "mounted",
        "wrong-bearer",
        "wrong-key",
        "cookie",
        "agent",
        "referer",
        "forwarded",
        "query",
    ),
    *("prompt", "system", "tool", "schema", "grammar", "image", "stop", "suffix", "path", "method", "local"),
)
CANARIES = {word: f"cAnArY-{word}-7f3a" for word in WORDS}


@dataclass
class Watched:
    """A server that knows secrets, and all that it ever answered."""

    server: Server
    program: Program
    secret: str
    answers: list[str]

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> httpx.Response:
        given = {"authorization": f"Bearer {self.secret}", "cookie": CANARIES["cookie"], **headers}
        given |= {"user-agent": CANARIES["agent"], "referer": f"http://x/{CANARIES['referer']}"}
        content = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        answer = httpx.request(
            method, self.server.base_url + path, content=content, headers=given, timeout=60, trust_env=False
        )
        self.answers.append(str(answer.headers) + answer.text)
        return answer


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("canaries")
    runtime = Path(tempfile.mkdtemp(prefix="slm"))
    mounted = folder / "mounted"
    mounted.write_text(CANARIES["mounted"] + "\n")
    environment = {
        "HF_TOKEN": CANARIES["hf-token"],
        "OPENAI_API_KEY": CANARIES["api-key"],
        "AWS_SECRET_ACCESS_KEY": CANARIES["aws"],
        "HTTPS_PROXY": f"http://user:{CANARIES['proxy-password']}@127.0.0.1:9",
        "ALL_PROXY": f"http://user:{CANARIES['other-proxy']}@127.0.0.1:9",
        "LLAMA_ARG_API_KEY": CANARIES["llama-arg"],
        "SOMETHING": CANARIES["unknown-variable"],
        "SLMCTL_API_KEY_FILE": str(mounted),
    }
    config = f'hf_token = "{CANARIES["config-token"]}"\n[serve]\nheader_timeout = "1s"\n'
    try:
        program = Program(folder / "home", runtime)
        program.go_online()
        made = add_key(program.home, scopes=("infer", "read", "manage"), name="the walrus")
        with serving(program, environment=environment, config=config) as server:
            watched = Watched(server, program, made.secret, [])
            talk(watched)
            yield watched
    finally:
        shutil.rmtree(runtime)


def hello(**more: Any) -> dict[str, Any]:
    return {
        "model": "hello",
        "messages": [{"role": "user", "content": CANARIES["prompt"]}],
        "max_tokens": 4,
        **more,
    }


def talk(watched: Watched) -> None:
    """All kinds of requests, right and wrong, with a secret in each place that takes one."""
    ask = watched.ask
    assert ask("POST", "/v1/chat/completions", hello()).status_code == 200
    assert ask("POST", "/v1/chat/completions", hello(stream=True)).status_code == 200
    assert ask("GET", "/v1/models", authorization=f"Bearer {CANARIES['mounted']}").status_code == 200
    for wrong in (
        {"authorization": f"Bearer {CANARIES['wrong-bearer']}"},
        {"authorization": f"Basic {base64.b64encode(CANARIES['wrong-bearer'].encode()).decode()}"},
        {"authorization": "", "x-api-key": CANARIES["wrong-key"]},
        {"authorization": f"Bearer {watched.secret}x"},
    ):
        assert ask("POST", "/v1/chat/completions", hello(), **wrong).status_code == 401
    forwarded = {"x-forwarded-host": CANARIES["forwarded"], "x-forwarded-for": CANARIES["forwarded"]}
    ask("GET", f"/api/tags?{CANARIES['query']}={CANARIES['query']}", **forwarded)
    ask("GET", f"/{CANARIES['path']}")
    ask("GET", f"/v1/models/{CANARIES['path']}")
    ask("X" + CANARIES["method"].upper(), "/v1/models")
    ask("POST", "/v1/chat/completions", f'{{"model": "{CANARIES["prompt"]}'.encode())
    ask("POST", "/v1/chat/completions", CANARIES["prompt"].encode("utf-16"))
    many = CANARIES["prompt"] + " word" * 40_000
    for body in (
        {"messages": [{"role": "user", "content": many}]},
        {"messages": [{"role": "system", "content": CANARIES["system"]}, {"role": "user", "content": "x"}]},
        {"messages": [{"role": CANARIES["system"], "content": "x"}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{CANARIES['image']}"}}]}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": f"http://127.0.0.1:9/{CANARIES['image']}"}}]}]},
        {"stop": [CANARIES["stop"]]},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object", "properties": {CANARIES["schema"]: {"type": "string", "const": CANARIES["schema"]}}, "required": [CANARIES["schema"]]}}}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": CANARIES["schema"]}}}},
        {"tools": [{"type": "function", "function": {"name": "look", "description": CANARIES["tool"], "parameters": {}}}]},
        {"grammar": f'root ::= "{CANARIES["grammar"]}" ('},
        {"chat_template_kwargs": {"chat_template": CANARIES["prompt"]}},
        {"temperature": CANARIES["prompt"]},
    ):  # fmt: skip
        ask("POST", "/v1/chat/completions", {**hello(), **body})
    ask(
        "POST",
        "/api/generate",
        {"model": "hello", "prompt": CANARIES["prompt"], "suffix": CANARIES["suffix"], "stream": False},
    )
    ask("POST", "/api/chat", {"model": "hello", "messages": [{"role": "user", "content": many}], "stream": False, "truncate": False, "options": {"walrus": CANARIES["prompt"]}})  # fmt: skip
    ask(
        "POST",
        "/v1/messages",
        {"model": "hello", "max_tokens": 3, "system": CANARIES["system"], "messages": hello()["messages"]},
    )
    ask("POST", "/v1/embeddings", {"model": "hello", "input": CANARIES["prompt"]})
    ask("POST", "/api/pull", {"model": "hf.co/nobody/nothing", "stream": False})
    ask("POST", "/api/pull", {"model": "registry.invalid/nobody/nothing", "stream": False})
    ask("GET", "/metrics")
    ask("GET", "/readyz")


OURS = (
    "hf-token",
    "api-key",
    "aws",
    "proxy-password",
    "other-proxy",
    "config-token",
    "unknown-variable",
    "llama-arg",
    "mounted",
)
"""What the operator keeps secret: this may not even be told to who asks."""


def test_no_secret_turns_up_anywhere(watched: Watched) -> None:
    server = watched.server
    secrets = {**CANARIES, "key": watched.secret}
    processes = [server.pid, *children(server.pid)]
    assert len(processes) > 1, "an engine runs"
    commands = "".join(Path(f"/proc/{pid}/cmdline").read_text() for pid in processes)
    engines = "".join(Path(f"/proc/{pid}/environ").read_text() for pid in processes[1:])
    server.event("request")
    for word, secret in secrets.items():
        for what, text in (("log", server.log), ("commands", commands), ("environment of engines", engines)):
            assert secret not in text, (what, word)
            assert secret.lower() not in text.lower(), (what, word)
    for word in (*OURS, "wrong-bearer", "wrong-key", "cookie", "agent", "referer"):
        assert not [answer for answer in watched.answers if secrets[word] in answer], word
    metrics = watched.ask("GET", "/metrics").text
    assert not [word for word, secret in secrets.items() if secret in metrics]


def test_no_secret_is_written_to_a_file(watched: Watched) -> None:
    """Where slmctl keeps its state, and where it runs; the file of the configuration is the operator's own."""
    places = [watched.program.home, Path(watched.program.environment["XDG_RUNTIME_DIR"])]
    files = [
        path for place in places for path in place.rglob("*") if path.is_file() and path.name != "config.toml"
    ]
    assert {"keys.json", "server.json"} <= {path.name for path in files}
    secrets = {**CANARIES, "key": watched.secret}
    for path in files:
        data = path.read_bytes()
        assert not [word for word, secret in secrets.items() if secret.encode() in data], path


def test_what_the_log_has_instead(watched: Watched) -> None:
    """Who it was and how it went, so that the test above is no test of an empty log."""
    last = watched.ask("GET", "/api/version").headers["x-request-id"]
    until(lambda: any(line.get("request_id") == last for line in watched.server.events) or None)
    requests = [line for line in watched.server.events if line["event"] == "request"]
    assert {line["status"] for line in requests} >= {200, 400, 401, 404}
    key = json.loads((watched.program.home / "keys.json").read_text())["keys"][0]["id"]
    assert {line.get("principal") for line in requests} >= {key, "file", None}
    assert any(line.get("model") == "hello:latest" and line.get("prompt_tokens") for line in requests)
