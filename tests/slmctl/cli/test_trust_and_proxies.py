"""The whole program over TLS and through proxies: what it says, and how it exits."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.certificates import Authority
from tests.fakes.proxy import Proxy, tinyproxy
from tests.fakes.wire import Request, Server, Wire, reply, serve
from tests.slmctl.cli.program import Outcome, Program

VARIABLES = ["SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SLMCTL_CA"]


def registry(request: Request, wire: Wire) -> None:
    """As much of one as `slmctl tags` asks for."""
    body = (
        json.dumps({"name": "t/m", "tags": ["v1", "v2"]}).encode()
        if request.path == "/v2/t/m/tags/list"
        else b"{}"
    )
    status = 200 if request.path in {"/v2/", "/v2/t/m/tags/list"} else 404
    wire.send(reply(status, body, {"Content-Type": "application/json"}))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def server(authority: Authority) -> Iterator[Server]:
    with serve(registry, tls=authority.server("localhost"), shown_host="localhost") as made:
        yield made


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with tinyproxy(tmp_path_factory.mktemp("proxy"), password=("me", "canary")) as running:
        yield running


def tags(slmctl: Program, place: str, *options: str, **environment: str) -> Outcome:
    outcome = slmctl(
        "tags",
        f"oci://{place}/t/m",
        *options,
        environment={"SLMCTL_OFFLINE": "", "SLMCTL_CONNECT_TIMEOUT": "60", **environment},
    )
    assert "canary" not in outcome.out + outcome.err
    return outcome


@pytest.mark.parametrize("variable", VARIABLES)
def test_a_private_authority_through_each_variable(
    variable: str, slmctl: Program, authority: Authority, server: Server
) -> None:
    place = authority.pem.parent if variable == "SSL_CERT_DIR" else authority.pem
    outcome = tags(slmctl, server.place, **{variable: str(place)})
    assert (outcome.err, outcome.code) == ("", 0)
    assert "v2" in outcome.out


def test_a_private_authority_through_the_option(
    slmctl: Program, authority: Authority, server: Server
) -> None:
    assert tags(slmctl, server.place, "--ca", str(authority.pem)).code == 0


def test_an_authority_that_nobody_named(slmctl: Program, server: Server) -> None:
    outcome = tags(slmctl, server.place)
    assert outcome.code == 6
    assert f"The certificate of {server.place} is not trusted" in outcome.err
    assert "the operating system's store" in outcome.err
    assert "--ca FILE" in outcome.hint
    assert server.requests == []


def test_a_name_that_the_certificate_does_not_have(slmctl: Program, authority: Authority) -> None:
    with serve(registry, tls=authority.server("elsewhere.example"), shown_host="localhost") as server:
        outcome = tags(slmctl, server.place, "--ca", str(authority.pem))
    assert outcome.code == 6
    assert "mismatch" in outcome.err
    assert f"--ca {authority.pem}" in outcome.err
    assert server.requests == []


def test_a_file_without_certificates(slmctl: Program, server: Server, tmp_path: Path) -> None:
    outcome = tags(slmctl, server.place, "--ca", str(tmp_path / "none.pem"))
    assert outcome.code == 2
    assert "that --ca names does not exist" in outcome.err


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
def test_a_proxy_with_a_password(
    variable: str, slmctl: Program, authority: Authority, server: Server, proxy: Proxy
) -> None:
    url = f"http://me:canary@{proxy.place}"
    outcome = tags(slmctl, server.place, SSL_CERT_FILE=str(authority.pem), **{variable: url})
    assert (outcome.err, outcome.code) == ("", 0)
    assert proxy.said(f"CONNECT {server.place}")
    assert server.requests


def test_a_proxy_that_refuses(slmctl: Program, authority: Authority, server: Server, proxy: Proxy) -> None:
    for given in ("", "me:canary-but-wrong@"):
        outcome = tags(
            slmctl, server.place, SSL_CERT_FILE=str(authority.pem), HTTPS_PROXY=f"http://{given}{proxy.place}"
        )
        assert outcome.code == 7
        assert f"The proxy http://{proxy.place} refuses" in outcome.err
        assert server.place in outcome.err
        assert "HTTPS_PROXY" in outcome.hint
    assert server.requests == []


def test_a_proxy_that_is_not_there_and_a_host_that_needs_none(
    slmctl: Program, authority: Authority, server: Server
) -> None:
    nobody = {"SSL_CERT_FILE": str(authority.pem), "HTTPS_PROXY": "http://me:canary@127.0.0.1:9"}
    outcome = tags(slmctl, server.place, **nobody)
    assert outcome.code == 6
    assert "The proxy http://127.0.0.1:9" in outcome.err
    assert tags(slmctl, server.place, **nobody, NO_PROXY="localhost").code == 0


def test_offline(slmctl: Program, authority: Authority, server: Server) -> None:
    for options, environment in ((["--offline"], {}), ([], {"SLMCTL_OFFLINE": "1"})):
        outcome = tags(slmctl, server.place, *options, SSL_CERT_FILE=str(authority.pem), **environment)
        assert outcome.code == 6
        assert "offline" in outcome.err
    assert server.connections == 0
