"""--ca, --offline and --plain-http, as any command has them."""

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from registry.errors import SlmctlError, Unreachable, UsageError
from registry.remotes.urls import parse
from slmctl.cli.command import Context, command
from slmctl.cli.network_options import NetworkOptions, network_options
from tests.fakes.certificates import Authority
from tests.fakes.wire import reply, serve


@click.group("slmctl")
def program() -> None:
    """As slmctl is: a group, and under it a command."""


@command("fetch", about="Fetch URL.")
@network_options
@click.argument("url")
def fetch(context: Context, url: str, network: NetworkOptions) -> None:
    with network.network(context) as made:
        made.named(parse(url).place)
        with made.http.send("GET", url) as answer:
            click.echo(answer.read(1000))


program.add_command(fetch)


def run(tmp_path: Path, *arguments: str) -> str:
    """What the command prints. Raises what it raises."""
    environment = {"SLMCTL_HOME": str(tmp_path), "SSL_CERT_FILE": None, "SSL_CERT_DIR": None, "REQUESTS_CA_BUNDLE": None,
                   "CURL_CA_BUNDLE": None}  # fmt: skip
    done = CliRunner().invoke(program, ["fetch", *arguments], env=environment, standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    return done.output.strip()


def test_a_private_authority(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with serve(
        lambda _request, wire: wire.send(reply(200, b"hello")),
        tls=authority.server("localhost"),
        shown_host="localhost",
    ) as server:
        with pytest.raises(Unreachable, match="not trusted"):
            run(tmp_path, server.url)
        assert run(tmp_path, server.url, "--ca", str(authority.pem)) == "hello"
        with pytest.raises(UsageError, match="that --ca names does not exist"):
            run(tmp_path, server.url, "--ca", str(tmp_path / "none.pem"))


def test_offline(tmp_path: Path) -> None:
    with serve(lambda _request, wire: wire.send(reply(200))) as server:
        with pytest.raises(SlmctlError, match="because --offline was given"):
            run(tmp_path, server.url, "--offline")
        assert server.connections == 0


def test_plain_http(tmp_path: Path) -> None:
    """The name resolves to nothing: it is refused before that, or asked."""
    with pytest.raises(Unreachable, match="it would not be encrypted"):
        run(tmp_path, "http://nosuch.invalid/")
    with pytest.raises(Unreachable, match=r"nosuch\.invalid could not be reached"):
        run(tmp_path, "http://nosuch.invalid/", "--plain-http")


def test_help_says_what_they_are(tmp_path: Path) -> None:
    text = run(tmp_path, "--help")
    for option in ("--ca FILE", "--offline", "--plain-http"):
        assert option in text
