"""A disk that is full while the server answers."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fakes.registry import FakeRegistry, fake_registry
from tests.faults.site import config, make_tiny, site
from tests.load.apis import openai_lane
from tests.load.lanes import Asking
from tests.servers import Server, serving
from tests.slmctl.cli.program import Program

TIMEOUT_SECONDS = 60
UPLOAD = hashlib.sha256(b"").digest() * 100_000  # 3.2 MB


@contextmanager
def small_disk(folder: Path, mebibytes: int) -> Iterator[None]:
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(folder)]
    subprocess.run(command, check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(path: Path) -> None:
    """Write to it until there is no room for a page."""
    with path.open("wb", buffering=0) as stream, contextlib.suppress(OSError):
        while True:
            stream.write(b"\0" * 4096)


def publish(registry: FakeRegistry) -> str:
    """The name by which a model of 0.8 MB can be pulled from the registry."""
    with site() as author:
        author.go_online()
        make_tiny(author, "published")
        place = f"{registry.server.url.removeprefix('http://')}/t/published:v1"
        pushed = author("push", "published", place)
        assert pushed.code == 0, pushed.err
        return place


def files_of(program: Program) -> list[Path]:
    """The store's files, but for locks and what only speeds things up."""
    passing = {"locks", "cache"}
    return sorted(path for path in program.store.rglob("*") if path.is_file() and not passing & {*path.parts})


def attempt(server: Server, place: str) -> dict[str, httpx.Response]:
    """Everything that writes, by the Ollama API."""
    digest = f"sha256:{hashlib.sha256(UPLOAD).hexdigest()}"
    bodies = {"create": {"model": "new", "from": "tiny", "system": "x" * 200_000}, "pull": {"model": place}}
    with httpx.Client(base_url=server.base_url, timeout=TIMEOUT_SECONDS) as client:
        answers = {path: client.post(f"/api/{path}", json=body) for path, body in bodies.items()}
        return answers | {"blob": client.post(f"/api/blobs/{digest}", content=UPLOAD)}


def failure(response: httpx.Response) -> str | None:
    """The error of an answer, or at the end of a stream; None where it went well."""
    if not response.text:
        return None
    last: dict[str, Any] = json.loads(response.text.strip().splitlines()[-1])
    assert response.status_code == 200 or "error" in last, response.text
    return last.get("error")


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")
def test_a_full_disk_stops_no_chat_and_spoils_nothing() -> None:
    with site() as program, small_disk(program.home, 16), fake_registry() as registry:
        program.go_online()
        place = publish(registry)
        make_tiny(program)
        with serving(program, config=config(parallel=4)) as server:
            with Asking([openai_lane("chat", server.address, "tiny", 50, streams=4)]) as asking:
                asking.wait_until_begun()
                filler = program.home / "filler"
                fill(filler)
                before = files_of(program)
                told = {what: failure(response) for what, response in attempt(server, place).items()}
                assert files_of(program) == before
                filler.unlink()
                again = {what: failure(response) for what, response in attempt(server, place).items()}
                chats = asking.finish()["chat"]
            for what, sentence in told.items():
                assert sentence is not None, what
                assert "space" in sentence, (what, sentence)
                assert "\n" not in sentence
                assert str(program.store) not in sentence  # where it lies is for the log
            assert str(program.store) in server.log
            assert again == dict.fromkeys(again)
            assert {each.outcome for each in chats} == {"whole"}
        verified = program("verify", "--json")
        assert verified.code == 0, verified.out
