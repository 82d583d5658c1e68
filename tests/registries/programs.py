"""Starting Debian's docker-registry and nginx on ports of their own, and stopping them by their process ids."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme
import yaml

from tests.processes import until

DEADLINE_SECONDS = 30.0
USER, PASSWORD = "ada", "correct horse: battery"  # with a colon and a blank, which have broken others


@dataclass(frozen=True, kw_only=True)
class Registry:
    """A running registry. `ca` is the file of its private authority, None where it speaks plain HTTP."""

    host: str
    root: Path
    log: Path
    ca: Path | None = None
    password: bool = False

    @property
    def scheme(self) -> str:
        return "https" if self.ca else "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.host}"


def need(*programs: str) -> None:
    """Skip the test unless all programs are installed."""
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


@contextmanager
def running(command: Sequence[str], log: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A program that serves on `port`, until the block ends."""
    with log.open("wb") as output:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, cwd=log.parent
        )
        try:
            _wait_for(child, port, log)
            yield child
        finally:
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(DEADLINE_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def _wait_for(child: subprocess.Popen[bytes], port: int, log: Path) -> None:
    def answers() -> bool | None:
        assert child.poll() is None, log.read_text(errors="replace")
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
        return None

    until(answers, deadline_seconds=DEADLINE_SECONDS)


@contextmanager
def docker_registry(
    folder: Path, *, auth: Mapping[str, object] | None = None, data: Path | None = None
) -> Iterator[Registry]:
    """docker-registry with its files below `folder`; blobs and manifests in `data`, which several may share."""
    need("docker-registry")
    port = free_port()
    settings: dict[str, object] = {
        "version": 0.1,
        "log": {"accesslog": {"disabled": False}, "level": "info"},
        "storage": {
            "filesystem": {"rootdirectory": str(data or folder / "data")},
            "delete": {"enabled": True},
            "maintenance": {"uploadpurging": {"enabled": False}},
        },
        "http": {
            "addr": f"127.0.0.1:{port}",
            "secret": "of this test",
            "relativeurls": True,
        },
    }
    if auth:
        settings["auth"] = dict(auth)
    configuration = folder / "registry.yml"
    configuration.write_text(yaml.safe_dump(settings))
    log = folder / "registry.log"
    with running(["docker-registry", "serve", str(configuration)], log, port):
        yield Registry(host=f"127.0.0.1:{port}", root=data or folder / "data", log=log, password=bool(auth))


def htpasswd(folder: Path) -> Mapping[str, object]:
    """docker-registry's settings for one user with a password."""
    need("htpasswd")
    file = folder / "htpasswd"
    made = subprocess.run(
        ["htpasswd", "-niB", "-C", "5", USER], input=PASSWORD.encode(), capture_output=True, check=True
    )
    file.write_bytes(made.stdout)
    return {"htpasswd": {"realm": "this test", "path": str(file)}}


@contextmanager
def behind_nginx(folder: Path, registry: Registry, *, largest: str = "0") -> Iterator[Registry]:
    """The same registry over TLS, with a certificate of a private authority for `localhost` and 127.0.0.1.

    `largest` is what nginx takes at once: `8m`, or 0 for anything.
    """
    need("nginx")
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    certificate.private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))
    port = free_port()
    configuration = folder / "nginx.conf"
    configuration.write_text(
        _NGINX.format(
            folder=folder, port=port, upstream=registry.host, temporary=folder / "nginx", largest=largest
        )
    )
    (folder / "nginx").mkdir()
    log = folder / "nginx.log"
    command = ["nginx", "-p", str(folder), "-c", str(configuration), "-e", str(folder / "nginx-error.log")]
    with running(command, log, port):
        yield Registry(
            host=f"localhost:{port}",
            root=registry.root,
            log=registry.log,
            ca=folder / "ca.pem",
            password=registry.password,
        )


_NGINX = """\
daemon off;
master_process off;
pid {folder}/nginx.pid;
events {{}}
http {{
  access_log {folder}/nginx-access.log;
  client_body_temp_path {temporary}/body;
  proxy_temp_path {temporary}/proxy;
  fastcgi_temp_path {temporary}/fastcgi;
  uwsgi_temp_path {temporary}/uwsgi;
  scgi_temp_path {temporary}/scgi;
  server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate {folder}/server.pem;
    ssl_certificate_key {folder}/server.pem;
    client_max_body_size {largest};
    location / {{
      proxy_pass http://{upstream};
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-Proto $scheme;
    }}
  }}
}}
"""
