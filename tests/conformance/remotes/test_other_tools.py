"""skopeo and oras-py as clients of what we push, and as authors of what we pull; logins shared with skopeo."""

from __future__ import annotations

import io
import os
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from oras.client import OrasClient
from oras.layout.layout import NewLayout, NewLayoutFromRegistry

from registry.digest import Digest
from registry.manifest import Descriptor
from registry.remotes.base import Blob, OpenAt
from registry.remotes.credentials import Keyring
from registry.remotes.credentials_file import log_in
from registry.remotes.http import HttpClient
from registry.remotes.oci import OciRemote
from registry.remotes.tree import documents_of
from tests.conformance.remotes.samples import index_of_two, layout_of, some_bytes
from tests.registries.fixtures import LOGIN, client_of, name_in, registries_of
from tests.registries.programs import PASSWORD, USER, Registry, behind_nginx, need
from tests.registries.wire_cutter import WireCutter, wire_cutter

SAMPLE = index_of_two()


@pytest.fixture
def http() -> Iterator[HttpClient]:
    with client_of() as client:
        yield client


@pytest.fixture
def path() -> str:
    """A repository that nobody else uses."""
    return f"tools/{uuid.uuid4().hex}"


def skopeo(*arguments: str, stdin: str | None = None, code: int = 0, **environment: str) -> str:
    need("skopeo")
    done = subprocess.run(
        ["skopeo", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **environment},
    )
    assert done.returncode == code, done.stderr
    return done.stdout


def contents(layout: Path) -> dict[str, bytes]:
    """The blobs of a layout that belong to the sample."""
    found = {f"sha256:{each.name}": each.read_bytes() for each in (layout / "blobs" / "sha256").iterdir()}
    wanted = {**SAMPLE.blobs, **SAMPLE.documents}
    return {digest: data for digest, data in found.items() if digest in wanted}


def everything() -> dict[str, bytes]:
    return {**SAMPLE.blobs, **{digest: raw for digest, (raw, _) in SAMPLE.documents.items()}}


def push(remote: OciRemote) -> None:
    for text, data in SAMPLE.blobs.items():
        remote.upload(Blob(digest=Digest.parse(text), size=len(data)), opener(data), lambda _: None)
    for text, (raw, media_type) in reversed(list(SAMPLE.documents.items())):
        remote.put_manifest(raw, media_type, "v1" if text == SAMPLE.root else text)


def opener(data: bytes) -> OpenAt:
    return lambda at: io.BytesIO(data[at:])


def pulled(remote: OciRemote, registry: Registry, path: str) -> dict[str, bytes]:
    """Every byte that is reached from the name, through our remote."""
    found: dict[str, bytes] = {}
    for document in documents_of(remote, remote.resolve(name_in(registry, f"{path}:v1"))):
        found[str(document.descriptor.digest)] = document.value.raw
        for blob in getattr(document.value, "layers", ()):
            found[str(blob.digest)] = remote.read_blob(blob)
        if config := getattr(document.value, "config", None):
            found[str(config.digest)] = remote.read_blob(config)
    return found


def test_skopeo_pulls_what_we_pushed(
    plain_registry: Registry, http: HttpClient, path: str, tmp_path: Path
) -> None:
    push(registries_of(http).oci(name_in(plain_registry, f"{path}:v1")))
    source = f"docker://{plain_registry.host}/{path}:v1"
    skopeo(
        "copy", "--all", "--preserve-digests", "--src-tls-verify=false", source, f"oci:{tmp_path}/layout:v1"
    )
    assert contents(tmp_path / "layout") == everything()


def test_oras_pulls_what_we_pushed(
    plain_registry: Registry, http: HttpClient, path: str, tmp_path: Path
) -> None:
    push(registries_of(http).oci(name_in(plain_registry, f"{path}:v1")))
    client = OrasClient(hostname=plain_registry.host, insecure=True)
    NewLayoutFromRegistry(str(tmp_path / "layout"), client, f"{plain_registry.host}/{path}:v1", tag="v1")
    assert contents(tmp_path / "layout") == everything()


def test_we_pull_what_skopeo_pushed(
    plain_registry: Registry, http: HttpClient, path: str, tmp_path: Path
) -> None:
    layout = layout_of(tmp_path / "layout", SAMPLE, "v1")
    target = f"docker://{plain_registry.host}/{path}:v1"
    skopeo("copy", "--all", "--preserve-digests", "--dest-tls-verify=false", f"oci:{layout}:v1", target)
    remote = registries_of(http).oci(name_in(plain_registry, f"{path}:v1"))
    assert pulled(remote, plain_registry, path) == everything()


def test_we_pull_what_oras_pushed(
    plain_registry: Registry, http: HttpClient, path: str, tmp_path: Path
) -> None:
    layout = NewLayout(str(layout_of(tmp_path / "layout", SAMPLE, "v1")))
    client = OrasClient(hostname=plain_registry.host, insecure=True)
    layout.push_to_registry(provider=client, target=f"{plain_registry.host}/{path}:v1", tag="v1")
    remote = registries_of(http).oci(name_in(plain_registry, f"{path}:v1"))
    assert pulled(remote, plain_registry, path) == everything()


def test_skopeo_uses_a_login_of_ours(
    password_registry: Registry, plain_registry: Registry, http: HttpClient, path: str, tmp_path: Path
) -> None:
    push(registries_of(http).oci(name_in(plain_registry, f"{path}:v1")))
    file = tmp_path / "config.json"
    keyring = Keyring((file,), search_path="", helper_environment={})
    log_in(keyring, file, password_registry.host, username=USER, password=PASSWORD)
    arguments = ("--tls-verify=false", "--raw", f"docker://{password_registry.host}/{path}:v1")
    raw = skopeo("inspect", *arguments, REGISTRY_AUTH_FILE=str(file))
    assert raw.encode() == SAMPLE.documents[SAMPLE.root][0]
    skopeo("inspect", *arguments, REGISTRY_AUTH_FILE=str(tmp_path / "none.json"), code=1)


def test_we_use_a_login_of_skopeos(
    password_registry: Registry, plain_registry: Registry, http: HttpClient, path: str, tmp_path: Path
) -> None:
    file = tmp_path / "auth.json"
    skopeo(
        "login", "--authfile", str(file), "--tls-verify=false", "--username", USER, "--password-stdin",
        password_registry.host, stdin=PASSWORD,
    )  # fmt: skip
    push(registries_of(http).oci(name_in(plain_registry, f"{path}:v1")))
    remote = registries_of(http, files=(file,)).oci(name_in(password_registry, f"{path}:v1"))
    assert pulled(remote, password_registry, path) == everything()


CUTS = [[40_000_000], [1000, 33_000_000, 60_000_000], [34_000_000, 70_000_000]]
CHUNK_BYTES = 32 << 20
MARGIN_BYTES = 1 << 20
"""Heads of requests, and TLS."""


def upload_through(wire: WireCutter, registry: Registry, path: str, cuts: list[int]) -> int:
    """Send 70 MiB through a wire that is cut there, look at what came; how many bytes were sent too many."""
    data = some_bytes(70 << 20, 3)
    blob = Blob(digest=Digest.of(data), size=len(data))
    wire.cuts = list(cuts)
    through = replace(registry, host=wire.host)
    told: list[int] = []
    with client_of(registry) as http:
        credential = LOGIN if registry.password else None
        remote = registries_of(http, attempts=6).oci(name_in(through, path), credential=credential)
        remote.upload(blob, lambda at: io.BytesIO(data[at:]), told.append)
        assert wire.done == cuts
        assert sum(told) == len(data)
        sent = wire.passed
        descriptor = Descriptor(media_type="", digest=blob.digest, size=blob.size)
        direct = registries_of(http).oci(name_in(registry, path), credential=credential)
        assert direct.read_blob(descriptor, limit=blob.size) == data
    return sent - len(data)


@pytest.mark.parametrize("cuts", CUTS)
def test_an_upload_goes_on_after_cuts(tls_registry: Registry, path: str, cuts: list[int]) -> None:
    """nginx hands on whole requests only, so that the registry has whole chunks: at most one is sent again."""
    with wire_cutter(tls_registry.host) as wire:
        assert upload_through(wire, tls_registry, path, cuts) <= len(cuts) * CHUNK_BYTES + MARGIN_BYTES


def test_a_proxy_that_takes_little_at_once_gets_little_at_once(
    password_registry: Registry, path: str, tmp_path: Path
) -> None:
    data = some_bytes(40 << 20, 4)
    blob = Blob(digest=Digest.of(data), size=len(data))
    with behind_nginx(tmp_path, password_registry, largest="9m") as registry, client_of(registry) as http:
        remote = registries_of(http).oci(name_in(registry, path), credential=LOGIN)
        remote.upload(blob, opener(data), lambda _: None)
        assert remote.has(blob)
        small = Blob(digest=Digest.of(data[: 20 << 20]), size=20 << 20)  # one that would go in one request
        remote.upload(small, opener(data[: 20 << 20]), lambda _: None)
        assert remote.has(small)


@pytest.mark.parametrize("cuts", CUTS)
def test_an_upload_begins_again_where_the_registry_forgets_it(
    plain_registry: Registry, path: str, cuts: list[int]
) -> None:
    """docker-registry 2.8 gives an upload up when a request is cut in its middle ("resumed at wrong offset")."""
    with wire_cutter(plain_registry.host) as wire:
        assert upload_through(wire, plain_registry, path, cuts) <= cuts[-1] + MARGIN_BYTES
