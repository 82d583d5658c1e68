"""The network as a command uses it: what was named, what is permitted, what is offline, and nothing too early."""

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from registry.errors import Unreachable
from slmctl.app.network import Network
from slmctl.config import Settings
from tests.fakes.wire import reply, serve


def network(environment: dict[str, str] | None = None, **options: bool) -> Network:
    return Network(Settings.load({"HOME": "/nonexistent", **(environment or {})}).network, **options)  # type: ignore[arg-type]


def test_hosts_that_are_named() -> None:
    made = network(
        {
            "SLMCTL_MIRRORS": "registry.ollama.ai=mirror.example:444,http://nas:5000/x",
            "HF_ENDPOINT": "http://hub.lan",
        }
    )
    made.named("Registry.Example")
    made.named("localhost:5000")
    settings = made.http_settings()
    assert settings.named_hosts == {
        "registry.example",
        "localhost:5000",
        "mirror.example:444",
        "nas:5000",
        "hub.lan",
    }
    assert settings.plain_http == {"nas:5000", "hub.lan"}  # because the user wrote http://


def test_plain_http_is_permitted_to_what_is_named_and_to_nobody_else() -> None:
    for made in (network(plain_http=True), network()):
        made.named("registry.lan:5000", plain_http=True)
        made.named("http://other.lan")
        assert {"registry.lan:5000", "other.lan"} <= made.http_settings().plain_http
        assert "registry.ollama.ai" not in made.http_settings().plain_http
    asked = network({"SLMCTL_PLAIN_HTTP": "nas:5000", "HF_ENDPOINT": "https://hub.example"}, plain_http=True)
    asked.named("third.lan")
    assert asked.http_settings().plain_http == {"nas:5000", "third.lan"}
    plain = network()
    plain.named("third.lan")
    assert plain.http_settings().plain_http == frozenset()


def test_a_host_that_is_named_later_counts_too() -> None:
    with serve(lambda _request, wire: wire.send(reply(200, b"x"))) as server, network() as made:
        client = made.http
        assert client.settings.named_hosts == frozenset()
        made.named(server.place)
        assert made.http is client
        assert server.place in client.settings.named_hosts


def test_what_is_no_host_is_left_to_those_who_ask_it() -> None:
    made = network()
    for text in ("", "a@b", "ftp://x", "http://", "a b", "[x]"):
        made.named(text)
    assert made.http_settings().named_hosts == frozenset()


@pytest.mark.parametrize(
    ("environment", "option", "why"),
    [
        ({}, True, "--offline was given"),
        ({"SLMCTL_OFFLINE": "1"}, False, "slmctl is set to be offline (environment SLMCTL_OFFLINE)"),
        ({"SLMCTL_OFFLINE": "yes"}, True, "--offline was given"),
    ],
)
def test_offline(environment: dict[str, str], option: bool, why: str) -> None:
    with (
        serve(lambda _request, wire: wire.send(reply(200))) as server,
        network(environment, offline=option) as made,
    ):
        assert made.offline == made.hub_offline == why
        with pytest.raises(Unreachable) as caught:
            made.http.send("GET", server.url)
        assert caught.value.message == f"{server.place} was not asked because {why}."
        assert server.connections == 0


def test_offline_for_the_hub_alone() -> None:
    made = network({"HF_HUB_OFFLINE": "1"})
    assert (made.offline, made.hub_offline) == (None, "HF_HUB_OFFLINE is set")
    assert (network().offline, network().hub_offline) == (None, None)


def test_a_rate_that_is_too_low_is_a_stall() -> None:
    assert (
        network({"SLMCTL_MIN_RATE": "5000", "SLMCTL_STALL_TIMEOUT": "10"}).http_settings().stall_bytes
        == 50_000
    )
    assert network().http_settings().stall_bytes == 1024


def test_it_says_who_asks() -> None:
    with serve(lambda _request, wire: wire.send(reply(200))) as server, network() as made:
        made.http.send("GET", server.url).close()
        assert server.requests[0].headers["user-agent"].startswith("slmctl/")


def test_many_threads_have_one_client() -> None:
    with network() as made:
        found: list[object] = []
        threads = [threading.Thread(target=lambda: found.append(made.http)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 8
        assert len(set(map(id, found))) == 1


@pytest.mark.parametrize(
    "arguments", [["list"], ["--help"], ["version"], ["config", "list"], ["list", "--help"]]
)
def test_commands_that_ask_nobody_import_no_http(arguments: list[str], tmp_path: Path) -> None:
    """Nor does a Network before it is used: what `slmctl list` needs to start is counted."""
    program = (
        "import sys; from slmctl.cli.main import run; code = run(sys.argv[1:]);"
        "assert not {'requests', 'urllib3', 'ssl', 'httpx'} & set(sys.modules), sorted(sys.modules); sys.exit(code)"
    )
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "HTTP_PROXY": "http://proxy:1"}
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


NOBODY = """
import sys, time
from slmctl.app.network import Network
from slmctl.config import Settings
from registry.errors import SlmctlError
with Network(Settings.load({"HOME": "/nonexistent"}).network) as network:
    network.http  # what it imports takes long on a busy machine
    for url in ("https://registry.ollama.ai/v2/", "https://8.8.8.8/", "https://[2606:4700::1111]/", "https://127.0.0.1:9/"):
        began = time.monotonic()
        try:
            network.http.send("GET", url)
        except SlmctlError as error:
            print(type(error).__name__, time.monotonic() - began < 2, error.message)
"""


@pytest.mark.root
@pytest.mark.asks("registry.ollama.ai", "8.8.8.8", "2606:4700::1111")
def test_without_a_network_there_is_a_sentence_at_once() -> None:
    """In a network namespace that has no device; the two seconds are the issue's."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("needs root and unshare")
    if subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False).returncode:
        pytest.skip("cannot make a network namespace here")
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-c", NOBODY],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 4, done.stderr
    for line, place in zip(
        lines, ["registry.ollama.ai", "8.8.8.8", "[2606:4700::1111]", "127.0.0.1:9"], strict=True
    ):
        assert line.startswith(f"NotReached True {place} could not be reached: ")
