"""`slmctl serve` as a command: what it says, what it refuses, and how it ends."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pexpect
import pytest

from tests.servers import Server, serving
from tests.slmctl.cli.program import Program


def test_it_says_where_it_listens_and_ends_in_order(slmctl: Program) -> None:
    with serving(slmctl) as server:
        assert httpx.get(f"{server.base_url}/livez").text == "ok\n"
        assert httpx.get(f"{server.base_url}/readyz").status_code == 200
        answer = httpx.get(f"{server.base_url}/livez")
        assert "date" in answer.headers
        assert "server" not in answer.headers, "nobody needs to know"
        assert server.stop() == 143
    assert [event["event"] for event in server.events] == ["listening", "ready", "draining", "ended"]
    assert server.events[-1]["cut"] == 0


def test_start_is_another_name_for_it(slmctl: Program) -> None:
    process = slmctl.start("start", "--port", "0")
    assert process.stderr is not None
    assert json.loads(process.stderr.readline())["event"] == "listening"
    process.terminate()
    process.communicate()
    assert process.returncode == 143


def test_a_document_at_the_end(slmctl: Program) -> None:
    process = slmctl.start("serve", "--port", "0", "--json", "--progress", "json")
    assert process.stderr is not None
    lines = [json.loads(process.stderr.readline()) for _ in range(2)]
    assert [line["event"] for line in lines] == ["listening", "ready"]
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate()
    assert process.returncode == 130
    document = json.loads(out)
    assert document["schema"] == "slmctl.serve/1"
    assert document["signal"] == "SIGINT"
    assert document["url"] == lines[0]["url"]
    assert document["cut"] == 0


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--port", "x"), "--port has a bad value 'x'"),
        (("--host", "no such host.example"), "--host has a bad value"),
        (("--keep-alive", "soon"), "--keep-alive has a bad value 'soon'"),
        (("--max-memory", "6"), "--max-memory has a bad value '6'"),
        (("--trusted-proxy", "proxy"), "--trusted-proxy has a bad value 'proxy'"),
        (("--allowed-host", "a b"), "--allowed-host has a bad value 'a b'"),
        (("--tls-key", "/k"), "There is a key for TLS, but no certificate."),
        (("--frobnicate",), "No such option"),
        (("more",), "Got unexpected extra argument"),
    ],
)
def test_wrong_flags(slmctl: Program, arguments: tuple[str, ...], complaint: str) -> None:
    done = slmctl("serve", *arguments)
    assert done.code == 2
    assert complaint in done.err
    assert slmctl("serve", "--json", *arguments).json["error"]["code"] == "usage"


def test_an_address_that_is_not_here(slmctl: Program) -> None:
    done = slmctl("serve", "--host", "192.0.2.1", "--port", "0", "--open-to-all")
    assert done.code == 2
    assert "192.0.2.1 is no address of this machine." in done.err


def test_an_address_that_a_variable_names_is_told_by_it(slmctl: Program) -> None:
    """OLLAMA_HOST names the server for Ollama's clients, too, and that may be another machine."""
    done = slmctl("serve", "--open-to-all", environment={"OLLAMA_HOST": "http://192.0.2.1:11434"})
    assert done.code == 2
    assert "192.0.2.1 is no address of this machine." in done.err
    assert done.hint.startswith("It is from the environment OLLAMA_HOST.")


def test_an_address_that_nobody_knows(slmctl: Program) -> None:
    done = slmctl("serve", "--host", "nobody.invalid", "--port", "0", "--open-to-all")
    assert done.code == 2
    assert "There is no address 'nobody.invalid' to listen at." in done.err


@pytest.mark.parametrize("arguments", [("--host", "0.0.0.0"), ("--host", "::")])
def test_others_come_in_only_with_a_key_or_by_force(slmctl: Program, arguments: tuple[str, ...]) -> None:
    refused = slmctl("serve", "--port", "0", *arguments)
    assert refused.code == 2
    assert "--open-to-all" in refused.err
    assert "slmctl key add" in refused.err
    with serving(slmctl, *arguments, "--open-to-all") as server:
        assert server.event("open_to_all")
        assert httpx.get(f"{server.base_url}/livez").status_code == 200
    assert slmctl("key", "add").code == 0
    with serving(slmctl, *arguments) as server:
        assert "open_to_all" not in [event["event"] for event in server.events]


def test_ollamas_variable_says_where(slmctl: Program) -> None:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    environment = {"OLLAMA_HOST": f"127.0.0.1:{port}"}
    process = subprocess.Popen(
        slmctl.command("serve"),
        env={**slmctl.environment, **environment},
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stderr is not None
    assert json.loads(process.stderr.readline())["url"] == f"http://127.0.0.1:{port}"
    process.terminate()
    process.communicate()


def test_a_port_that_slmctl_has(slmctl: Program) -> None:
    with serving(slmctl) as server:
        done = slmctl("serve", "--port", str(server.port))
        assert done.code == 1
        assert (
            f"127.0.0.1:{server.port} is taken by slmctl (process {server.pid}), a slmctl server." in done.err
        )


def test_a_port_that_ollama_has(slmctl: Program) -> None:
    with _answering(b"Ollama is running") as port:
        done = slmctl("serve", "--port", str(port))
    assert done.code == 1
    assert f"127.0.0.1:{port} is taken by" in done.err
    assert f"(process {os.getpid()}), an Ollama server." in done.err
    assert "--port" in done.hint


def test_a_port_that_somebody_has_who_says_nothing(slmctl: Program) -> None:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as silent:
        port = silent.getsockname()[1]
        done = slmctl("serve", "--port", str(port))
    assert done.code == 1
    assert f"127.0.0.1:{port} is taken by" in done.err
    assert f"(process {os.getpid()})." in done.err


def test_a_model_to_preload_that_is_not_there(slmctl: Program) -> None:
    done = slmctl("serve", "--port", "0", "--preload", "nonesuch")
    assert done.code == 3
    assert "nonesuch" in done.err


def test_what_is_preloaded_is_there_when_it_is_ready(stocked: Program) -> None:
    with serving(stocked, "--preload", "hello", "--preload", "tiny") as server:
        assert [event["model"] for event in server.events if event["event"] == "preloaded"] == [
            "hello",
            "tiny",
        ]
        models = stocked("ps", "--json").json["models"]
        assert [(each["name"], each["state"]) for each in models] == [
            ("hello:latest", "ready"),
            ("tiny:latest", "ready"),
        ]
        assert len(server.workers) == 2


def test_what_cannot_be_preloaded_now_keeps_nobody_from_the_others(stocked: Program) -> None:
    with serving(stocked, "--preload", "hello", "--max-memory", "1MB") as server:
        assert "does not fit" in server.event("not_preloaded")["text"]
        assert httpx.get(f"{server.base_url}/readyz").status_code == 200
        assert httpx.get(f"{server.base_url}/v1/models").status_code == 200


def test_its_settings_are_listed(slmctl: Program) -> None:
    slmctl.environment |= {"OLLAMA_KEEP_ALIVE": "1h", "SLMCTL_SERVE_PORT": "1234"}
    listed = {each["key"]: each for each in slmctl("config", "list", "--json").json["settings"]}
    assert listed["serve.keep_alive"]["value"] == "3600s"
    assert listed["serve.keep_alive"]["origin"] == "environment OLLAMA_KEEP_ALIVE"
    assert listed["serve.port"] == {
        "key": "serve.port",
        "value": 1234,
        "origin": "environment SLMCTL_SERVE_PORT",
    }
    assert slmctl("config", "list", "--show-origin").code == 0


def test_two_hundred_connections_that_say_nothing_keep_nobody_out(served: Server) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(socket.create_connection(served.address))
        assert httpx.get(f"{served.base_url}/livez").status_code == 200
        assert httpx.get(f"{served.base_url}/v1/models").status_code == 200


def test_who_says_nothing_makes_room_when_it_gets_full(slmctl: Program) -> None:
    with serving(slmctl, config="[serve]\nmax_connections = 8\n") as server, contextlib.ExitStack() as stack:
        silent = [stack.enter_context(socket.create_connection(server.address)) for _ in range(8)]
        assert httpx.get(f"{server.base_url}/livez").status_code == 200
        silent[0].settimeout(10)
        assert silent[0].recv(1) == b"", "the one that was silent longest went"


def test_who_takes_too_long_over_its_headers_is_left(slmctl: Program) -> None:
    with (
        serving(slmctl, config='[serve]\nheader_timeout = "200ms"\n') as server,
        socket.create_connection(server.address) as slow,
    ):
        slow.sendall(b"GET / HTTP/1.1\r\n")
        slow.settimeout(30)
        assert slow.recv(4096).partition(b"\r\n")[0] in {b"", b"HTTP/1.1 408 Request Timeout"}
        assert httpx.get(f"{server.base_url}/livez").status_code == 200


@contextlib.contextmanager
def _answering(body: bytes) -> Iterator[int]:
    """Somebody else's server, which says `body`; its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_home_of_its_own_needs_no_store(tmp_path: Path, slmctl: Program) -> None:
    """It serves what is pulled later."""
    with serving(slmctl) as server:
        assert httpx.get(f"{server.base_url}/v1/models").json()["data"] == []


@pytest.mark.filterwarnings("ignore:.*use of forkpty:DeprecationWarning")
def test_on_a_terminal_it_speaks_to_people(slmctl: Program) -> None:
    program, *rest = slmctl.command("serve", "--port", "0", "--host", "0.0.0.0", "--open-to-all")
    child = pexpect.spawn(program, rest, env=slmctl.environment, encoding="utf-8", timeout=60)
    try:
        child.expect_exact(", and at every other address of this machine. Ctrl-C ends it.")
        assert child.before is not None
        assert "slmctl listens at http://127.0.0.1:" in child.before
        child.expect_exact(" ready ")
        child.sendintr()
        child.expect(pexpect.EOF)
        assert child.before is not None
        assert "{" not in child.before
        child.wait()
        assert child.exitstatus == 130
    finally:
        child.close(force=True)
