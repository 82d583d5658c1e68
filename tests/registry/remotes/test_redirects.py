"""Where a server may send us: serving.md section 6 row 6, and the redirect rows of section 5C.

A resolver of the test gives names addresses of this machine, and says of some that they lie elsewhere.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from registry.errors import Unreachable
from registry.remotes.addresses import Address, Scope, scope_of
from registry.remotes.base import TryAgain
from registry.remotes.http import HttpClient, HttpSettings
from tests.fakes.wire import Request, Script, Server, Wire, reply, serve

BASE = HttpSettings(connect_timeout=2.0, stall_timeout=1.0)
CANARY = "Bearer canary"

HOSTS = {
    "public.example": "127.0.0.2",
    "other.example": "127.0.0.3",
    "private.example": "127.0.0.4",
    "metadata.example": "127.0.0.5",
    "loop.example": "127.0.0.1",
}
LIES = {
    "127.0.0.2": Scope.PUBLIC,
    "127.0.0.3": Scope.PUBLIC,
    "127.0.0.4": Scope.PRIVATE,
    "127.0.0.5": Scope.LINK_LOCAL,
}


def scope(address: Address) -> Scope:
    return LIES.get(str(address), scope_of(address))


def resolve(host: str, port: int) -> list[tuple[int, tuple[Any, ...]]]:
    return [(socket.AF_INET, (HOSTS.get(host, host), port))]


class World:
    """A server for each name, and a client that may speak plain HTTP with all of them."""

    def __init__(self, servers: Mapping[str, Server]) -> None:
        self.servers = servers
        self.settings = replace(BASE, plain_http=frozenset(server.place for server in servers.values()))

    def client(self, *named: str) -> HttpClient:
        """One to which the user named these hosts."""
        places = frozenset(self.servers[name].place for name in named)
        return HttpClient(replace(self.settings, named_hosts=places), resolve=resolve, scope_of=scope)

    def url(self, name: str, path: str = "/") -> str:
        return f"{self.servers[name].url}{path}"

    def requests(self, name: str) -> list[Request]:
        return self.servers[name].requests


@contextmanager
def world(scripts: Mapping[str, Script]) -> Iterator[World]:
    with ExitStack() as stack:
        yield World(
            {
                name: stack.enter_context(serve(script, host=HOSTS[name], shown_host=name))
                for name, script in scripts.items()
            }
        )


def here(_request: Request, wire: Wire) -> None:
    wire.send(reply(200, b"here"))


def to(location: str, status: int = 307) -> Script:
    return lambda _request, wire: wire.send(reply(status, b"moved", {"Location": location}))


@contextmanager
def sent_from(source: str, target: str, status: int = 307, path: str = "/x") -> Iterator[World]:
    """`source` redirects to `target`, where an answer is."""
    place: list[str] = []

    def redirect(_request: Request, wire: Wire) -> None:
        wire.send(reply(status, b"", {"Location": f"{place[0]}{path}"}))

    with world({source: redirect, target: here}) as made:
        place.append(made.servers[target].url)
        yield made


# --- how many, and where to


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_followed(status: int) -> None:
    with (
        sent_from("public.example", "other.example", status) as made,
        made.client() as client,
        client.send("GET", made.url("public.example", "/a")) as answer,
    ):
        assert answer.read(10) == b"here"
        assert answer.url == made.url("other.example", "/x")
        assert answer.redirects == (made.url("public.example", "/a"),)
        assert answer.scope is Scope.PUBLIC


@pytest.mark.parametrize("status", [300, 304, 305, 306])
def test_others_are_not_redirects(status: int) -> None:
    with (
        world({"public.example": to("/x", status)}) as made,
        made.client() as client,
        client.send("GET", made.url("public.example")) as answer,
    ):
        assert answer.status == status


def test_a_redirect_is_an_answer_to_those_who_do_not_follow() -> None:
    with world({"public.example": to("/x")}) as made, made.client() as client:
        with client.send("GET", made.url("public.example"), follow=False) as answer:
            assert (answer.status, answer.headers["location"]) == (307, "/x")
        assert len(made.requests("public.example")) == 1


@pytest.mark.parametrize(
    ("location", "target"),
    [("/b", "/b"), ("b?c=d", "/v2/b?c=d"), ("../b", "/b"), ("?x", "/v2/a?x"), ("./b#part", "/v2/b")],
)
def test_a_relative_location(location: str, target: str) -> None:
    def script(request: Request, wire: Wire) -> None:
        (to(location) if request.target == "/v2/a" else here)(request, wire)

    with world({"public.example": script}) as made, made.client() as client:
        with client.send("GET", made.url("public.example", "/v2/a")) as answer:
            assert answer.read(10) == b"here"
        assert made.requests("public.example")[1].target == target


def numbered(ends_at: int) -> Script:
    """/0 leads to /1, that to /2, ..."""

    def script(request: Request, wire: Wire) -> None:
        number = int(request.path[1:])
        (here if number == ends_at else to(f"/{number + 1}"))(request, wire)

    return script


def test_five_redirects_are_followed_and_no_more() -> None:
    with world({"public.example": numbered(5)}) as made, made.client() as client:
        with client.send("GET", made.url("public.example", "/0")) as answer:
            assert answer.read(10) == b"here"
        assert len(answer.redirects) == 5
    for ends_at in (6, 30):
        with world({"public.example": numbered(ends_at)}) as made, made.client() as client:
            with pytest.raises(Unreachable, match="only 5 redirects"):
                client.send("GET", made.url("public.example", "/0"))
            assert len(made.requests("public.example")) == 6


@pytest.mark.parametrize("location", ["/a", "", "#x", "/b"])
def test_a_circle_is_found(location: str) -> None:
    def script(request: Request, wire: Wire) -> None:
        (to(location) if request.path == "/a" else to("/a"))(request, wire)

    with world({"public.example": script}) as made, made.client() as client:
        with pytest.raises(Unreachable, match="circle"):
            client.send("GET", made.url("public.example", "/a"))
        assert len(made.requests("public.example")) <= 2


@pytest.mark.parametrize(
    "location",
    [
        "file:///etc/passwd", "ftp://other.example/x", "gopher://other.example/", "data:,x", "javascript:x", "http+unix://x/",
        "http://trusted\\@other.example/", "http://trusted#@other.example/", "http://[localhost]/", "http://xn--/", "http://a.xn--.b/",
        "http://user@other.example/", "http://user:canary@other.example/", "//other.example\\x", "http://other.example:0/",
        "http://other.example:99999/", "http://2130706433/", "http://0x7f.1/", "http://0177.0.0.1/", "http://127.1/", "http:///x",
        "http://", "http:other.example", "http://other.example\xe2\x93\x9b/", "http://[fe80::1%25lo]/",
    ],
)  # fmt: skip
def test_where_nobody_is_sent(location: str) -> None:
    with world({"public.example": to(location), "other.example": here}) as made, made.client() as client:
        with pytest.raises(Unreachable, match=r"^public\.example:\d+ sent us to .*not followed") as caught:
            client.send("GET", made.url("public.example"))
        assert "canary" not in caught.value.message
        assert made.requests("other.example") == []


def test_two_locations_are_none() -> None:
    data = reply(302, b"", [("Location", "/a"), ("Location", "/b")])
    with world({"public.example": lambda _request, wire: wire.send(data)}) as made, made.client() as client:
        with pytest.raises(Unreachable, match="several"):
            client.send("GET", made.url("public.example"))
        assert len(made.requests("public.example")) == 1


def test_a_huge_location_is_none() -> None:
    with (
        world({"public.example": to("/" + "x" * 30_000)}) as made,
        made.client() as client,
        pytest.raises(Unreachable, match="16 KiB"),
    ):
        client.send("GET", made.url("public.example"))


# --- inwards (CVE-2026-85180 and others)


INWARD = [
    ("public.example", "private.example"), ("public.example", "loop.example"), ("public.example", "metadata.example"),
    ("private.example", "loop.example"), ("private.example", "metadata.example"), ("loop.example", "metadata.example"),
]  # fmt: skip


@pytest.mark.parametrize(("source", "target"), INWARD)
def test_nobody_is_sent_further_inside(source: str, target: str) -> None:
    with sent_from(source, target) as made, made.client(source) as client:
        with pytest.raises(
            Unreachable, match=rf"^{source}:\d+ sent us to .*{target}.* is 127\.0\.0\.\d, an? "
        ) as caught:
            client.send("GET", made.url(source))
        assert not isinstance(caught.value, TryAgain)
        assert (made.servers[target].connections, made.requests(target)) == (0, [])


@pytest.mark.parametrize(("source", "target"), INWARD)
def test_but_where_the_user_named_the_host(source: str, target: str) -> None:
    with (
        sent_from(source, target) as made,
        made.client(target) as client,
        client.send("GET", made.url(source)) as answer,
    ):
        assert answer.read(10) == b"here"


@pytest.mark.parametrize(("target", "source"), INWARD)
def test_outwards_is_no_matter(target: str, source: str) -> None:
    with (
        sent_from(source, target) as made,
        made.client() as client,
        client.send("GET", made.url(source)) as answer,
    ):
        assert answer.read(10) == b"here"


def test_a_port_of_a_named_host_is_not_its_others() -> None:
    """The user named loop.example:5000, not the database beside it."""
    with sent_from("public.example", "loop.example") as made:
        settings = replace(made.settings, named_hosts=frozenset({"loop.example", "loop.example:5000"}))
        with HttpClient(settings, resolve=resolve, scope_of=scope) as client, pytest.raises(Unreachable):
            client.send("GET", made.url("public.example"))
        assert made.servers["loop.example"].connections == 0


@pytest.mark.parametrize(
    "literal",
    ["127.0.0.1", "10.0.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]",
     "[fe80::1]", "[fd00::1]", "[2002:7f00:1::]", "[64:ff9b::7f00:1]", "localhost", "x.localhost", "100.64.0.1"],
)  # fmt: skip
def test_addresses_and_names_of_this_machine_and_its_network(literal: str) -> None:
    def system(host: str, port: int) -> list[tuple[int, tuple[Any, ...]]]:
        address = HOSTS.get(host, "127.0.0.1" if "localhost" in host else host)
        return [(socket.AF_INET6 if ":" in address else socket.AF_INET, (address, port))]

    for scheme in ("https", "http"):
        with (
            world({"public.example": to(f"{scheme}://{literal}:9/x")}) as made,
            HttpClient(made.settings, resolve=system, scope_of=scope) as client,
            pytest.raises(Unreachable, match="not followed"),
        ):
            client.send("GET", made.url("public.example"))


def test_a_connection_from_before_is_no_way_in() -> None:
    """One made for somebody who may go there is not used for somebody who may not."""
    with sent_from("public.example", "loop.example") as made, made.client() as client:
        with client.send("GET", made.url("loop.example", "/direct")) as answer:
            answer.read(10)
        with pytest.raises(Unreachable):
            client.send("GET", made.url("public.example"))
        assert [request.path for request in made.requests("loop.example")] == ["/direct"]


def test_the_address_that_was_checked_is_the_one_that_is_asked() -> None:
    """DNS rebinding: the name is public when it is looked at, and this machine a moment later."""
    answers = {"rebind.example": ["127.0.0.2", "127.0.0.1", "127.0.0.2"]}
    asked: list[str] = []

    def rebinding(host: str, port: int) -> list[tuple[int, tuple[Any, ...]]]:
        asked.append(host)
        address = answers[host].pop(0) if host in answers else HOSTS[host]
        return [(socket.AF_INET, (address, port))]

    with (
        serve(here, host="127.0.0.2", shown_host="rebind.example") as public,
        world({"public.example": to(f"{public.url}/x"), "loop.example": here}) as made,
    ):
        settings = replace(made.settings, plain_http=made.settings.plain_http | {public.place})
        for expected in ("here", None, "here"):
            with HttpClient(settings, resolve=rebinding, scope_of=scope) as client:
                if expected is None:
                    with pytest.raises(
                        Unreachable, match=r"rebind\.example is 127\.0\.0\.1, an address of this machine"
                    ):
                        client.send("GET", made.url("public.example"))
                else:
                    with client.send("GET", made.url("public.example")) as answer:
                        assert answer.read(10) == b"here"
        assert asked == ["public.example", "rebind.example"] * 3
        assert len(public.requests) == 2


def test_of_several_addresses_only_those_outside_are_asked() -> None:
    def several(host: str, port: int) -> list[tuple[int, tuple[Any, ...]]]:
        addresses = ["127.0.0.1", "127.0.0.4", "127.0.0.3"] if host == "other.example" else [HOSTS[host]]
        return [(socket.AF_INET, (address, port)) for address in addresses]

    with (
        sent_from("public.example", "other.example") as made,
        HttpClient(made.settings, resolve=several, scope_of=scope) as client,
        client.send("GET", made.url("public.example")) as answer,
    ):
        assert answer.read(10) == b"here"


def test_localhost_that_is_elsewhere_is_not_asked_without_encryption() -> None:
    """http:// needs no permission for this machine; a resolver does not decide what that is."""
    with world({"other.example": here}) as made:
        port = made.servers["other.example"].port
        with (
            HttpClient(
                BASE, resolve=lambda _host, port: [(socket.AF_INET, ("127.0.0.3", port))], scope_of=scope
            ) as client,
            pytest.raises(Unreachable, match=r"127\.0\.0\.3, a public address"),
        ):
            client.send("GET", f"http://localhost:{port}/")
        assert made.servers["other.example"].connections == 0


# --- what goes along


def test_credentials_stay_with_their_origin() -> None:
    """Not for another host; not for another port of the same host; and not again when it leads back."""
    with sent_from("public.example", "other.example") as made, made.client() as client:
        client.send("GET", made.url("public.example"), authorization=CANARY).close()
        assert made.requests("public.example")[0].headers["authorization"] == CANARY
        assert "canary" not in made.requests("other.example")[0].raw_head.decode()
    with (
        world({"public.example": here}) as first,
        world({"public.example": to(first.url("public.example"))}) as second,
    ):
        settings = replace(BASE, plain_http=first.settings.plain_http | second.settings.plain_http)
        with HttpClient(settings, resolve=resolve, scope_of=scope) as client:
            client.send("GET", second.url("public.example"), authorization=CANARY).close()
        assert "authorization" not in first.requests("public.example")[0].headers


def test_credentials_go_along_within_their_origin() -> None:
    with world({"public.example": numbered(2)}) as made, made.client() as client:
        client.send("GET", made.url("public.example", "/0"), authorization=CANARY).close()
        assert [request.headers.get("authorization") for request in made.requests("public.example")] == [
            CANARY
        ] * 3


def test_credentials_do_not_come_back() -> None:
    places: list[str] = []

    def script(request: Request, wire: Wire) -> None:
        (here if request.path == "/back" else to(f"{places[0]}/over"))(request, wire)

    def other(request: Request, wire: Wire) -> None:
        to(f"{places[1]}/back")(request, wire)

    with world({"public.example": script, "other.example": other}) as made, made.client() as client:
        places += [made.servers["other.example"].url, made.servers["public.example"].url]
        client.send("GET", made.url("public.example", "/go"), authorization=CANARY).close()
        assert "authorization" not in made.requests("public.example")[1].headers


def test_other_headers_that_may_be_secret_stay_too() -> None:
    """GHSA-3mj3-57v2-4636. Range and its conditions go along (DMR 69b941ef)."""
    mine = {"X-Api-Key": "canary", "Cookie": "canary", "Private-Token": "canary"}
    kept = {"Range": "bytes=5-9", "If-Range": '"x"', "Accept": "text/plain"}
    with sent_from("public.example", "other.example") as made, made.client() as client:
        client.send("GET", made.url("public.example"), headers={**mine, **kept}).close()
        seen = made.requests("other.example")[0]
        assert "canary" not in seen.raw_head.decode()
        assert {name: seen.headers[name.lower()] for name in kept} == kept
        assert seen.headers["host"] == made.servers["other.example"].place
        assert made.requests("public.example")[0].headers["x-api-key"] == "canary"


def test_a_body_is_not_sent_to_others() -> None:
    """It may hold a password: a token is asked for with one."""
    with sent_from("public.example", "other.example") as made, made.client() as client:
        for body in (b"password=canary", iter([b"password=canary"])):
            with pytest.raises(Unreachable, match="POST"):
                client.send("POST", made.url("public.example"), body=body, body_length=15)
        assert made.requests("other.example") == []


@pytest.mark.parametrize("status", [307, 308])
def test_a_body_is_sent_again_within_its_origin(status: int) -> None:
    def script(request: Request, wire: Wire) -> None:
        (to("/b", status) if request.path == "/a" else here)(request, wire)

    with world({"public.example": script}) as made, made.client() as client:
        client.send("PUT", made.url("public.example", "/a"), body=b"hello").close()
        assert [(r.method, r.body) for r in made.requests("public.example")] == [("PUT", b"hello")] * 2
        with pytest.raises(Unreachable):
            client.send("PUT", made.url("public.example", "/a"), body=iter([b"hello"]), body_length=5)


def test_see_other_is_got() -> None:
    with sent_from("public.example", "other.example", 303) as made, made.client() as client:
        client.send(
            "POST", made.url("public.example"), body=b"hello", headers={"Content-Type": "text/plain"}
        ).close()
        seen = made.requests("other.example")[0]
        assert (seen.method, seen.body) == ("GET", b"")
        assert not {"content-type", "content-length"} & set(seen.headers)


@pytest.mark.parametrize("status", [301, 302])
def test_a_post_is_not_made_a_get(status: int) -> None:
    with world({"public.example": to("/b", status)}) as made, made.client() as client:
        with pytest.raises(Unreachable, match="POST"):
            client.send("POST", made.url("public.example", "/a"))
        assert len(made.requests("public.example")) == 1


# --- addresses that an answer gives in other ways (token realms, Location of an upload, links)


@pytest.mark.parametrize(("source", "target"), INWARD)
def test_what_an_answer_says_leads_no_further_than_a_redirect(source: str, target: str) -> None:
    with world({source: here, target: here}) as made, made.client(source) as client:
        with (
            client.send("GET", made.url(source)) as told,
            pytest.raises(Unreachable, match=rf"^{source}:\d+ sent us to "),
        ):
            client.send("GET", made.url(target), came_from=told)
        assert made.servers[target].connections == 0
    with (
        world({source: here, target: here}) as made,
        made.client(target) as client,
        client.send("GET", made.url(source)) as told,
        client.send("GET", made.url(target), came_from=told) as answer,
    ):
        assert answer.read(10) == b"here"


def test_a_realm_without_encryption_elsewhere_is_not_asked() -> None:
    with (
        world({"public.example": here}) as made,
        made.client() as client,
        client.send("GET", made.url("public.example")) as told,
    ):
        for realm in (
            "http://other.example/token",
            "http://169.254.169.254/",
            "file:///etc/passwd",
            "http://a@b/",
            "",
        ):
            with pytest.raises(Unreachable, match=r"^public\.example:\d+ sent us to .*not followed"):
                client.send("GET", realm, came_from=told, authorization=CANARY)


def test_a_long_conversation_is_no_chain_of_redirects() -> None:
    """An upload is told where each of its chunks goes, and any of them may be redirected."""
    with world({"public.example": numbered(3)}) as made, made.client() as client:
        answer = client.send("GET", made.url("public.example", "/0"))
        for _ in range(10):
            answer = client.send("GET", made.url("public.example", "/0"), came_from=answer)
            assert answer.read(10) == b"here"
        with pytest.raises(Unreachable, match="not followed") as caught:
            client.send("GET", "https://127.0.0.1/", came_from=answer)
        assert caught.value.message.count("public.example") == 1


def test_the_whole_way_is_told() -> None:
    with serve(here) as gone:
        pass  # nobody answers there any more
    with (
        world({"public.example": to(f"https://other.example:{gone.port}/x")}) as made,
        made.client() as client,
        pytest.raises(Unreachable) as caught,
    ):
        client.send("GET", made.url("public.example"))
    place = made.servers["public.example"].place
    assert caught.value.message == (
        f"other.example:{gone.port} (where {place} sent us) could not be reached: it refused the connection."
    )


@pytest.mark.root
@pytest.mark.asks("93.184.216.34")  # in a network of its own, where that is this machine
def test_a_public_server_without_anything_pretended(tmp_path: Path) -> None:
    """In a network of its own this machine has a public address, and its resolver knows a name for loopback."""
    if os.geteuid() != 0 or not all(map(shutil.which, ["unshare", "ip", "mount"])):
        pytest.skip("needs root, unshare, ip and mount")
    (tmp_path / "hosts").write_text("127.0.0.1 localhost inner.example\n")
    public = "93.184.216.34"
    script = (
        f"ip link set lo up && ip addr add {public}/32 dev lo && mount --bind {tmp_path}/hosts /etc/hosts && "
        f'exec "$0" -m tests.registry.remotes.public_server {public}'
    )
    done = subprocess.run(
        ["unshare", "--net", "--mount", "sh", "-c", script, sys.executable],
        capture_output=True, text=True, check=False, timeout=60, cwd=Path(__file__).parents[3],
    )  # fmt: skip
    if done.returncode and "Operation not permitted" in done.stderr:
        pytest.skip("cannot make a network namespace here")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == 9, done.stderr
    assert lines[-1] == [public, True, False]
    assert [line for line in lines[:-1] if line[1:] != [False, False]] == []


def test_the_addresses_of_this_test_are_as_the_classifier_has_them() -> None:
    assert all(scope_of(ip_address(address)) is Scope.LOOPBACK for address in HOSTS.values())
