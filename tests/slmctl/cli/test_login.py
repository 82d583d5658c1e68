"""login and logout, against real registries, as a user types them."""

from __future__ import annotations

import base64
import json
import os
import stat
from pathlib import Path

import pexpect
import pytest

from tests.registries.fixtures import Tokens, password_registry, plain_registry, tls_registry, token_registry
from tests.registries.programs import PASSWORD, USER, Registry
from tests.slmctl.cli.program import Outcome, Program

__all__ = ["password_registry", "plain_registry", "tls_registry", "token_registry"]

KEY = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


@pytest.fixture(autouse=True)
def online(slmctl: Program) -> None:
    slmctl.go_online()


def login(
    program: Program, host: str, *arguments: str, password: str = PASSWORD, **variables: str
) -> Outcome:
    return program(
        "login", host, "--username", USER, "--password-stdin", *arguments,
        stdin=f"{password}\n".encode(), environment=variables,
    )  # fmt: skip


def config(program: Program) -> Path:
    """Docker's file in the home of the program."""
    return Path(program.environment["HOME"]) / ".docker" / "config.json"


def test_login_tries_the_password_and_keeps_it(slmctl: Program, password_registry: Registry) -> None:
    done = login(slmctl, password_registry.host)
    assert (done.code, done.out) == (0, f"logged in to {password_registry.host} as {USER}\n")
    assert f"lies readable in {config(slmctl)}" in done.err
    assert json.loads(config(slmctl).read_text()) == {"auths": {password_registry.host: {"auth": KEY}}}
    assert stat.S_IMODE(config(slmctl).stat().st_mode) == 0o600
    assert PASSWORD not in done.out + done.err
    out = slmctl("logout", password_registry.host)
    assert (out.code, out.out) == (0, f"logged out of {password_registry.host}\n")
    assert json.loads(config(slmctl).read_text()) == {"auths": {}}
    again = slmctl("logout", password_registry.host)
    assert (again.code, again.out) == (0, f"there was no login for {password_registry.host}\n")


def test_what_is_refused_is_not_kept(slmctl: Program, password_registry: Registry) -> None:
    done = login(slmctl, password_registry.host, password="wrong")
    assert done.code == 7
    assert f"refuses the password of '{USER}'" in done.err
    assert not config(slmctl).exists()


@pytest.mark.parametrize("scheme", ["", "http://"])
def test_plain_http_to_a_port_of_tls_says_what_to_leave_out(
    slmctl: Program, tls_registry: Registry, scheme: str
) -> None:
    """Debian's nginx answers 400 with a page of its own, and to HEAD, a push's first request, with nothing."""
    name = f"{scheme}{tls_registry.host}/t/m:v1"
    permitted = () if scheme else ("--plain-http",)
    for command in (["pull", name], ["tags", name], ["push", "hello", name]):
        outcome = slmctl(*command, *permitted)
        assert outcome.code in {1, 6}, outcome.err
        assert "TLS" in outcome.err
        assert "leave out --plain-http, or write oci://" in outcome.err.lower()
    refused = login(slmctl, tls_registry.host, "--plain-http")
    assert (refused.code, "TLS" in refused.err) == (6, True), refused.err


def test_login_over_tls_with_a_private_authority(slmctl: Program, tls_registry: Registry) -> None:
    refused = login(slmctl, tls_registry.host)
    assert refused.code == 6
    assert "certificate" in refused.err
    assert "--ca" in refused.hint
    done = login(slmctl, tls_registry.host, "--ca", str(tls_registry.ca), "--json")
    assert done.json == {
        "schema": "slmctl.login/1",
        "host": tls_registry.host,
        "username": USER,
        "place": str(config(slmctl)),
        "plain": True,
        "checked": True,
    }
    assert login(slmctl, tls_registry.host, SSL_CERT_FILE=str(tls_registry.ca)).code == 0


def test_a_token_server_elsewhere_gets_the_password_by_the_users_word_only(
    slmctl: Program, token_registry: Tokens
) -> None:
    registry, server = token_registry.registry, token_registry.server
    before = len(server.asked)
    refused = login(slmctl, registry.host)
    assert refused.code == 7
    assert f"has its tokens made by {server.url}" in refused.err
    assert refused.hint.endswith(f"slmctl login {registry.host} --token-server {server.url}")
    assert [each["authorization"] for each in server.asked[before:]] == [""]
    assert not config(slmctl).exists()
    done = login(slmctl, registry.host, "--token-server", server.url)
    assert done.code == 0, done.err
    assert server.asked[-1]["authorization"] == f"Basic {KEY}"
    assert json.loads((slmctl.home / "token-servers.json").read_text()) == {
        "schema": "slmctl.token_servers/1",
        "token_servers": {registry.host: [server.url]},
    }
    assert login(slmctl, registry.host).code == 0  # it is remembered
    slmctl("logout", registry.host)
    assert json.loads((slmctl.home / "token-servers.json").read_text())["token_servers"] == {}
    assert login(slmctl, registry.host).code == 7
    assert login(slmctl, registry.host, SLMCTL_TOKEN_SERVERS=f"{registry.host}={server.url}").code == 0


def test_a_wrong_password_for_a_token_server(slmctl: Program, token_registry: Tokens) -> None:
    done = login(
        slmctl, token_registry.registry.host, "--token-server", token_registry.server.url, password="wrong"
    )
    assert done.code == 7
    assert "wrong password" in done.err
    assert not config(slmctl).exists()
    assert not (slmctl.home / "token-servers.json").exists()


def test_a_registry_for_everybody_asks_for_nothing(slmctl: Program, plain_registry: Registry) -> None:
    done = login(slmctl, plain_registry.host, "--json")
    assert (done.code, done.json["checked"]) == (0, False)
    assert "asked for no password" in done.err


def test_a_credential_helper_keeps_it(slmctl: Program, password_registry: Registry, tmp_path: Path) -> None:
    program = tmp_path / "bin" / "docker-credential-test"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\ncat > {tmp_path}/$1.txt\n[ "$1" = get ] && cat {tmp_path}/store.txt || true\n'
    )
    program.chmod(0o755)
    config(slmctl).parent.mkdir()
    config(slmctl).write_text('{"credsStore": "test"}')
    path = f"{program.parent}:{os.environ['PATH']}"
    done = login(slmctl, password_registry.host, "--json", PATH=path)
    assert done.json["place"] == "docker-credential-test"
    assert done.json["plain"] is False
    assert json.loads((tmp_path / "store.txt").read_text()) == {
        "ServerURL": password_registry.host, "Username": USER, "Secret": PASSWORD,
    }  # fmt: skip
    assert PASSWORD not in config(slmctl).read_text()
    out = slmctl("logout", password_registry.host, "--json", environment={"PATH": path})
    assert out.json["removed"] == ["docker-credential-test"]
    assert (tmp_path / "erase.txt").read_text() == password_registry.host


def test_podmans_file_where_the_user_names_it(
    slmctl: Program, password_registry: Registry, tmp_path: Path
) -> None:
    file = tmp_path / "auth.json"
    done = login(slmctl, password_registry.host, "--json", REGISTRY_AUTH_FILE=str(file))
    assert done.json["place"] == str(file)
    assert not config(slmctl).exists()
    assert list(json.loads(file.read_text())["auths"]) == [password_registry.host]
    left = slmctl("logout", password_registry.host, "--json", environment={"DOCKER_CONFIG": str(tmp_path)})
    assert left.json["removed"] == []
    out = slmctl("logout", password_registry.host, "--json", environment={"REGISTRY_AUTH_FILE": str(file)})
    assert out.json == {
        "schema": "slmctl.logout/1",
        "host": password_registry.host,
        "removed": [str(file)],
        "left": [],
    }


def test_logout_says_what_another_tool_still_has(slmctl: Program) -> None:
    podman = Path(slmctl.environment["XDG_RUNTIME_DIR"]) / "containers" / "auth.json"
    podman.parent.mkdir()
    podman.write_text(json.dumps({"auths": {"a.example": {"auth": KEY}}}))
    out = slmctl("logout", "a.example", "--json")
    assert (out.json["removed"], out.json["left"]) == ([], [str(podman)])
    assert str(podman) in out.err


def test_a_password_on_the_command_line_is_warned_of(slmctl: Program, password_registry: Registry) -> None:
    done = slmctl("login", password_registry.host, "-u", USER, "-p", PASSWORD)
    assert done.code == 0
    assert "--password-stdin" in done.err


@pytest.mark.parametrize(
    ("arguments", "stdin", "sentence"),
    [
        (["login"], None, "SERVER"),
        (["login", "a/b"], None, "is not the address of a registry"),
        (["login", "http://u@a.example"], None, "is not the address of a registry"),
        (["login", "hf.co"], None, "has no login with a password"),
        (["login", "registry.ollama.ai"], None, "has no login with a password"),
        (["login", "a.example"], None, "There is no terminal to ask for the user name"),
        (["login", "a.example", "-u", "x"], None, "There is no terminal to ask for the password"),
        (["login", "a.example", "-u", "x", "--password-stdin"], b"", "On stdin there is no password"),
        (["login", "a.example", "-u", "x", "--password-stdin"], b"\n", "On stdin there is no password"),
        (["login", "a.example", "-u", "x", "--password-stdin"], b"\xff", "not text"),
        (["login", "a.example", "-u", "x", "--password-stdin"], b"x" * 70_000, "more than a password"),
        (["login", "a.example", "-u", "x:y", "--password-stdin"], b"p", "no colon"),
        (["login", "a.example", "-u", "x", "-p", "y", "--password-stdin"], b"p", "given twice"),
        (["login", "a.example", "-u", "x", "--password-stdin", "--token-server", "::"], b"p", "token server"),
        (["logout", "a b"], None, "is not the address of a registry"),
    ],
)
def test_what_is_said_wrong(
    slmctl: Program, arguments: list[str], stdin: bytes | None, sentence: str
) -> None:
    done = slmctl(*arguments, stdin=stdin)
    assert done.code == 2, done.err
    assert sentence in done.err
    assert not config(slmctl).exists()


def test_offline_and_unreachable(slmctl: Program) -> None:
    assert login(slmctl, "127.0.0.1:1").code == 6
    assert login(slmctl, "a.example", "--offline").code == 6


def test_a_broken_file_of_docker_is_kept(slmctl: Program, password_registry: Registry) -> None:
    config(slmctl).parent.mkdir()
    config(slmctl).write_text("{ broken")
    done = login(slmctl, password_registry.host)
    assert done.code == 1
    assert str(config(slmctl)) in done.err
    assert config(slmctl).read_text() == "{ broken"


def test_on_a_terminal_name_and_password_are_asked_for(slmctl: Program, password_registry: Registry) -> None:
    child = pexpect.spawn(
        slmctl.command("login")[0],
        ["login", password_registry.host],
        env=slmctl.environment,
        encoding="utf-8",
        timeout=30,
    )
    child.expect("User name: ")
    child.sendline(USER)
    child.expect("Password: ")
    child.sendline(PASSWORD)
    child.expect("logged in to")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    assert KEY in config(slmctl).read_text()
