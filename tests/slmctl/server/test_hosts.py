"""By which names the server may be called, from which pages, and whom it believes."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.datastructures import Headers

from registry.errors import SlmctlError, UsageError
from slmctl.serve_settings import ServeSettings
from slmctl.server.hosts import Hosts, Peer, check_bind, is_loopback
from slmctl.server.problems import Forbidden, Problem

HERE = ("192.0.2.7", 11434)


def scope(
    host: str | list[str] | None,
    *,
    server: tuple[str, int] | None = ("127.0.0.1", 11434),
    client: tuple[str, int] | None = ("127.0.0.1", 5000),
    **headers: str,
) -> dict[str, Any]:
    hosts = [] if host is None else [host] if isinstance(host, str) else host
    raw = [(b"host", each.encode("latin-1")) for each in hosts]
    raw += [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "scheme": "http", "headers": raw, "server": server, "client": client}


def status(asked: dict[str, Any], **serve: Any) -> int:
    return of(asked, **serve)[0]


def of(asked: dict[str, Any], **serve: Any) -> tuple[int, Peer | None]:
    try:
        peer = Hosts(ServeSettings(**serve)).check_host(asked, Headers(scope=asked))
    except SlmctlError as error:
        return Problem.of(error).status, None
    return 200, peer


@pytest.mark.parametrize("bound", ["127.0.0.1", "0.0.0.0", "::", "", "192.0.2.7", "box.example"])
@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:11434", "LOCALHOST", "localhost.", "127.0.0.1", "127.0.0.1:1", "127.8.9.10", "[::1]", "[::1]:11434", "[0:0:0:0:0:0:0:1]", "192.0.2.7", "192.0.2.7:80"],
)  # fmt: skip
def test_its_own_names(host: str, bound: str) -> None:
    assert status(scope(host, server=HERE), host=bound) == 200


@pytest.mark.parametrize("bound", ["127.0.0.1", "0.0.0.0", "::", "", "192.0.2.7", "box.example"])
@pytest.mark.parametrize(
    "host",
    [
        *("evil.com", "evil.com:11434", "localhost.evil.com", "127.0.0.1.nip.io", "localhost.evil.com:80"),
        *("xlocalhost", "my.localhost", "0.0.0.0", "0", "2130706433", "0x7f000001", "0177.0.0.1", "127.1"),
        *("192.0.2.8", "192.0.2.70", "[::]", "[2001:db8::1]", "[::ffff:192.0.2.8]", "box.local", "host.docker.internal"),
    ],
)  # fmt: skip
def test_names_of_strangers_also_where_all_addresses_are_listened_at(host: str, bound: str) -> None:
    assert status(scope(host, server=HERE), host=bound) == 403


@pytest.mark.parametrize(
    "host",
    [None, [], ["localhost", "localhost"], ["localhost", "evil.com"], "", " ", "localhost evil.com", "localhost,evil.com", "localhost/v1?", "localhost@evil.com", "evil.com@localhost", "localhost#evil", "localhost:", "localhost:x", "localhost:99999", "localhost:-1", "localhost\\evil", "[::1", "::1", "[::1]x", "[localhost]", "http://localhost", "lo\x00calhost", "localhost\x7f", "l\xf6calhost", "x" * 300 + "é", "..", "localhost..", ".localhost"],
    ids=repr,
)  # fmt: skip
def test_what_is_no_name_of_a_host(host: str | list[str] | None) -> None:
    assert status(scope(host)) in {400, 403}
    assert status(scope(host), allowed_hosts=("*",)) == 400 or host in {"..", "[localhost]"}


def test_the_refusal_says_how_to_allow_it() -> None:
    with pytest.raises(Forbidden) as caught:
        Hosts(ServeSettings()).check_host(scope("box.example:80"), Headers())
    assert "--allowed-host box.example" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("allowed", "host", "expected"),
    [
        ("box.example", "box.example", 200),
        ("Box.Example", "BOX.example.:443", 200),
        ("box.example", "a.box.example", 403),
        ("box.example", "xbox.example", 403),
        ("*.example.org", "a.example.org", 200),
        ("*.example.org", "a.b.example.org", 200),
        ("*.example.org", "example.org", 403),
        ("*.example.org", "evilexample.org", 403),
        ("*.example.org", "a.example.org.evil.com", 403),
        ("192.0.2.8", "192.0.2.8:1", 200),
        ("[2001:db8::1]", "[2001:DB8::1]", 200),
        ("*", "anything.at.all", 200),
    ],
)
def test_names_that_are_allowed(allowed: str, host: str, expected: int) -> None:
    assert status(scope(host), allowed_hosts=(allowed,)) == expected


# Proxies


def test_what_a_proxy_says_counts_only_from_those_that_are_trusted() -> None:
    said: dict[str, Any] = {
        "x_forwarded_host": "box.example",
        "x_forwarded_proto": "https",
        "x_forwarded_for": "198.51.100.9, 203.0.113.5, 10.0.0.2",
    }
    allowed = {"allowed_hosts": ("box.example",)}
    asked = scope("localhost", client=("10.0.0.1", 1), **said)
    assert of(asked, **allowed) == (200, Peer(scheme="http", host="localhost", port=80, client="10.0.0.1"))
    assert of(asked, trusted_proxies=("10.0.0.0/8",), **allowed) == (
        200,
        Peer(scheme="https", host="box.example", port=443, client="203.0.113.5"),
    )
    assert of(asked, trusted_proxies=("10.0.0.0/8",)) == (403, None)
    on_socket = scope("localhost", client=None, server=None, **said)
    assert of(on_socket, **allowed)[1] == Peer(scheme="http", host="localhost", port=80, client=None)
    assert of(on_socket, trusted_proxies=("unix",), **allowed)[1] == Peer(
        scheme="https", host="box.example", port=443, client="10.0.0.2"
    )


def test_a_stranger_cannot_name_himself_a_host_by_a_proxys_header() -> None:
    assert status(scope("evil.com", x_forwarded_host="localhost")) == 403
    assert status(scope("evil.com", x_forwarded_host="localhost", client=("192.0.2.9", 1)), trusted_proxies=("192.0.2.1",)) == 403  # fmt: skip


@pytest.mark.parametrize("proto", ["ftp", "javascript", "", "https\t"])
def test_a_scheme_that_there_is_not(proto: str) -> None:
    asked = scope("localhost", x_forwarded_proto=proto)
    assert status(asked, trusted_proxies=("127.0.0.1",)) == (200 if proto.strip() == "https" else 400)


@pytest.mark.parametrize("proxy", ["nginx", "10.0.0.0/33", "", "*", "300.1.1.1"])
def test_what_is_no_proxy(proxy: str) -> None:
    with pytest.raises(UsageError):
        Hosts(ServeSettings(trusted_proxies=(proxy,)))


# Pages

LOCAL = Peer(scheme="http", host="localhost", port=11434, client=None)


def origin(value: str | None, method: str = "POST", peer: Peer = LOCAL, **serve: Any) -> str | int | None:
    """The origin that may read the answer, None for none, or the status of the refusal."""
    headers = Headers({} if value is None else {"origin": value})
    try:
        return Hosts(ServeSettings(**serve)).check_origin(method, headers, peer)
    except SlmctlError as error:
        return Problem.of(error).status


@pytest.mark.parametrize(
    "value",
    ["http://evil.com", "https://evil.com", "null", "", "http://localhost", "https://localhost:11434", "http://localhost:3000", "http://127.0.0.1:11434", "http://localhost:11434.evil.com", "http://localhost:11434@evil.com", "http://evil.com/http://localhost:11434", "file://", "chrome-extension://abc", "http://localhost:11434, http://evil.com"],
)  # fmt: skip
def test_pages_of_others_change_nothing(value: str) -> None:
    for method in ("POST", "DELETE", "PUT", "PATCH", "FOO"):
        assert origin(value, method) == 403
    for method in ("GET", "HEAD"):
        assert origin(value, method) is None, "they may ask, and cannot read the answer"


def test_pages_of_its_own() -> None:
    assert origin(None) is None
    assert origin("http://localhost:11434") is None
    assert origin("http://LOCALHOST:11434") is None
    assert (
        origin("https://box.example", peer=Peer(scheme="https", host="box.example", port=443, client=None))
        is None
    )
    assert (
        origin("http://box.example", peer=Peer(scheme="https", host="box.example", port=443, client=None))
        == 403
    )


@pytest.mark.parametrize(
    ("allowed", "value", "expected"),
    [
        ("https://app.example", "https://app.example", "https://app.example"),
        ("https://app.example/", "https://APP.example", "https://APP.example"),
        ("https://app.example", "http://app.example", 403),
        ("https://app.example", "https://app.example:8443", 403),
        ("https://app.example", "https://app.example.evil.com", 403),
        ("https://*.example", "https://a.example", "https://a.example"),
        ("https://*.example", "https://.example", 403),
        ("https://*.example", "https://a.example.evil", 403),
        ("http://localhost:*", "http://localhost:3000", "http://localhost:3000"),
        ("*", "https://any.thing", "https://any.thing"),
        ("*", "null", "null"),
        ("*", "https://a\x7fb", 403),
        ("app://*", "app://obsidian.md", "app://obsidian.md"),
    ],
)
def test_origins_that_are_allowed(allowed: str, value: str, expected: str | int) -> None:
    assert origin(value, allowed_origins=(allowed,)) == expected


def test_a_browser_that_says_cross_site_without_an_origin() -> None:
    hosts = Hosts(ServeSettings())
    with pytest.raises(Forbidden):
        hosts.check_origin("POST", Headers({"sec-fetch-site": "cross-site"}), LOCAL)
    assert hosts.check_origin("GET", Headers({"sec-fetch-site": "cross-site"}), LOCAL) is None
    assert hosts.check_origin("POST", Headers({"sec-fetch-site": "same-origin"}), LOCAL) is None


# Doors


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("[::1]", True), ("localhost", True), ("LocalHost.", True), ("0.0.0.0", False), ("::", False), ("", False), ("192.0.2.7", False), ("localhost.evil.com", False), ("box", False)],
)  # fmt: skip
def test_a_door_to_the_network_needs_a_key(host: str, loopback: bool) -> None:
    serve = ServeSettings(host=host)
    assert is_loopback(host) is loopback
    assert check_bind(serve, has_keys=True, forced=False) is False
    assert check_bind(ServeSettings(host=host, tcp=False), has_keys=False, forced=False) is False
    assert check_bind(serve, has_keys=False, forced=True) is not loopback
    if loopback:
        assert check_bind(serve, has_keys=False, forced=False) is False
    else:
        with pytest.raises(UsageError) as caught:
            check_bind(serve, has_keys=False, forced=False)
        assert "slmctl key add" in (caught.value.hint or "")
