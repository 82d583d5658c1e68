"""Every endpoint that the server has, asked by those who may not: no key, a key without the scope, a wrong name,
a page of a stranger, and paths that look like another."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from slmctl.app.api_keys import SCOPES, add_key
from slmctl.server.app import TABLES
from slmctl.server.call import Endpoint
from slmctl.server.routes import Routes
from tests.slmctl.server.guarded import Guarded, guarded

ENDPOINTS = [endpoint for table in TABLES for endpoint in table]
OPEN = {"/livez", "/readyz", "/"}
"""What asks for no key. `/` says that there is a server, and nothing else."""


def ids(endpoint: Endpoint) -> str:
    return f"{endpoint.method} {endpoint.path}"


every = pytest.mark.parametrize("endpoint", ENDPOINTS, ids=ids)
guarded_ones = pytest.mark.parametrize(
    "endpoint", [endpoint for endpoint in ENDPOINTS if endpoint.path not in OPEN], ids=ids
)


def path_of(endpoint: Endpoint) -> str:
    return re.sub(r"\{[^}]+\}", "x", endpoint.path)


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """With a key for each scope, whose secret is `secrets[scope]`."""
    home = tmp_path_factory.mktemp("closed")
    secrets = {scope: add_key(home, scopes=(scope,)).secret for scope in SCOPES}
    with guarded(home, tables=TABLES) as server:
        server.secrets = secrets
        yield server


@pytest.fixture(scope="module")
def open_one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with guarded(tmp_path_factory.mktemp("open"), tables=TABLES) as server:
        yield server


def test_only_these_ask_for_no_key() -> None:
    assert {endpoint.path for endpoint in ENDPOINTS if endpoint.scope is None} <= OPEN
    assert {"/livez", "/readyz", "/metrics", "/v1/chat/completions"} <= {each.path for each in ENDPOINTS}


def test_every_endpoint_is_found_at_its_own_path_alone() -> None:
    routes = Routes(TABLES)
    assert list(routes) == sorted(ENDPOINTS, key=list(routes).index)
    for endpoint in ENDPOINTS:
        path = path_of(endpoint)
        found = routes.find(
            {"path": path, "raw_path": path.encode(), "method": endpoint.method, "type": "http"}
        )
        assert found is not None
        assert found.endpoint is endpoint


@every
def test_without_a_key(closed: Guarded, endpoint: Endpoint) -> None:
    """The answer does not even depend on what is asked."""
    for body in (b"", b"{}", b'{"model":"hello"}', b"\xff"):
        status, headers, _ = closed.ask(endpoint.method, path_of(endpoint), body)
        if endpoint.path in OPEN:
            assert status == 200
        else:
            assert (status, headers["www-authenticate"]) == (401, 'Bearer realm="slmctl"')


@guarded_ones
def test_with_any_other_method_and_no_key(closed: Guarded, endpoint: Endpoint) -> None:
    for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "get"):
        assert closed.ask(method, path_of(endpoint))[0] == 401, method


@guarded_ones
def test_with_a_key_of_another_scope(closed: Guarded, endpoint: Endpoint) -> None:
    for scope, secret in closed.secrets.items():
        if scope == endpoint.scope or (scope, endpoint.scope) == ("manage", "read"):
            continue
        status, _, body = closed.ask(endpoint.method, path_of(endpoint), headers=f"x-api-key: {secret}\r\n")
        assert status == 403
        assert endpoint.method == "HEAD" or f"--scope {endpoint.scope}".encode() in body


@every
def test_by_another_name(open_one: Guarded, endpoint: Endpoint) -> None:
    for host in ("evil.com", "localhost.evil.com", "127.0.0.1.nip.io", "localhost.evil.com:11434"):
        assert open_one.ask(endpoint.method, path_of(endpoint), host=host)[0] == 403
    for host in ("x/v1?", "localhost/livez?", "localhost@evil.com", "localhost evil", "[::1", ""):
        assert open_one.ask(endpoint.method, path_of(endpoint), host=host)[0] == 400
    second = "Host: evil.com\r\n"
    assert open_one.ask(endpoint.method, path_of(endpoint), headers=second)[0] == 400


@every
def test_from_a_page_of_a_stranger(open_one: Guarded, endpoint: Endpoint) -> None:
    """As a form sends it, without asking first."""
    for origin in ("http://evil.com", "null", "http://localhost:3000"):
        status, headers, _ = open_one.ask(
            endpoint.method,
            path_of(endpoint),
            b'{"model":"hello"}' if endpoint.method == "POST" else b"",
            headers=f"Origin: {origin}\r\nContent-Type: text/plain\r\n",
        )
        assert status == 403 if endpoint.method not in {"GET", "HEAD"} else status != 403
        assert not [name for name in headers if name.startswith("access-control")]
        asked = f"Origin: {origin}\r\nAccess-Control-Request-Method: {endpoint.method}\r\n"
        status, headers, _ = open_one.ask("OPTIONS", path_of(endpoint), headers=asked)
        assert status == 405
        assert not [name for name in headers if name.startswith("access-control")]


@guarded_ones
def test_paths_that_look_like_it(closed: Guarded, endpoint: Endpoint) -> None:
    path = path_of(endpoint)
    alike = {
        f"/{path}",
        f"{path}/",
        f"{path};",
        f"{path};a=b",
        f"{path}%00",
        f"{path}%2f",
        f"{path}%20",
        f"{path}.",
        f"{path}x",
        path.upper(),
        path.capitalize(),
        f"/x/..{path}",
        f"/.{path}",
        f"/livez/..{path}",
        f"/livez{path}",
        f"/livez;{path}",
        f"/livez%2f..{path}",
        f"/%2e%2e{path}",
        f"%2f{path[1:]}",
        f"/%2f{path[1:]}",
        f"/%252f{path[1:]}",
        f"\\{path[1:]}",
        f"/{quote(path[1:], safe='').replace('%2F', '%2f')}",
        f"/%{ord(path[1]):02x}{path[2:]}",
        f"http://localhost{path}",
        f"http://localhost/livez?{path}",
        f"//localhost{path}",
        f"{path}?x=/livez",
        f"{path}#/livez",
    } - {path}
    for each in alike:
        assert closed.ask(endpoint.method, each)[0] in {400, 401, 404}, each
    asked = "Authorization: Bearer nonsense\r\nX-Original-URL: /livez\r\nX-Rewrite-URL: /livez\r\n"
    for headers in (asked, "X-HTTP-Method-Override: GET\r\n", "X-Forwarded-Prefix: /livez\r\n"):
        assert closed.ask(endpoint.method, path, headers=headers)[0] == 401


def test_no_endpoint_is_there_twice() -> None:
    with pytest.raises(ValueError, match="served twice"):
        Routes([*TABLES, (ENDPOINTS[0],)])


def test_a_page_that_is_allowed(tmp_path_factory: pytest.TempPathFactory) -> None:
    home = tmp_path_factory.mktemp("pages")
    secret = add_key(home).secret
    with guarded(home, tables=TABLES, allowed_origins=("https://app.example",)) as server:
        origin = "Origin: https://app.example\r\n"
        asked = f"{origin}Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: authorization, content-type, x b, x-stainless-os\r\n"
        status, headers, _ = server.ask("OPTIONS", "/v1/chat/completions", headers=asked)
        assert (status, headers["access-control-allow-origin"]) == (204, "https://app.example")
        assert headers["access-control-allow-methods"] == "POST"
        assert headers["access-control-allow-headers"] == "authorization, content-type, x-stainless-os"
        assert headers["vary"] == "Origin"
        assert "access-control-allow-credentials" not in headers
        status, headers, _ = server.ask("POST", "/v1/chat/completions", b"{}", headers=origin)
        assert (status, headers["access-control-allow-origin"]) == (401, "https://app.example"), (
            "so that the page sees why"
        )
        status, headers, _ = server.ask("GET", "/v1/models", headers=f"{origin}x-api-key: {secret}\r\n")
        assert (status, headers["access-control-allow-origin"]) == (200, "https://app.example")
        for wrong in ("https://app.example.evil.com", "http://app.example", "null"):
            status, headers, _ = server.ask(
                "OPTIONS", "/v1/chat/completions", headers=asked.replace("https://app.example", wrong)
            )
            assert (status, "access-control-allow-origin" in headers) == (401, False)
        assert server.ask("OPTIONS", "/nowhere", headers=asked)[0] == 404


@pytest.mark.parametrize("root", ["/slm", "/slm/", "/a/b", "/api", "/v1"])
def test_a_root_path_whether_the_proxy_takes_it_away_or_not(
    tmp_path_factory: pytest.TempPathFactory, root: str
) -> None:
    home = tmp_path_factory.mktemp("root")
    add_key(home)
    with guarded(home, tables=TABLES, root_path=root) as server:
        plain = root.rstrip("/")
        for path in ("/livez", f"{plain}/livez"):
            assert server.ask("GET", path)[0] == 200
        for path in (
            "/v1/models",
            f"{plain}/v1/models",
            "/api/tags",
            f"{plain}/api/tags",
            "/v1/models/hello",
        ):
            assert server.ask("GET", path)[0] == 401
        for path in (
            f"{plain}x/livez",
            f"{plain}{plain}/livez",
            f"{plain}//livez",
            f"{plain}/../livez",
            plain,
            f"{plain}livez",
        ):
            assert server.ask("GET", path)[0] in {400, 404}, path


def test_no_websockets(open_one: Guarded) -> None:
    upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    for path in ("/v1/models", "/v1/chat/completions", "/livez", "/nowhere", "/"):
        with open_one.connect() as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{upgrade}\r\n".encode())
            connection.shutdown(socket.SHUT_WR)
            status = int(connection.recv(65536).split()[1])
        assert status in {400, 404, 405}, path


def test_errors_of_the_doors_are_told_in_the_words_of_each_api(closed: Guarded) -> None:
    def told(path: str, **more: str) -> object:
        return json.loads(closed.ask("POST", path, **more)[2])  # type: ignore[arg-type]

    needs = "This server needs an API key. Send it as 'Authorization: Bearer KEY' or as x-api-key."
    assert told("/v1/chat/completions") == {"error": {"message": needs, "type": "authentication_error", "param": None, "code": "invalid_api_key"}}  # fmt: skip
    answered = told("/v1/messages")
    assert isinstance(answered, dict)
    assert (answered["type"], answered["error"]) == (
        "error",
        {"type": "authentication_error", "message": needs},
    )
    assert "--allowed-host evil.com" in str(told("/v1/chat/completions", host="evil.com"))


NAMES = (
    "<img src=x onerror=alert(1)>",
    "\x1b[31mred\x1b[0m",
    "a\nb",
    "../../etc/passwd",
    "javascript:alert(1)",
    "x" * 5000,
)


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_names_that_would_do_something_where_they_are_shown(open_one: Guarded, name: str) -> None:
    """An answer is never a page, and a line of the log is a line."""
    asked = [
        ("POST", path, json.dumps({"model": name, "name": name, "messages": [], "prompt": "x", "input": "x", "max_tokens": 1, "source": name, "destination": name}).encode())
        for path in ("/v1/chat/completions", "/v1/completions", "/v1/messages", "/v1/responses", "/api/generate", "/api/show", "/api/copy")
    ]  # fmt: skip
    asked += [("GET", f"/v1/models/{quote(name, safe='')}", b""), ("GET", f"/{quote(name, safe='')}", b"")]
    for method, path, body in asked:
        status, headers, _ = open_one.ask(method, path, body)
        assert 400 <= status < 500, path
        assert headers["content-type"].split(";")[0] in {"application/json", "text/plain"}
        assert headers["x-content-type-options"] == "nosniff"
    assert open_one.log.isascii()
    assert all(line.isprintable() for line in open_one.log.splitlines())
