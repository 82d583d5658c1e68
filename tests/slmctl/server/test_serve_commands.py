"""`run`, `ps` and `stop` where a server of this store listens: the same answers, without a worker of their own."""

from __future__ import annotations

import secrets
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.processes import until
from tests.servers import Server, serving
from tests.slmctl.cli.program import Program
from tests.slmctl.cli.terminal.driver import Terminal

SHORT = ("--max-tokens", "8")
ENDLESS = ("--max-tokens", "90000", "--ctx", "100000")
"""An answer that is not over before somebody stops it."""

QUESTION = ("What is slmctl?", "--temperature", "0", "--seed", "1")


@pytest.fixture
def server(stocked: Program) -> Iterator[Server]:
    """With nothing loaded."""
    with serving(stocked) as started:
        yield started


def _answered(server: Server) -> int:
    """How many answers it gave; its log tells of them in order, so that a last request waits for the others."""
    last = secrets.token_hex(8)
    assert httpx.get(f"{server.base_url}/v1/models", headers={"x-request-id": last}).status_code in {200, 401}
    until(lambda: [event for event in server.events if event.get("request_id") == last] or None)
    return len([event for event in server.events if event.get("path") == "/slmctl/answer"])


@pytest.mark.parametrize("model", ["hello", "tools", "go-tools"])
def test_the_same_answer_in_the_same_form(stocked: Program, model: str) -> None:
    alone = stocked("run", model, *QUESTION, "--json")
    plain = stocked("run", model, *QUESTION)
    with serving(stocked) as server:
        served = stocked("run", model, *QUESTION, "--json")
        assert stocked("run", model, *QUESTION).out == plain.out
        assert _answered(server) == 2
    for key in ("model", "digest", "variant", "engine", "response", "thinking", "finish_reason"):
        assert served.json[key] == alone.json[key], key
    for key in ("prompt_tokens", "generated_tokens"):
        assert served.json[key] == alone.json[key], key
    for key in ("load_seconds", "prompt_seconds", "generation_seconds", "context_length"):
        assert served.json[key] is not None, key


def test_raw_prompts_and_schemas_and_system_messages(stocked: Program) -> None:
    for arguments in (
        ("tiny", "--raw", "once upon", "--max-tokens", "12", "--temperature", "0"),
        ("hello", *QUESTION, "--format", '{"type": "object", "properties": {"a": {"type": "integer"}}}'),
        ("hello", *QUESTION, "--system", "You are slmctl."),
        ("hello", *QUESTION, "-o", "stop=slmctl", "-o", "top_k=3"),
    ):
        alone = stocked("run", *arguments)
        with serving(stocked) as server:
            served = stocked("run", *arguments)
            assert (served.code, served.out) == (alone.code, alone.out), arguments
            assert _answered(server) == 1


def test_timings_and_notes(stocked: Program, server: Server) -> None:
    done = stocked("run", "tiny", "once", "--max-tokens", "8", "--verbose")
    assert "tiny:latest has no chat template; the prompt is sent as plain text." in done.err
    for label in ("total duration:", "load duration:", "prompt eval rate:", "eval count:"):
        assert label in done.err
    assert "eval count:           8 token(s)" in done.err


def test_errors_are_the_commands_own(stocked: Program, server: Server) -> None:
    """With the code and the hint that they have without a server."""
    missing = stocked("run", "nonesuch", "Hi", "--pull", "never")
    assert missing.code == 3
    refused = stocked("run", "tiny", "x" * 100_000)
    assert refused.code in {1, 2}
    assert "context" in refused.err


def test_a_model_that_does_not_fit_there_is_told_as_elsewhere(stocked: Program) -> None:
    with serving(stocked, "--max-memory", "1MB"):
        done = stocked("run", "hello", "Hi")
        assert done.code == 4
        assert "does not fit" in done.err


@pytest.mark.parametrize(
    "flags", [("--verify",), ("--variant", "gguf-f16"), ("--kv", "f16"), ("--max-memory", "3GB")]
)
def test_what_the_server_decides_by_itself_is_done_without_it(
    stocked: Program, server: Server, flags: tuple[str, ...]
) -> None:
    assert stocked("run", "hello", "Hi", *flags).code == 0
    assert _answered(server) == 0


def test_another_store_is_none_of_its_business(stocked: Program, server: Server, tmp_path: Path) -> None:
    environment = {"SLMCTL_HOME": str(tmp_path / "other")}
    assert stocked("run", "hello", "Hi", environment=environment).code == 0
    assert stocked("ps", "--json", environment=environment).json["models"] == []
    assert _answered(server) == 0


def test_somebody_elses_server_is_never_asked(stocked: Program, server: Server) -> None:
    """OLLAMA_HOST names a server for Ollama's clients; `run` needs none."""
    done = stocked("run", "hello", "Hi", environment={"OLLAMA_HOST": "127.0.0.1:9"})
    assert done.code == 0
    assert _answered(server) == 1


def test_keys_keep_no_command_of_its_own_user_out(neighbour: Program) -> None:
    assert neighbour("key", "add").code == 0
    with serving(neighbour) as server:
        assert neighbour("run", "hello", "Hi").code == 0
        assert neighbour("stop", "hello").code == 0
        assert _answered(server) == 1
        assert {event["principal"] for event in server.events if "principal" in event} == {"local"}


def test_ps_and_stop(stocked: Program, server: Server) -> None:
    assert stocked("ps").out.split() == [
        "NAME",
        "ID",
        "VARIANT",
        "SIZE",
        "PROCESSOR",
        "CONTEXT",
        "PID",
        "UNLOADED",
    ]
    assert stocked("run", "hello", "Hi", "--keep", "1h").code == 0
    assert stocked("run", "tiny", "Hi", "--max-tokens", "2").code == 0
    hello, tiny = stocked("ps", "--json").json["models"]
    assert hello["name"] == "hello:latest"
    assert hello["served"]
    assert hello["state"] == "ready"
    assert 3500 < hello["seconds_left"] <= 3600
    assert 0 < tiny["seconds_left"] <= 300
    assert hello["digest"] == stocked("show", "hello", "--json").json["digest"]
    assert {hello["pid"], tiny["pid"]} == set(server.workers)
    table = stocked("ps").out
    assert "100% CPU" in table
    assert hello["digest"].removeprefix("sha256:")[:12] in table
    assert stocked("stop", "HELLO", "--json").json["stopped"] == ["hello:latest"]
    assert [each["name"] for each in stocked("ps", "--json").json["models"]] == ["tiny:latest"]
    gone = stocked("stop", "hello")
    assert gone.code == 3
    assert "hello is not loaded." in gone.err
    assert stocked("stop", "--all", "--json").json["stopped"] == ["tiny:latest"]
    until(lambda: server.workers == [] or None)


def test_what_runs_keep_is_listed_beside_it(stocked: Program) -> None:
    assert stocked("run", "hello", "Hi", "--keep", "10m").code == 0
    try:
        with serving(stocked, "--preload", "tiny"):
            models = stocked("ps", "--json").json["models"]
            assert [(each["name"], each["served"]) for each in models] == [
                ("hello:latest", False),
                ("tiny:latest", True),
            ]
            assert stocked("stop", "--all", "--json").json["stopped"] == ["hello:latest", "tiny:latest"]
    finally:
        stocked("stop", "--all")


def test_keep_0_unloads(stocked: Program, server: Server) -> None:
    assert stocked("run", "hello", "Hi").code == 0
    assert stocked("run", "hello", "Hi", "--keep", "0").code == 0
    until(lambda: stocked("ps", "--json").json["models"] == [] or None)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_whoever_stops_a_run_frees_its_slot(endless: Program, number: signal.Signals) -> None:
    with serving(endless) as server:
        process = endless.start("run", "endless", "once", *ENDLESS)
        assert process.stdout is not None
        assert process.stdout.read(20)
        assert _row(server)["running"] == 1
        process.send_signal(number)
        until(lambda: _row(server)["running"] == 0 or None, deadline_seconds=2.5)  # ten times the goal
        process.communicate()
        expected = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}
        assert process.returncode == expected[number]
        assert len(server.workers) == 1, "the model stays"


def _row(server: Server) -> dict[str, Any]:
    """What `ps` says of the only model, without the time that starting the program takes."""
    (row,) = httpx.get(f"{server.base_url}/slmctl/ps").json()["models"]
    assert isinstance(row, dict)
    return row


def test_a_server_that_is_killed_in_the_middle_is_told_in_a_sentence(endless: Program) -> None:
    with serving(endless, ends_with=None) as server:
        process = endless.start("run", "endless", "once", *ENDLESS)
        assert process.stdout is not None
        assert process.stdout.read(20)
        server.process.kill()
        _, err = process.communicate()
        assert process.returncode == 1
        assert b"server" in err
        assert b"Traceback" not in err
        server.wait()
    assert endless("run", "endless", "once", *SHORT).code == 0, "which sweeps, too"


@pytest.mark.filterwarnings("ignore:.*use of forkpty:DeprecationWarning")
def test_a_conversation(stocked: Program, server: Server) -> None:
    """On a terminal: each question goes to the server with what was said before; Ctrl-C stops an answer."""
    with Terminal(stocked, "hello") as terminal:
        assert terminal.ask("What is slmctl?").startswith("slmctl")
        assert terminal.ask("And what is a variant?")
        assert terminal.leave() == 0
    first, second = (event for event in server.events if event.get("path") == "/slmctl/answer")
    assert second["prompt_tokens"] > first["prompt_tokens"] + first["generated_tokens"]
    assert len(server.workers) == 1


@pytest.mark.filterwarnings("ignore:.*use of forkpty:DeprecationWarning")
def test_a_conversation_survives_its_server(endless: Program) -> None:
    """With a worker of its own, from the next question on."""
    with serving(endless, ends_with=None) as server, Terminal(endless, "endless", *SHORT) as terminal:
        assert terminal.ask("once")
        server.process.kill()
        server.wait()
        assert "server" in terminal.ask("once more")
        assert terminal.ask("and again")
        assert terminal.leave() == 0
