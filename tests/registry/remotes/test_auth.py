"""Who gets a password or a token, when, and how often: serving.md section 6 row 7, section 5C on realms."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator

import pytest

from registry.digest import Digest
from registry.errors import BadContent, SlmctlError, Unauthorized, Unreachable
from registry.manifest import Descriptor
from registry.names import parse
from registry.remotes.auth import lifetime
from registry.remotes.credentials import Credential
from registry.remotes.http import HttpClient
from registry.remotes.realms import checked_realm, may_have_credentials
from registry.remotes.urls import parse as parse_url
from tests.fakes.registry import FakeRegistry, fake_registry
from tests.fakes.token_realm import Realm, basic_guard
from tests.fakes.wire import Request, reply
from tests.registry.remotes.rigs import (
    PATH,
    Clock,
    asked,
    blob_of,
    client_in,
    descriptor_of,
    name_at,
    remote_at,
    secrets_in,
)

DATA = bytes(range(256)) * 40
PASSWORD = "canary-password"
LOGIN = Credential(username="ada", password=PASSWORD)
SECRET = str(LOGIN.basic).removeprefix("Basic ")


@pytest.fixture
def http() -> Iterator[HttpClient]:
    with client_in() as client:
        yield client


def closed(fake: FakeRegistry, realm: Realm) -> FakeRegistry:
    """A registry that wants tokens from a realm of its own origin."""
    fake.put_blob(PATH, DATA)
    fake.tricks += [realm.serve, realm.guard(lambda: f"{fake.server.url}/token")]
    return fake


def blob_requests(fake: FakeRegistry) -> list[Request]:
    return [request for request in fake.requests if "/blobs/" in request.target]


def test_a_token_is_asked_for_once_and_used_again(http: HttpClient) -> None:
    realm = Realm()
    with fake_registry() as fake:
        remote = remote_at(closed(fake, realm), http)
        for _ in range(3):
            assert remote.read_blob(descriptor_of(DATA)) == DATA
    assert realm.scopes() == [f"repository:{PATH}:pull"]
    assert [request.headers.get("authorization") for request in blob_requests(fake)] == [
        None, "Bearer token-1", "Bearer token-1", "Bearer token-1",
    ]  # fmt: skip


def test_a_token_that_ends_in_the_middle_is_renewed_once_and_the_range_is_kept(http: HttpClient) -> None:
    realm = Realm()
    with fake_registry() as fake:
        remote = remote_at(closed(fake, realm), http)
        blob = blob_of(DATA)
        with remote.open(blob, 0, 5000) as body:
            first, validator = b"".join(body), body.validator
        realm.valid.clear()
        with remote.open(blob, 5000, len(DATA), validator) as body:
            assert body.start == 5000
            assert first + b"".join(body) == DATA
    ranges = [(each.headers.get("authorization"), each.headers["range"]) for each in blob_requests(fake)]
    assert ranges == [
        (None, "bytes=0-4999"),
        ("Bearer token-1", "bytes=0-4999"),
        ("Bearer token-1", f"bytes=5000-{len(DATA) - 1}"),
        ("Bearer token-2", f"bytes=5000-{len(DATA) - 1}"),
    ]
    assert all(each.headers.get("if-range") == validator for each in blob_requests(fake)[2:])


def test_tokens_that_never_count_are_no_loop(http: HttpClient) -> None:
    realm = Realm()
    with fake_registry() as fake:
        closed(fake, realm)
        fake.tricks.insert(0, lambda _: realm.valid.clear())
        with pytest.raises(Unauthorized):
            remote_at(fake, http).read_blob(descriptor_of(DATA))
    assert (len(blob_requests(fake)), len(realm.asked)) == (2, 1)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ({}, 60.0), ({"expires_in": 0}, 60.0), ({"expires_in": -1}, 60.0), ({"expires_in": 59}, 60.0),
        ({"expires_in": 300}, 300.0), ({"expires_in": 300.5}, 300.5), ({"expires_in": 1 << 40}, 86400.0),
        ({"expires_in": 10**400}, 86400.0), ({"expires_in": "300"}, 60.0), ({"expires_in": True}, 60.0),
        ({"expires_in": None}, 60.0), ({"expires_in": float("nan")}, 60.0), ({"expires_in": float("inf")}, 86400.0),
        ({"expires_in": [1]}, 60.0),
    ],
)  # fmt: skip
def test_how_long_a_token_counts(said: dict[str, object], seconds: float) -> None:
    assert lifetime(said) == seconds


@pytest.mark.parametrize("skew", ["1990-01-01T00:00:00Z", "2090-01-01T00:00:00Z", "garbage", None])
@pytest.mark.parametrize("expires_in", [0, -1, None, 1 << 40, 60])
def test_a_token_is_renewed_before_its_end_by_our_own_clock(
    http: HttpClient, expires_in: int | None, skew: str | None
) -> None:
    extra = {"expires_in": expires_in, "issued_at": skew}
    realm = Realm(extra={key: value for key, value in extra.items() if value is not None})
    clock = Clock()
    with fake_registry() as fake:
        remote = remote_at(closed(fake, realm), http, clock=clock)
        remote.read_blob(descriptor_of(DATA))
        clock.now += 50
        remote.read_blob(descriptor_of(DATA))
        assert len(realm.asked) == 1
        clock.now += 10 if expires_in != 1 << 40 else 86_400
        remote.read_blob(descriptor_of(DATA))
    assert len(realm.asked) == 2
    assert [each.headers.get("authorization") for each in blob_requests(fake)] == [
        None, "Bearer token-1", "Bearer token-1", "Bearer token-2",
    ]  # fmt: skip


def test_threads_share_one_token(http: HttpClient) -> None:
    realm = Realm()
    with fake_registry() as fake:
        remote = remote_at(closed(fake, realm), http)
        threads = [threading.Thread(target=remote.read_blob, args=(descriptor_of(DATA),)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(realm.asked) == 1


def test_pushing_asks_for_more_than_the_challenge_did(http: HttpClient) -> None:
    realm = Realm()
    with fake_registry() as fake:
        remote = remote_at(closed(fake, realm), http)
        assert remote.has(blob_of(DATA))
        remote.mount(blob_of(DATA), "other/place")
    assert realm.scopes() == [
        f"repository:{PATH}:pull,push",
        f"repository:{PATH}:pull,push repository:other/place:pull",
    ]


def test_a_password_goes_to_the_registrys_own_token_server(http: HttpClient) -> None:
    realm = Realm(user=("ada", PASSWORD))
    with fake_registry() as fake:
        remote = remote_at(closed(fake, realm), http, credential=LOGIN)
        assert remote.read_blob(descriptor_of(DATA)) == DATA
    assert [request.path for request in fake.requests if SECRET in str(request.headers)] == ["/token"]


def test_a_password_does_not_go_to_another_port(http: HttpClient) -> None:
    """A realm at another origin is asked for what everybody gets; the password stays."""
    realm = Realm(user=("ada", PASSWORD))
    with fake_registry() as fake, fake_registry(realm.serve) as other:
        fake.put_blob(PATH, DATA)
        fake.tricks.append(realm.guard(lambda: f"{other.server.url}/token"))
        with pytest.raises(Unauthorized) as caught:
            remote_at(fake, http, credential=LOGIN).read_blob(descriptor_of(DATA))
    assert secrets_in(fake.requests + other.requests, SECRET, PASSWORD) == []
    assert len(other.requests) == 1
    assert other.server.url in caught.value.message
    assert caught.value.hint is not None
    assert f"--token-server {other.server.url}" in caught.value.hint
    assert PASSWORD not in caught.value.message + caught.value.hint


def test_a_token_for_everybody_is_taken_from_anywhere(http: HttpClient) -> None:
    realm = Realm()
    with fake_registry() as fake, fake_registry(realm.serve) as other:
        fake.put_blob(PATH, DATA)
        fake.tricks.append(realm.guard(lambda: f"{other.server.url}/token"))
        assert remote_at(fake, http, credential=LOGIN).read_blob(descriptor_of(DATA)) == DATA
    assert secrets_in(fake.requests + other.requests, SECRET, PASSWORD) == []


def test_a_token_server_that_the_user_trusts_gets_the_password(http: HttpClient) -> None:
    realm = Realm(user=("ada", PASSWORD))
    with fake_registry() as fake, fake_registry(realm.serve) as other:
        fake.put_blob(PATH, DATA)
        fake.tricks.append(realm.guard(lambda: f"{other.server.url}/token"))
        trust = {fake.server.url: frozenset({other.server.url})}
        assert remote_at(fake, http, credential=LOGIN, trust=trust).read_blob(descriptor_of(DATA)) == DATA
    assert len(secrets_in(other.requests, SECRET)) == 1
    assert secrets_in(fake.requests, SECRET) == []


@pytest.mark.parametrize("moved", [301, 302, 303, 307, 308])
def test_a_token_server_that_redirects_takes_no_password_along(http: HttpClient, moved: int) -> None:
    """A redirect from the trusted token server to another origin, in place of a realm that leads there."""
    realm = Realm(user=("ada", PASSWORD))
    with fake_registry() as fake, fake_registry(realm.serve) as other:
        fake.put_blob(PATH, DATA)

        def onward(request: Request) -> bytes | None:
            if request.path != "/token":
                return None
            return reply(moved, b"", {"Location": f"{other.server.url}/token"})

        fake.tricks += [onward, realm.guard(lambda: f"{fake.server.url}/token")]
        with pytest.raises(SlmctlError):
            remote_at(fake, http, credential=LOGIN).read_blob(descriptor_of(DATA))
    assert secrets_in(other.requests, SECRET, PASSWORD) == []


HOSTILE_REALMS = [
    "http://169.254.169.254/latest/meta-data/", "file:///etc/passwd", "ftp://127.0.0.1/token", "gopher://x/",
    "http://ada@127.0.0.1/token", "http://trusted@127.0.0.1:1/token", "http://[::1]:1/token", "//127.0.0.1/token",
    "http://127.0.0.1\\@evil.example/", "http://127.0.0.1#@evil.example/", "http://2130706433/", "http://0x7f.1/",
    "http://127.1/", "http://xn--/", "http:///token", "http://127.0.0.1:99999/token", "http://a b/", "token", "",
    "http://evil.example/token", "http://127.0.0.1:1/token#x", "javascript:alert(1)", "http://[localhost]/",
]  # fmt: skip


@pytest.mark.parametrize("address", HOSTILE_REALMS)
def test_a_hostile_realm_gets_nothing(http: HttpClient, address: str) -> None:
    realm = Realm()
    with fake_registry() as fake:
        fake.put_blob(PATH, DATA)
        fake.tricks.append(realm.guard(lambda: address.replace("\\", "\\\\")))
        with pytest.raises((Unreachable, Unauthorized)):
            remote_at(fake, http, credential=LOGIN).read_blob(descriptor_of(DATA))
    assert secrets_in(fake.requests, SECRET, PASSWORD) == []
    assert len(fake.requests) == 1


def test_a_public_registry_sends_nobody_to_this_machine_for_a_token() -> None:
    realm = Realm()
    with (
        fake_registry(host="127.0.0.2", shown_host="registry.example") as fake,
        fake_registry(realm.serve) as inside,
    ):
        fake.put_blob(PATH, DATA)
        fake.tricks.append(realm.guard(lambda: f"{inside.server.url}/token"))
        plain = frozenset({fake.server.place, inside.server.place})
        names = {"registry.example": "127.0.0.2"}
        public = frozenset({"127.0.0.2"})
        with (
            client_in(names=names, public=public, plain_http=plain) as http,
            pytest.raises(Unreachable, match=inside.server.place),
        ):
            remote_at(fake, http).read_blob(descriptor_of(DATA))
        assert inside.requests == []
        named = frozenset({inside.server.place})
        with client_in(names=names, public=public, plain_http=plain, named=named) as http:
            assert remote_at(fake, http).read_blob(descriptor_of(DATA)) == DATA  # the user named that host


@pytest.mark.parametrize(
    ("registry", "realm", "expected"),
    [
        ("https://a.example", "https://a.example/token", True),
        ("https://a.example", "https://A.example:443/token", True),
        ("https://a.example", "https://a.example:8443/token", False),
        ("https://a.example:8443", "https://a.example/token", False),
        ("https://a.example", "http://a.example/token", False),
        ("https://a.example", "https://b.example/token", False),
        ("https://a.example", "https://sub.a.example/token", False),
        ("https://a.example", "https://a.example.evil/token", False),
        ("https://registry-1.docker.io", "https://auth.docker.io/token", True),
        ("https://registry-1.docker.io", "http://auth.docker.io/token", False),
        ("https://a.example", "https://auth.docker.io/token", False),
        ("https://registry.gitlab.com", "https://gitlab.com/jwt/auth", True),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5001/token", False),
        ("https://mine.example", "https://tokens.example/x", True),
        ("https://other.example", "https://tokens.example/x", False),
    ],
)
def test_which_token_server_may_have_the_password(registry: str, realm: str, expected: bool) -> None:
    trust = {"https://mine.example": frozenset({"https://tokens.example"})}
    assert may_have_credentials(parse_url(realm), registry, trust) is expected


def test_no_token_without_encryption_for_a_registry_that_has_it() -> None:
    with pytest.raises(Unreachable, match="not encrypted"):
        checked_realm("http://a.example/token", "https://a.example", "a.example/x")


@pytest.mark.parametrize(
    "body",
    [
        b"", b"not json", b"[]", b"{}", b'{"token": 5}', b'{"token": ""}', b'{"token": "a\\r\\nX-Evil: 1"}',
        b'{"token": "' + b"a" * 70_000 + b'"}', b'{"token": "' + b"a" * (2 << 20) + b'"}', b"[" * 100_000,
    ],
)  # fmt: skip
def test_what_is_no_token_is_refused(http: HttpClient, body: bytes) -> None:
    realm = Realm()
    with fake_registry() as fake:
        fake.put_blob(PATH, DATA)
        fake.tricks += [
            lambda request: reply(200, body) if request.path == "/token" else None,
            realm.guard(lambda: f"{fake.server.url}/token"),
        ]
        with pytest.raises(BadContent):
            remote_at(fake, http).read_blob(descriptor_of(DATA))
    assert all("x-evil" not in request.headers for request in fake.requests)


def test_a_token_that_unpacks_to_gigabytes_is_refused_soon(http: HttpClient) -> None:
    bomb = gzip.compress(b'{"token": "' + b"a" * (64 << 20))
    realm = Realm()
    with fake_registry() as fake:
        fake.tricks += [
            lambda request: (
                reply(200, bomb, {"Content-Encoding": "gzip"}) if request.path == "/token" else None
            ),
            realm.guard(lambda: f"{fake.server.url}/token"),
        ]
        with pytest.raises(BadContent):
            remote_at(fake, http).read_blob(descriptor_of(DATA))


def test_an_access_token_is_a_token_too(http: HttpClient) -> None:
    realm = Realm()
    with fake_registry() as fake:
        fake.put_blob(PATH, DATA)

        def oauth(request: Request) -> bytes | None:
            realm.valid.add("other")
            return reply(200, b'{"access_token": "other"}') if request.path == "/token" else None

        fake.tricks += [oauth, realm.guard(lambda: f"{fake.server.url}/token")]
        assert remote_at(fake, http).read_blob(descriptor_of(DATA)) == DATA


def test_an_identity_token_goes_in_a_form_and_to_trusted_servers_only(http: HttpClient) -> None:
    identity = Credential(username="ada", identity_token="canary-identity")
    realm = Realm()
    with fake_registry() as fake, fake_registry(realm.serve) as other:
        closed(fake, realm)
        assert remote_at(fake, http, credential=identity).read_blob(descriptor_of(DATA)) == DATA
        post = realm.asked[0]
        assert (post.method, post.target) == ("POST", "/token")
        assert b"grant_type=refresh_token" in post.body
        assert b"refresh_token=canary-identity" in post.body
        fake.tricks[:] = [realm.guard(lambda: f"{other.server.url}/token")]
        realm.valid.clear()
        assert remote_at(fake, http, credential=identity).read_blob(descriptor_of(DATA)) == DATA
    assert secrets_in(other.requests, "canary-identity") == []


def test_a_password_by_basic_authentication(http: HttpClient) -> None:
    with fake_registry(basic_guard("ada", PASSWORD)) as fake:
        fake.put_blob(PATH, DATA)
        assert remote_at(fake, http, credential=LOGIN).read_blob(descriptor_of(DATA)) == DATA
        assert [SECRET in str(request.headers) for request in fake.requests] == [False, True]
        wrong = Credential(username="ada", password="wrong", origin="config.json")
        with pytest.raises(Unauthorized) as caught:
            remote_at(fake, http, credential=wrong).read_blob(descriptor_of(DATA))
        with pytest.raises(Unauthorized, match="wants a name and a password") as none:
            remote_at(fake, http).read_blob(descriptor_of(DATA))
    assert "the password of 'ada' from config.json" in caught.value.message
    assert none.value.hint == f"Log in with: slmctl login {fake.server.place}"
    assert len(fake.requests) == 2 + 2 + 1


def test_a_password_stays_when_a_blob_lies_elsewhere(http: HttpClient) -> None:
    with fake_registry() as other, fake_registry() as fake:
        other.put_blob(PATH, DATA)

        def onward(request: Request) -> bytes | None:
            return reply(307, b"", {"Location": f"{other.server.url}{request.target}"})

        fake.tricks += [basic_guard("ada", PASSWORD), onward]
        assert remote_at(fake, http, credential=LOGIN).read_blob(descriptor_of(DATA)) == DATA
    assert secrets_in(other.requests, SECRET) == []
    assert len(secrets_in(fake.requests, SECRET)) == 1


def test_an_unknown_kind_of_login_is_named(http: HttpClient) -> None:
    challenge = {"WWW-Authenticate": "Negotiate, Digest realm=x"}
    with (
        fake_registry(lambda _: reply(401, b"", challenge)) as fake,
        pytest.raises(Unauthorized, match=r"negotiate, digest"),
    ):
        remote_at(fake, http, credential=LOGIN).resolve(name_at(fake))
    assert secrets_in(fake.requests, SECRET) == []
    assert asked(fake.requests) == [f"GET /v2/{PATH}/manifests/v1"]


def test_a_registrys_own_words_are_shown_and_cannot_write_to_a_terminal(http: HttpClient) -> None:
    body = json.dumps({"errors": [{"code": "DENIED", "message": "\x1b[2Jno" + "x" * 10_000}]}).encode()
    with fake_registry(lambda _: reply(403, body)) as fake, pytest.raises(Unauthorized) as caught:
        remote_at(fake, http).resolve(parse(f"http://{fake.server.place}/{PATH}@{Digest.of(DATA)}"))
    assert "DENIED" in caught.value.message
    assert "\x1b" not in caught.value.message
    assert len(caught.value.message) < 500


def test_an_empty_blob_is_asked_for_without_a_range(http: HttpClient) -> None:
    with fake_registry() as fake:
        fake.put_blob(PATH, b"")
        empty = Descriptor(media_type="", digest=Digest.of(b""), size=0)
        assert remote_at(fake, http).read_blob(empty) == b""
    assert "range" not in fake.requests[0].headers
