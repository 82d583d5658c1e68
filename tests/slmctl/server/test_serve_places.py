"""Where a server listens: unix sockets, TLS, below a path."""

from __future__ import annotations

import signal
import socket
import ssl
import stat
import subprocess
from pathlib import Path

import httpx
import ollama
import pytest

from tests.fakes.certificates import Authority
from tests.processes import until
from tests.servers import serving
from tests.slmctl.cli.program import Program
from tests.slmctl.cli.test_places import mounting


@pytest.fixture
def path(stocked: Program) -> Path:
    """Short enough for a socket."""
    return Path(stocked.environment["XDG_RUNTIME_DIR"]) / "x.sock"


def test_a_unix_socket_and_no_port(stocked: Program, path: Path) -> None:
    with serving(stocked, "--socket", str(path)) as server:
        assert server.url is None
        assert server.socket == path
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        listening = subprocess.run(["ss", "-ltnp"], capture_output=True, text=True, check=False).stdout
        assert f"pid={server.pid}," not in listening
        with httpx.Client(
            transport=httpx.HTTPTransport(uds=str(path)), base_url="http://localhost", timeout=60
        ) as client:
            chat = {
                "model": "hello",
                "messages": [{"role": "user", "content": "Hi"}],
                "stream": True,
            }
            with client.stream("POST", "/api/chat", json=chat) as response:
                assert len(list(response.iter_lines())) > 5
        # the client of Ollama's own, which takes what httpx takes
        with httpx.HTTPTransport(uds=str(path)) as transport:
            theirs = ollama.Client(host="http://localhost", transport=transport)
            answer = theirs.chat("hello", messages=[{"role": "user", "content": "Hi"}])
        assert answer.message.content
        assert stocked("run", "hello", "Hi").code == 0
    assert not path.exists()


def test_a_socket_and_a_port_together_and_who_may(stocked: Program, path: Path) -> None:
    with serving(stocked, "--socket", str(path), "--port", "0", "--socket-mode", "660") as server:
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        assert httpx.get(f"{server.base_url}/livez").status_code == 200
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(path))) as client:
            assert client.get("http://localhost/livez").status_code == 200


def test_a_socket_that_a_killed_server_left_is_replaced_and_a_live_one_is_not(
    stocked: Program, path: Path
) -> None:
    with serving(stocked, "--socket", str(path), ends_with=None) as server:
        taken = stocked("serve", "--socket", str(path))
        assert taken.code == 1
        assert f"The socket {path} is taken by slmctl (process {server.pid})." in taken.err
        server.process.send_signal(signal.SIGKILL)
        server.wait()
        assert path.exists()
    with (
        serving(stocked, "--socket", str(path)),
        httpx.Client(transport=httpx.HTTPTransport(uds=str(path))) as client,
    ):
        assert client.get("http://localhost/livez").status_code == 200


def test_paths_that_are_no_place_for_a_socket(slmctl: Program) -> None:
    folder = Path(slmctl.environment["XDG_RUNTIME_DIR"])
    mine = folder / "file"
    mine.write_text("mine")
    for path, complaint, code in (
        (folder / ("a" * 120), "The path of the socket is longer than", 2),
        (folder / "none" / "x.sock", "cannot be made (No such file or directory)", 1),
        (mine, f"{mine} is there already, and is no socket.", 2),
    ):
        done = slmctl("serve", "--socket", str(path))
        assert (done.code, complaint in done.err) == (code, True), done.err
    assert mine.read_text() == "mine"


def test_tls_from_files_and_a_new_certificate_without_a_restart(stocked: Program, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.write(tmp_path, "localhost", "127.0.0.1")
    flags = ("--tls-certificate", str(certificate), "--tls-key", str(key))
    trusting = ssl.create_default_context(cafile=authority.pem)
    with serving(stocked, *flags) as server, httpx.Client(verify=trusting, timeout=60) as client:
        assert server.base_url.startswith("https://")
        assert client.get(f"{server.base_url}/livez").status_code == 200
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"http://127.0.0.1:{server.port}/livez")
        assert stocked("run", "hello", "Hi").code == 0, "its own user needs no certificate"
        until(lambda: [e for e in server.events if e.get("path") == "/slmctl/answer"] or None)
        first = _serial(server.address, trusting)
        authority.write(tmp_path, "localhost", "127.0.0.1")
        server.process.send_signal(signal.SIGHUP)
        assert "read again" in server.event("certificate")["text"]
        assert _serial(server.address, trusting) != first
        key.write_text("no key")
        server.process.send_signal(signal.SIGHUP)
        assert "The old one stays." in server.event("certificate")["text"]
        assert _serial(server.address, trusting) != first
        assert client.get(f"{server.base_url}/livez").status_code == 200


def _serial(address: tuple[str, int], context: ssl.SSLContext) -> str:
    with (
        socket.create_connection(address) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        found = secure.getpeercert()
        assert found is not None
        return str(found["serialNumber"])


@pytest.mark.parametrize(
    ("case", "complaint"),
    [
        ("missing", "The certificate {folder}/none.pem cannot be read (No such file or directory)."),
        ("nonsense", "There is no certificate with its key in {folder}/server.pem and {folder}/server.key."),
        (
            "other key",
            "The key in {folder}/server.key does not belong to the certificate in {folder}/server.pem.",
        ),
        ("encrypted", "The key in {folder}/server.key is encrypted."),
        ("expired", "The certificate in {folder}/server.pem has expired."),
        ("no key", "There is no certificate with its key in {folder}/server.pem."),
    ],
)
def test_certificates_that_will_not_do(slmctl: Program, tmp_path: Path, case: str, complaint: str) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.write(tmp_path, "localhost", expired=case == "expired")
    flags = ["--tls-key", str(key)]
    match case:
        case "missing":
            certificate = tmp_path / "none.pem"
        case "nonsense":
            certificate.write_text("nothing")
        case "other key":
            (tmp_path / "other").mkdir()
            key.write_bytes(authority.write(tmp_path / "other", "localhost")[1].read_bytes())
        case "encrypted":
            subprocess.run(
                ["openssl", "ec", "-aes256", "-passout", "pass:x", "-in", str(key), "-out", str(key)],
                check=True,
                capture_output=True,
            )
        case "no key":
            flags = []
    done = slmctl("serve", "--port", "0", "--tls-certificate", str(certificate), *flags)
    assert done.code in {1, 2}
    assert complaint.format(folder=tmp_path) in done.err
    assert done.hint


def test_below_a_path(stocked: Program) -> None:
    """Whether the proxy takes the path away or not; and for its own user there is none."""
    with serving(stocked, "--root-path", "/models") as server:
        for path in ("/livez", "/models/livez", "/models/v1/models", "/v1/models"):
            assert httpx.get(f"{server.base_url}{path}").status_code == 200, path
        assert stocked("run", "hello", "Hi").code == 0
        assert stocked("ps", "--json").json["models"][0]["served"] is True


@pytest.mark.root
def test_models_on_a_read_only_mount(neighbour: Program, stocked: Program) -> None:
    """And a home there: nothing that serving does needs to write."""
    neighbour.home.mkdir()
    mount = f'for f in "$1" {stocked.home}; do mount --bind "$f" "$f"; mount -o remount,ro,bind "$f"; done'
    read_only = mounting(neighbour, mount)
    read_only.environment["SLMCTL_STORE"] = str(stocked.store)
    with serving(read_only) as server:
        assert read_only("run", "hello", "Hi").code == 0
        created = httpx.post(f"{server.base_url}/api/copy", json={"source": "hello", "destination": "copy"})
        assert created.status_code == 500
        assert created.json()["error"].startswith("The server's store of models cannot be used.")
        until(lambda: [e for e in server.events if e.get("path") == "/slmctl/answer"] or None)
