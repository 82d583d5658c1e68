"""A server with a store of its own, a key that may do everything, and nobody else to talk to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from tests.fuzz.fuzzing import CONFIG
from tests.servers import Server, serving
from tests.slmctl.cli.program import Program
from tests.slmctl.server.models import make_models
from tools.random_model import write_random_model


@contextmanager
def guarded(folder: Path) -> Iterator[tuple[Server, str]]:
    """The server and the key's secret. It is offline: what pull and push make up reaches nobody."""
    runtime = folder / "run"
    runtime.mkdir(mode=0o700)
    program = Program(folder / "home", runtime)
    tiny = folder / "tiny.gguf"
    write_random_model(tiny)
    make_models(program, folder, tiny)
    scopes = [flag for scope in ("infer", "read", "manage") for flag in ("--scope", scope)]
    made = program("key", "add", *scopes, "--json")
    assert made.code == 0, made.err
    with serving(program, environment={"SLMCTL_OFFLINE": "1"}, config=CONFIG) as server:
        yield server, json.loads(made.out)["secret"]


def still_answers(server: Server, secret: str) -> None:
    """Raises AssertionError for a server that has suffered."""
    headers = {"Authorization": f"Bearer {secret}"}
    assert requests.get(f"{server.base_url}/livez", timeout=10).text == "ok\n"
    body = {"model": "hello", "messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 2}
    answer = requests.post(f"{server.base_url}/v1/messages", json=body, headers=headers, timeout=60)
    assert answer.status_code == 200, answer.text
    assert '"level": "error"' not in server.log
