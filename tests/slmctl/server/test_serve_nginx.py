"""Behind Debian's nginx, with the very configuration of docs/nginx.conf: a public name, TLS and a key."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.fakes.certificates import Authority
from tests.processes import until
from tests.registries.programs import free_port, need, running
from tests.servers import Server, serving
from tests.slmctl.cli.program import REPOSITORY, Program
from tests.slmctl.server.streaming import LONG, Stream

NAME = "models.example.com"

_AROUND = """\
daemon off;
master_process off;
pid {folder}/nginx.pid;
events {{}}
http {{
  access_log {folder}/access.log;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  include {folder}/slmctl.conf;
}}
"""


@contextmanager
def _nginx(folder: Path, server: Server, authority: Authority) -> Iterator[int]:
    """nginx in front of the server; its port."""
    need("nginx")
    folder.mkdir()
    certificate, key = authority.write(folder, NAME)
    port = free_port()
    text = (REPOSITORY / "docs" / "nginx.conf").read_text(encoding="utf-8")
    upstream = f"unix:{server.socket}" if server.socket is not None else f"127.0.0.1:{server.port}"
    for old, new in (
        ("server 127.0.0.1:11434;", f"server {upstream};"),
        ("listen 443 ssl;", f"listen 127.0.0.1:{port} ssl;"),
        ("/etc/ssl/certs/models.example.com.pem", str(certificate)),
        ("/etc/ssl/private/models.example.com.key", str(key)),
    ):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    (folder / "slmctl.conf").write_text(text, encoding="utf-8")
    (folder / "nginx.conf").write_text(_AROUND.format(folder=folder), encoding="utf-8")
    command = ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]
    with running(command, folder / "nginx.log", port):
        yield port


class _Named(httpx.HTTPTransport):
    """Asks nginx on this machine by its public name."""

    def __init__(self, authority: Authority, port: int) -> None:
        super().__init__(verify=ssl.create_default_context(cafile=authority.pem))
        self._port = port

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.extensions["sni_hostname"] = NAME
        request.url = request.url.copy_with(host="127.0.0.1", port=self._port)
        return super().handle_request(request)


@pytest.fixture
def secret(neighbour: Program) -> str:
    """A key."""
    return str(neighbour("key", "add", "--json").json["secret"])


@pytest.mark.parametrize("by", ["port", "socket"])
def test_chat_streams_token_by_token(neighbour: Program, secret: str, tmp_path: Path, by: str) -> None:
    authority = Authority(tmp_path)
    runtime = Path(neighbour.environment["XDG_RUNTIME_DIR"])
    place = ("--socket", str(runtime / "n.sock")) if by == "socket" else ()
    trusted = "unix" if by == "socket" else "127.0.0.1"
    flags = ("--allowed-host", NAME, "--trusted-proxy", trusted, *place)
    with (
        serving(neighbour, *flags) as server,
        _nginx(tmp_path / "nginx", server, authority) as port,
        httpx.Client(
            base_url=f"https://{NAME}", transport=_Named(authority, port), timeout=60, trust_env=False
        ) as client,
    ):
        assert client.get("/v1/models").status_code == 401, "the key is asked for behind the proxy too"
        made_up = {"host": "evil.example", "x-forwarded-host": NAME}
        assert client.get("/livez", headers=made_up).status_code == 403, "nginx hands on no name but the Host"
        client.headers["authorization"] = f"Bearer {secret}"
        assert "hello" in [each["id"] for each in client.get("/v1/models").json()["data"]]
        chat = {
            "model": "hello",
            "messages": [{"role": "user", "content": "What is slmctl?"}],
            "stream": True,
        }
        with client.stream("POST", "/v1/chat/completions", json=chat) as response:
            assert response.status_code == 200
            pieces = list(response.iter_raw())
        assert b"".join(pieces).endswith(b"data: [DONE]\n\n")
        assert len(pieces) > 1, "not as one lump"
        long = {"model": "tiny", "prompt": "x", "max_tokens": LONG, "stream": True}
        with client.stream("POST", "/v1/completions", json=long) as response:
            stream = Stream(response)
            assert stream.next() is not None
            rows = client.get("/slmctl/ps").json()["models"]
            (row,) = [each for each in rows if each["name"] == "tiny:latest"]
            assert row["running"] == 1, "what came first was here before the last was said"
            stream.rest()
            assert stream.is_done
            assert len(stream.events) > 9, "in pieces: only tokens that have come together go together"
        said = until(lambda: [e for e in server.events if e.get("path") == "/v1/completions"] or None)
        assert said[0]["client"] == "127.0.0.1", "nginx told whose request it was"


def test_a_client_that_leaves_nginx_frees_its_slot(neighbour: Program, secret: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with (
        serving(neighbour, "--allowed-host", NAME, "--trusted-proxy", "127.0.0.1") as server,
        _nginx(tmp_path / "nginx", server, authority) as port,
        httpx.Client(
            base_url=f"https://{NAME}", transport=_Named(authority, port), timeout=60, trust_env=False
        ) as client,
    ):
        client.headers["authorization"] = f"Bearer {secret}"
        long = {"model": "tiny", "prompt": "x", "max_tokens": LONG, "stream": True}
        with client.stream("POST", "/v1/completions", json=long) as response:
            assert Stream(response).next() is not None
        gone = until(
            lambda: next((e for e in server.events if e.get("path") == "/v1/completions"), None),
            deadline_seconds=30,
        )
        assert gone["status"] == 499
