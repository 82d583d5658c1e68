"""Proxies: which one is asked, with which password, and that nobody else hears the password."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from registry.errors import SlmctlError, Unauthorized, Unreachable, UsageError
from registry.remotes.base import TryAgain
from registry.remotes.http import HttpClient, HttpSettings
from registry.remotes.mishaps import NotReached
from registry.remotes.network import CaPlace, is_excepted, parse_proxy, proxy_for
from registry.remotes.urls import parse
from slmctl.app.network import Network
from slmctl.config import Settings
from tests.fakes.certificates import Authority
from tests.fakes.proxy import Proxy, tinyproxy
from tests.fakes.wire import Request, Server, Wire, reply, serve

PASSWORD = ("me", "canary")
CANARIES = ["canary", "bWU6Y2FuYXJ5"]


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with tinyproxy(tmp_path_factory.mktemp("open")) as running:
        yield running


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with tinyproxy(tmp_path_factory.mktemp("guarded"), password=PASSWORD) as running:
        yield running


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


def hello(_request: Request, wire: Wire) -> None:
    wire.send(reply(200, b"hello"))


@pytest.fixture
def plain() -> Iterator[Server]:
    with serve(hello) as made:
        yield made


@pytest.fixture
def encrypted(authority: Authority) -> Iterator[Server]:
    with serve(hello, tls=authority.server("localhost"), shown_host="localhost") as made:
        yield made


def ask(environment: dict[str, str], url: str, authority: Authority, **sent: str) -> bytes:
    """With the settings that a command makes of the environment."""
    settings = Settings.load({"HOME": "/nonexistent", "SSL_CERT_FILE": str(authority.pem), **environment})
    with (
        Network(settings.network) as network,
        network.http.send("GET", url, authorization=sent.get("authorization")) as answer,
    ):
        return answer.read(100)


# --- a real one


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])
def test_http_through_a_proxy(variable: str, proxy: Proxy, plain: Server, authority: Authority) -> None:
    assert ask({variable: f"http://{proxy.place}"}, plain.url, authority) == b"hello"
    assert "tinyproxy" in plain.requests[0].headers["via"]


@pytest.mark.parametrize("variable", ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"])
def test_https_through_a_proxy(variable: str, proxy: Proxy, encrypted: Server, authority: Authority) -> None:
    """In a tunnel: the proxy sees neither the request nor the credentials, and trust is with the server."""
    environment = {variable: proxy.place, f"{'http' if 'ttp' in variable else 'x'}_proxy": ""}
    assert ask(environment, encrypted.url, authority, authorization="Bearer canary") == b"hello"
    assert proxy.said(f"CONNECT {encrypted.place}")
    assert not proxy.said("canary")
    assert encrypted.requests[0].headers["authorization"] == "Bearer canary"
    with pytest.raises(Unreachable, match=rf"through the proxy http://{proxy.place}\) is not trusted"):
        ask({**environment, "SSL_CERT_FILE": ""}, encrypted.url, authority)


def test_a_proxy_with_a_password(
    guarded: Proxy, plain: Server, encrypted: Server, authority: Authority
) -> None:
    with_password = f"http://{PASSWORD[0]}:{PASSWORD[1]}@{guarded.place}"
    for server in (plain, encrypted):
        assert ask({"ALL_PROXY": with_password}, server.url, authority) == b"hello"
        head = server.requests[0].raw_head.decode()
        assert not any(canary in head for canary in CANARIES)


@pytest.mark.parametrize("given", ["", "me:canary-but-wrong@"])
def test_a_proxy_that_refuses(
    given: str, guarded: Proxy, plain: Server, encrypted: Server, authority: Authority
) -> None:
    for server in (plain, encrypted):
        with pytest.raises(Unauthorized) as caught:
            ask({"ALL_PROXY": f"http://{given}{guarded.place}"}, server.url, authority)
        error = caught.value
        assert error.message.startswith(f"The proxy http://{guarded.place} refuses ")
        assert server.place in error.message
        assert "canary" not in f"{error!r}{error.hint}"
        assert server.requests == []


@pytest.mark.parametrize("variable", ["no_proxy", "NO_PROXY"])
def test_a_host_that_is_excepted(
    variable: str, plain: Server, encrypted: Server, authority: Authority
) -> None:
    nobody = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    for server in (plain, encrypted):
        assert ask({**nobody, variable: "localhost,127.0.0.1"}, server.url, authority) == b"hello"
        assert "via" not in server.requests[0].headers


def test_a_server_that_the_proxy_cannot_reach(proxy: Proxy, authority: Authority) -> None:
    with serve(hello) as gone:
        pass
    with pytest.raises(
        NotReached,
        match=rf"localhost:{gone.port} could not be reached: the proxy http://{proxy.place} answered 5",
    ):
        ask({"https_proxy": proxy.place}, f"https://localhost:{gone.port}/", authority)


def test_redirects_go_through_it_too(proxy: Proxy, plain: Server, authority: Authority) -> None:
    """And not over the connection that the first request had, which tinyproxy would hand to its server."""
    with serve(lambda _request, wire: wire.send(reply(302, b"", {"Location": f"{plain.url}/x"}))) as first:
        assert (
            ask({"http_proxy": proxy.place}, first.url, authority, authorization="Bearer canary") == b"hello"
        )
        assert len(first.requests) == 1
    assert "via" in plain.requests[0].headers
    assert "authorization" not in plain.requests[0].headers


def test_no_server_gets_what_is_for_another_behind_the_same_proxy(
    proxy: Proxy, plain: Server, authority: Authority
) -> None:
    with serve(hello) as other:
        settings = HttpSettings(proxies={"http": proxy.place})
        with HttpClient(settings) as client:
            for server, secret in ((plain, "Bearer mine"), (other, "Bearer yours"), (plain, "Bearer mine")):
                with client.send("GET", server.url, authorization=secret) as answer:
                    assert answer.read(10) == b"hello"
        assert {request.headers["authorization"] for request in plain.requests} == {"Bearer mine"}
        assert {request.headers["authorization"] for request in other.requests} == {"Bearer yours"}


# --- scripted ones


def test_a_proxy_that_is_not_there(plain: Server, encrypted: Server, authority: Authority) -> None:
    with serve(hello) as gone:
        pass
    for server in (plain, encrypted):
        with pytest.raises(NotReached) as caught:
            ask({"ALL_PROXY": f"http://me:canary@{gone.place}"}, server.url, authority)
        assert caught.value.message == (
            f"The proxy http://{gone.place} for {server.place} could not be reached: it refused the connection."
        )


def test_a_proxy_whose_name_nobody_knows(authority: Authority) -> None:
    with pytest.raises(
        NotReached, match=r"^The proxy http://nosuch\.invalid:3128 for registry\.example could not be"
    ):
        ask({"https_proxy": "http://me:canary@nosuch.invalid:3128"}, "https://registry.example/", authority)


@pytest.mark.parametrize(
    "said", [b"", b"HTTP/1.0 200 OK\r\n", b"HTTP/1.0 200 OK\r\n\r\n", b"HTTP/1.0 407 No\r\n", b"nonsense\r\n"]
)
@pytest.mark.parametrize("end", ["hang", "close", "reset"])
@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # ssl leaves a socket that is reset
def test_a_proxy_that_says_strange_things(said: bytes, end: str) -> None:
    def script(_request: Request, wire: Wire) -> None:
        wire.send(said)
        getattr(wire, end)()

    with serve(script) as strange:
        settings = HttpSettings(
            proxies={"https": f"http://me:canary@{strange.place}"}, stall_timeout=0.3, connect_timeout=0.3
        )
        with HttpClient(settings) as client, pytest.raises(SlmctlError) as caught:
            client.send("GET", "https://registry.example/", authorization="Bearer canary")
    assert not any(canary in f"{caught.value!r}{caught.value.hint}" for canary in CANARIES)
    assert strange.place in caught.value.message
    assert strange.requests[0].method == "CONNECT"
    assert strange.requests[0].target == "registry.example:443"
    assert strange.requests[0].headers["proxy-authorization"] == "Basic bWU6Y2FuYXJ5"
    assert "canary" not in strange.requests[0].raw_head.decode()


def test_heads_without_end_from_a_proxy() -> None:
    def script(_request: Request, wire: Wire) -> None:
        wire.send(b"HTTP/1.0 200 OK\r\n")
        while wire.open:
            wire.send(b"X: y\r\n" * 1000)

    with serve(script) as endless, HttpClient(HttpSettings(proxies={"https": endless.url})) as client:
        with pytest.raises(Unreachable) as caught:
            client.send("GET", "https://registry.example/")
        assert not isinstance(caught.value, TryAgain)


def test_a_proxy_that_is_asked_with_encryption(authority: Authority) -> None:
    with serve(hello, tls=authority.server("localhost"), shown_host="localhost") as proxy:
        settings = HttpSettings(
            proxies={"http": f"https://me:canary@{proxy.place}"},
            ca=(CaPlace(named_by="--ca", path=authority.pem),),
            plain_http=frozenset({"registry.example"}),
        )
        with HttpClient(settings) as client, client.send("GET", "http://registry.example/x?y") as answer:
            assert answer.read(10) == b"hello"
        request = proxy.requests[0]
        assert request.target == "http://registry.example/x?y"
        assert request.headers["host"] == "registry.example"
        assert request.headers["proxy-authorization"] == "Basic bWU6Y2FuYXJ5"
        with (
            HttpClient(replace(settings, ca=())) as client,
            pytest.raises(
                Unreachable, match=rf"^The certificate of the proxy https://{proxy.place} for registry"
            ),
        ):
            client.send("GET", "http://registry.example/")


@pytest.mark.parametrize(
    "location",
    ["http://127.0.0.1/", "http://169.254.169.254/latest", "http://10.0.0.1/", "http://localhost/", "https://intranet/",
     "https://[::ffff:127.0.0.1]/", "https://metadata.google.internal/", "https://db.internal:5432/"],
)  # fmt: skip
def test_what_a_proxy_would_resolve_is_judged_by_its_name(location: str) -> None:
    """A public server may not use the proxy to look into the network behind it."""
    with serve(lambda _request, wire: wire.send(reply(302, b"", {"Location": location}))) as proxy:
        settings = HttpSettings(
            proxies={"all": proxy.url},
            plain_http=frozenset(
                {"registry.example", "127.0.0.1", "169.254.169.254", "10.0.0.1", "localhost"}
            ),
        )
        with HttpClient(settings) as client, pytest.raises(Unreachable, match="not followed"):
            client.send("GET", "http://registry.example/")
        assert [request.target for request in proxy.requests] == ["http://registry.example/"]
        named = replace(settings, named_hosts=frozenset({parse(location).place}))
        with HttpClient(named) as client, pytest.raises(Unreachable):
            client.send("GET", "http://registry.example/")
        assert len(proxy.requests) > 2  # it was asked for that, too, and sent us in a circle


def test_a_password_is_in_nothing_that_is_shown() -> None:
    text = "http://me:canary@proxy.example:3128"
    settings = HttpSettings(proxies={"http": text})
    shown = f"{settings!r}{parse_proxy(text)!r}{parse_proxy(text).shown}"
    loaded = Settings.load({"HOME": "/nonexistent", "HTTP_PROXY": text, "HF_TOKEN": "canary"})
    shown += f"{loaded!r}{loaded.network!r}{Network(loaded.network).http_settings()!r}"
    assert not any(canary in shown for canary in CANARIES)
    assert "http://***@proxy.example:3128" in shown


# --- which one: tables


@pytest.mark.parametrize(
    ("text", "url", "authorization"),
    [
        ("http://proxy:3128", "http://proxy:3128/", None), ("proxy:3128", "http://proxy:3128/", None), ("proxy", "http://proxy:1080/", None),
        ("https://proxy", "https://proxy/", None), (" HTTP://Proxy:80/ ", "http://proxy/", None), ("[::1]:3128", "http://[::1]:3128/", None),
        ("http://me:p@proxy:1", "http://proxy:1/", "Basic bWU6cA=="), ("http://me@proxy:1", "http://proxy:1/", "Basic bWU6"),
        ("http://m%65:%70@proxy:1/x", "http://proxy:1/", "Basic bWU6cA=="), ("u:ü@proxy:1", "http://proxy:1/", "Basic dTrDvA=="),
    ],
)  # fmt: skip
def test_what_a_proxy_variable_says(text: str, url: str, authorization: str | None) -> None:
    proxy = parse_proxy(text)
    assert (str(proxy.url), proxy.authorization) == (url, authorization)


@pytest.mark.parametrize(
    "text",
    ["socks5://proxy:1080", "socks5h://me:canary@proxy", "ftp://proxy", "http://", "http://me:canary@", "http://proxy:port", "http://me:canary@pro xy:1",
     "http://proxy:99999", "http://me:canary@-bad-:1"],
)  # fmt: skip
def test_what_is_no_proxy(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_proxy(text)
    assert "canary" not in f"{caught.value!r}{caught.value.hint}"
    with pytest.raises(UsageError, match=r"^The variable HTTP_PROXY has a bad value: ") as named:
        _ = Settings.load({"HOME": "/nonexistent", "HTTP_PROXY": text}).network
    assert "canary" not in f"{named.value!r}{named.value.hint}"


@pytest.mark.parametrize(
    ("no_proxy", "excepted", "asked"),
    [
        ("", [], ["http://a.example/"]), ("*", ["http://a.example/", "http://127.0.0.1/"], []),
        ("example", ["http://example/", "http://a.example/", "https://b.a.example:5000/"], ["http://myexample/", "http://example.org/"]),
        (".example", ["http://example/", "http://a.example/"], ["http://aexample/"]), ("*.example", ["http://a.example/"], []),
        ("A.Example", ["http://a.example/"], ["http://b.example/"]), ("a.example:5000", ["http://a.example:5000/"], ["http://a.example/"]),
        ("a , b\tc,,", ["http://a/", "http://b/", "http://c/"], ["http://d/"]),
        ("10.0.0.0/8", ["http://10.1.2.3/"], ["http://11.0.0.1/", "http://10.example/"]), ("10.0.0.1", ["http://10.0.0.1/"], ["http://10.0.0.2/"]),
        ("10.0.0.1:80", ["http://10.0.0.1/"], ["http://10.0.0.1:81/"]), ("[::1]:80", ["http://[::1]/"], ["http://[::1]:81/"]),
        ("::1", ["http://[::1]/"], ["http://[::2]/"]), ("fd00::/8", ["http://[fd12::1]/"], ["http://[fe80::1]/"]),
        ("1.1", [], ["http://127.0.0.1/", "http://10.0.1.1/"]), ("nonsense/99", [], ["http://10.0.0.1/", "http://a/"]), (".", [], ["http://a/"]),
    ],
)  # fmt: skip
def test_which_hosts_are_excepted(no_proxy: str, excepted: list[str], asked: list[str]) -> None:
    assert [url for url in excepted + asked if is_excepted(parse(url), no_proxy)] == excepted


@pytest.mark.parametrize(
    ("url", "proxies", "which"),
    [
        ("http://a.example/", {"http": "p1", "https": "p2"}, "p1"), ("https://a.example/", {"http": "p1", "https": "p2"}, "p2"),
        ("https://a.example/", {"http": "p1"}, None), ("https://a.example/", {"http": "p1", "all": "p3"}, "p3"),
        ("http://a.example/", {"http": "p1", "all": "p3"}, "p1"), ("http://a.example/", {}, None),
        # this machine itself, through a proxy elsewhere and through one on this machine
        ("http://localhost:5000/", {"http": "p1"}, None), ("http://127.0.0.1:5000/", {"all": "p1"}, None), ("https://[::1]/", {"https": "p1"}, None),
        ("http://localhost:5000/", {"http": "localhost:3128"}, "localhost"), ("https://127.1.2.3/", {"https": "[::1]:3128"}, "::1"),
        ("http://10.0.0.1/", {"http": "p1"}, "p1"),
    ],
)  # fmt: skip
def test_which_proxy_is_asked(url: str, proxies: dict[str, str], which: str | None) -> None:
    found = proxy_for(parse(url), HttpSettings(proxies=proxies))
    assert (found.url.host if found else None) == which


def test_lower_case_counts_before_upper_case() -> None:
    """As in curl, and in requests."""
    settings = Settings.load(
        {"HOME": "/nonexistent", "HTTP_PROXY": "http://upper:1", "http_proxy": "http://lower:1"}
    )
    assert settings.network.proxies == {"http": "http://lower:1"}
