"""Whose certificates are believed, against real TLS servers; for our client, for requests and for httpx."""

import socket
import ssl
import subprocess
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import requests

from registry.errors import SlmctlError, Unreachable, UsageError
from registry.remotes.addresses import Scope, scope_of
from registry.remotes.base import TryAgain
from registry.remotes.connections import Door, Failed, TrustedAdapter, resolve
from registry.remotes.http import HttpClient, HttpSettings
from registry.remotes.network import CaPlace
from registry.remotes.trust import describe, make_context, once
from slmctl.app.network import Network
from slmctl.config import Settings
from tests.fakes.certificates import Authority
from tests.fakes.wire import Server, reply, serve

VARIABLES = ["SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SLMCTL_CA"]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def server(authority: Authority) -> Iterator[Server]:
    """A TLS server whose certificate has the names localhost and 127.0.0.1."""
    with serve(
        lambda _request, wire: wire.send(reply(200, b"hello")),
        tls=authority.server("localhost", "127.0.0.1"),
        shown_host="localhost",
    ) as made:
        yield made


def http_settings(home: Path, environment: Mapping[str, str], ca: Path | None = None) -> HttpSettings:
    """What a command makes of an environment and of --ca."""
    settings = Settings.load({"HOME": str(home), **environment})
    return Network(settings.network, ca=ca).http_settings()


def with_ours(settings: HttpSettings, url: str) -> bytes:
    with HttpClient(settings) as client, client.send("GET", url) as answer:
        return answer.read(100)


def with_requests(settings: HttpSettings, url: str) -> bytes:
    door = Door(
        resolve=resolve, scope_of=scope_of, allowed=frozenset(Scope), stall_timeout=5.0, stall_bytes=1
    )
    with requests.Session() as session:
        session.trust_env = False
        session.mount("https://", TrustedAdapter(door, once(settings.ca)))
        return session.get(url, timeout=5).content


def with_httpx(settings: HttpSettings, url: str) -> bytes:
    with httpx.Client(verify=make_context(settings.ca), trust_env=False) as client:
        return client.get(url).content


CLIENTS = [with_ours, with_requests, with_httpx]
Ask = Callable[[HttpSettings, str], bytes]


@pytest.mark.parametrize("ask", CLIENTS)
@pytest.mark.parametrize("variable", VARIABLES)
def test_a_private_authority_through_each_variable(
    ask: Ask, variable: str, authority: Authority, server: Server, tmp_path: Path
) -> None:
    place = authority.pem.parent if variable == "SSL_CERT_DIR" else authority.pem
    assert ask(http_settings(tmp_path, {variable: str(place)}), server.url) == b"hello"


@pytest.mark.parametrize("ask", CLIENTS)
def test_a_private_authority_through_the_option(
    ask: Ask, authority: Authority, server: Server, tmp_path: Path
) -> None:
    assert ask(http_settings(tmp_path, {}, ca=authority.pem), server.url) == b"hello"


@pytest.mark.parametrize("ask", CLIENTS)
def test_an_authority_that_nobody_named_is_not_believed(
    ask: Ask, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, authority: Authority
) -> None:
    """Not even when the process's own environment has it: only slmctl.config reads that."""
    for variable in VARIABLES:
        monkeypatch.setenv(variable, str(authority.pem))
    with pytest.raises((Unreachable, Failed, httpx.ConnectError)) as caught:
        ask(http_settings(tmp_path, {}), server.url)
    reason = caught.value.reason if isinstance(caught.value, Failed) else caught.value
    assert "certificate" in str(reason).lower()


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SLMCTL_CA", "SSL_CERT_DIR"])
@pytest.mark.parametrize("hashed", [True, False])
def test_a_folder_of_certificates(
    variable: str, hashed: bool, authority: Authority, server: Server, tmp_path: Path
) -> None:
    """With names as c_rehash makes them, or with whatever names."""
    folder = tmp_path / "certificates"
    folder.mkdir()
    name = "mine.crt"
    if hashed:
        done = subprocess.run(
            ["openssl", "x509", "-hash", "-noout", "-in", authority.pem],
            capture_output=True,
            text=True,
            check=True,
        )
        name = f"{done.stdout.strip()}.0"
    (folder / name).write_bytes(authority.pem.read_bytes())
    (folder / "README").write_text("not a certificate")
    assert with_ours(http_settings(tmp_path, {variable: str(folder)}), server.url) == b"hello"


def test_several_folders(authority: Authority, server: Server, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other", "other")
    both = f"{other.pem.parent}:{authority.pem.parent}"
    assert with_ours(http_settings(tmp_path, {"SSL_CERT_DIR": both}), server.url) == b"hello"


def test_everything_is_believed_together(authority: Authority, server: Server, tmp_path: Path) -> None:
    """None takes the place of another, nor of the system's."""
    others = {variable: Authority(tmp_path / variable, variable) for variable in VARIABLES}
    environment = {
        variable: str(other.pem.parent if variable == "SSL_CERT_DIR" else other.pem)
        for variable, other in others.items()
    }
    settings = http_settings(tmp_path, environment, ca=authority.pem)
    assert with_ours(settings, server.url) == b"hello"
    for other in others.values():
        with serve(
            lambda _request, wire: wire.send(reply(200, b"other")),
            tls=other.server("localhost"),
            shown_host="localhost",
        ) as another:
            assert with_ours(settings, another.url) == b"other"
    context, plain = make_context(settings.ca), make_context(())
    assert context.cert_store_stats()["x509_ca"] >= plain.cert_store_stats()["x509_ca"] + len(VARIABLES)


def test_the_systems_store_is_there() -> None:
    stats = make_context(()).cert_store_stats()
    if not Path("/etc/ssl/certs/ca-certificates.crt").exists():
        pytest.skip("no ca-certificates here")
    assert stats["x509_ca"] > 50


# --- what is refused


def refusal(settings: HttpSettings, url: str) -> SlmctlError:
    with pytest.raises(Unreachable) as caught:
        with_ours(settings, url)
    assert not isinstance(caught.value, TryAgain)  # asking again changes nothing
    return caught.value


def test_a_name_that_the_certificate_does_not_have(authority: Authority, tmp_path: Path) -> None:
    settings = http_settings(tmp_path, {"SSL_CERT_FILE": str(authority.pem)})
    with serve(lambda _r, _w: None, tls=authority.server("elsewhere.example", "10.0.0.1")) as server:
        for host in ("localhost", "127.0.0.1"):
            error = refusal(settings, f"https://{host}:{server.port}/")
            assert error.message.startswith(f"The certificate of {host}:{server.port} is not trusted: ")
            assert "mismatch" in error.message
            assert "name" in str(error.hint)
    assert server.requests == []


def test_an_expired_certificate(authority: Authority, tmp_path: Path) -> None:
    settings = http_settings(tmp_path, {"SSL_CERT_FILE": str(authority.pem)})
    with serve(
        lambda _r, _w: None, tls=authority.server("localhost", expired=True), shown_host="localhost"
    ) as server:
        error = refusal(settings, server.url)
    assert "certificate has expired" in error.message
    assert "clock" in str(error.hint)


def test_an_authority_nobody_knows_is_named_with_what_is_believed(
    authority: Authority, tmp_path: Path
) -> None:
    other = Authority(tmp_path, "other")
    settings = http_settings(tmp_path, {"SSL_CERT_FILE": str(authority.pem)}, ca=authority.pem)
    with serve(lambda _r, _w: None, tls=other.server("localhost"), shown_host="localhost") as server:
        error = refusal(settings, server.url)
    assert error.message.endswith(
        f"(believed: the operating system's store, SSL_CERT_FILE={authority.pem} and --ca {authority.pem})."
    )
    assert "--ca FILE" in str(error.hint)


def test_a_certificate_that_signed_itself(tmp_path: Path) -> None:
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "cert.pem", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
        cwd=tmp_path, check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    with serve(
        lambda _request, wire: wire.send(reply(200, b"x")), tls=context, shown_host="localhost"
    ) as server:
        assert "self-signed certificate" in refusal(http_settings(tmp_path, {}), server.url).message
        # unless the user says that it is good
        assert with_ours(http_settings(tmp_path, {}, ca=tmp_path / "cert.pem"), server.url) == b"x"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_versions_of_tls_that_are_no_longer_safe(
    version: ssl.TLSVersion, authority: Authority, tmp_path: Path
) -> None:
    context = authority.server("localhost")
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = version
    settings = http_settings(tmp_path, {"SSL_CERT_FILE": str(authority.pem)})
    with serve(lambda _r, _w: None, tls=context, shown_host="localhost") as server:
        assert "no longer safe" in refusal(settings, server.url).message
    assert server.requests == []


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_server_that_wants_a_certificate_of_ours(
    version: ssl.TLSVersion, authority: Authority, tmp_path: Path
) -> None:
    context = authority.server("localhost")
    context.minimum_version = context.maximum_version = version
    context.verify_mode = ssl.CERT_REQUIRED
    settings = http_settings(tmp_path, {"SSL_CERT_FILE": str(authority.pem)})
    with serve(lambda _r, _w: None, tls=context, shown_host="localhost") as server:
        with pytest.raises(Unreachable, match=f"localhost:{server.port}") as caught:
            with_ours(settings, server.url)
        if (
            version is ssl.TLSVersion.TLSv1_2
        ):  # with 1.3 the alert and the end of the connection come in any order
            assert "wants a certificate of the client" in caught.value.message
    assert server.requests == []


@pytest.mark.parametrize("by", ["redirect", "realm"])
def test_encryption_is_never_left(by: str, authority: Authority, server: Server, tmp_path: Path) -> None:
    """Not even for this machine, nor for a host that may be asked without."""
    with serve(lambda _request, wire: wire.send(reply(200))) as plain:
        redirect = reply(302, b"", {"Location": plain.url})
        with serve(
            lambda _request, wire: wire.send(redirect),
            tls=authority.server("localhost"),
            shown_host="localhost",
        ) as encrypted:
            settings = replace(
                http_settings(tmp_path, {"SSL_CERT_FILE": str(authority.pem)}),
                plain_http=frozenset({plain.place}),
                named_hosts=frozenset({plain.place}),
            )
            with HttpClient(settings) as client, client.send("GET", encrypted.url, follow=False) as told:
                url, came_from = (encrypted.url, None) if by == "redirect" else (plain.url, told)
                with pytest.raises(Unreachable, match="that would leave encryption"):
                    client.send("GET", url, came_from=came_from)
    assert plain.requests == []


def test_a_server_without_tls(tmp_path: Path) -> None:
    with serve(
        lambda _request, wire: wire.send(reply(400)), greet=lambda wire: wire.send(b"HTTP/1.1 400 x\r\n\r\n")
    ) as server:
        error = refusal(http_settings(tmp_path, {}), f"https://{server.place}/")
    assert "does not speak TLS" in error.message
    assert "--plain-http" in str(error.hint)


@pytest.mark.parametrize("slow", [True, False])
def test_a_handshake_has_a_time_for_the_whole(slow: bool, tmp_path: Path) -> None:
    """Bytes that look like the head of a handshake's record, one now and then, or none at all."""
    settings = HttpSettings(connect_timeout=0.4)
    with (
        serve(
            lambda _r, _w: None,
            greet=lambda wire: wire.dribble(b"\x16\x03\x03\x40\x00" + b"\x02" * 500, 0.05 if slow else 60),
        ) as server,
        HttpClient(settings) as client,
        pytest.raises(TryAgain, match="handshake"),
    ):
        client.send("GET", f"https://{server.place}/")


@pytest.mark.parametrize("end", ["close", "reset"])
def test_a_handshake_that_is_cut(end: str, tmp_path: Path) -> None:
    with (
        serve(lambda _r, _w: None, greet=lambda wire: getattr(wire, end)()) as server,
        pytest.raises(TryAgain, match=server.place),
    ):
        with_ours(http_settings(tmp_path, {}), f"https://{server.place}/")


# --- places without certificates


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "does not exist"), (b"", "has no certificate"), (b"hello", "has no certificate"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "has no certificate"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "has no certificate"), (b"\x30\x82" * 100, "has no certificate"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "--ca"])
def test_a_file_without_certificates_is_wrong_usage(
    variable: str, content: bytes | None, why: str, tmp_path: Path
) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)
    given = {} if variable == "--ca" else {variable: str(file)}
    settings = http_settings(tmp_path, given, ca=file if variable == "--ca" else None)
    with pytest.raises(UsageError) as caught:
        with_ours(settings, "https://127.0.0.1:9/")
    assert caught.value.message.startswith(f"The file of certificates {file} that {variable} names {why}")


def test_folders_without_certificates_are_wrong_usage(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    for name, why in [
        ("none", "does not exist"),
        ("file", "is not a folder"),
        ("empty", "has no certificate in it"),
    ]:
        place = CaPlace(named_by="SSL_CERT_DIR", path=tmp_path / name, is_folder=True)
        with pytest.raises(UsageError, match=why):
            make_context([place])


def test_plain_http_needs_no_certificates(tmp_path: Path) -> None:
    """A wrong variable is no reason not to ask this machine without encryption."""
    with serve(lambda _request, wire: wire.send(reply(200, b"x"))) as server:
        assert (
            with_ours(http_settings(tmp_path, {"SSL_CERT_FILE": str(tmp_path / "none")}), server.url) == b"x"
        )


def test_one_file_named_four_times_is_read_once(authority: Authority, tmp_path: Path) -> None:
    places = [CaPlace(named_by=variable, path=authority.pem) for variable in VARIABLES]
    alone = make_context(places[:1]).cert_store_stats()
    assert make_context(places).cert_store_stats() == alone


def test_in_words(tmp_path: Path) -> None:
    one, two = CaPlace(named_by="SSL_CERT_FILE", path=Path("/x")), CaPlace(named_by="--ca", path=Path("/y"))
    assert describe([]) == "the operating system's store"
    assert describe([one]) == "the operating system's store and SSL_CERT_FILE=/x"
    assert describe([one, two]) == "the operating system's store, SSL_CERT_FILE=/x and --ca /y"


def test_tls_is_not_weakened(authority: Authority) -> None:
    context = make_context([CaPlace(named_by="--ca", path=authority.pem)])
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_the_names_of_hosts_are_resolved_by_the_system() -> None:
    assert (socket.AF_INET, ("127.0.0.1", 80)) in resolve("127.0.0.1", 80)
