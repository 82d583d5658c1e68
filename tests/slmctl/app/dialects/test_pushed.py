"""Every format pushed to Debian's docker-registry, and read there by skopeo and by slmctl."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from registry.digest import Digest
from registry.store.store import Store
from slmctl.app.dialects.outgoing import Outgoing, tag_plan
from slmctl.app.dialects.unpacking import needs
from slmctl.app.dialects.writing import write
from tests.fakes import kitops
from tests.registries.fixtures import client_of, name_in, registries_of
from tests.registries.programs import Registry
from tests.slmctl.app.dialects.made import GGUF, WEIGHTS, WITH_MORE, half, make
from tests.slmctl.app.dialects.sent import bytes_of, received

pytestmark = pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed")


def push(registry: Registry, path: str, outgoing: Outgoing) -> None:
    """As a push does it: blobs, then documents by the plan of tags."""
    with client_of(registry) as http:
        name = name_in(registry, path)
        remote = registries_of(http).oci(name)
        for each in outgoing.blobs:
            if not remote.has(each.blob):
                remote.upload(each.blob, each.open_at, lambda _: None)
        for put in tag_plan(outgoing, name.tag or "latest"):
            for reference in put.references:
                digest = remote.put_manifest(put.document.raw, put.document.media_type, reference)
                assert digest == put.document.digest
        assert remote.resolve(name).root.digest == outgoing.root


def skopeo(*args: str) -> bytes:
    done = subprocess.run(["skopeo", *args], capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def inspected(registry: Registry, path: str, *args: str) -> bytes:
    return skopeo("inspect", "--tls-verify=false", *args, f"docker://{registry.host}/{path}")


@pytest.mark.parametrize("format_", ["modelpack", "docker", "ollama", "image"])
def test_it_is_read_where_it_was_pushed(
    store: Store, tmp_path: Path, plain_registry: Registry, format_: str
) -> None:
    outgoing = write(store, make(store, WITH_MORE), format_)
    path = f"dialects/{format_}:v1"
    push(plain_registry, path, outgoing)
    assert Digest.of(inspected(plain_registry, path, "--raw")) == outgoing.root
    if format_ == "ollama":  # skopeo knows Docker's own layers only under Docker's manifest
        return
    copy = tmp_path / "copy"
    skopeo(
        "copy", "--all", "--preserve-digests", "--src-tls-verify=false",
        f"docker://{plain_registry.host}/{path}", f"dir:{copy}",
    )  # fmt: skip
    copied = {path.name for path in copy.iterdir()}
    wanted = {digest.removeprefix("sha256:") for digest in bytes_of(outgoing)}
    documents = {each.digest.hex for each in outgoing.documents}
    assert copied >= wanted - documents


def test_an_image_is_for_both_platforms(store: Store, plain_registry: Registry) -> None:
    outgoing = write(store, make(store, GGUF), "image")
    push(plain_registry, "dialects/platforms:v1", outgoing)
    for architecture in ("amd64", "arm64"):
        said = json.loads(
            inspected(plain_registry, "dialects/platforms:v1", f"--override-arch={architecture}")
        )
        assert (said["Architecture"], said["Os"]) == (architecture, "linux")
        assert len(said["Layers"]) == 2


def test_variants_have_tags_beside_the_index(store: Store, plain_registry: Registry) -> None:
    entry = make(store, GGUF, {"model.gguf": ("weights", half())})
    for format_ in ("modelpack", "docker"):
        outgoing = write(store, entry, format_)
        push(plain_registry, f"dialects/several-{format_}:v1", outgoing)
        said = json.loads(
            skopeo(
                "list-tags",
                "--tls-verify=false",
                f"docker://{plain_registry.host}/dialects/several-{format_}",
            )
        )
        assert sorted(said["Tags"]) == ["v1", "v1-gguf-f16", "v1-gguf-f32"]


def test_a_kit_in_a_registry_is_described_without_its_weights(
    store: Store, tmp_path: Path, plain_registry: Registry
) -> None:
    """Mirrored as it is; then a remote tells what must be fetched."""
    artifact = kitops.model_kit({"m.gguf": WEIGHTS}, code={"x.py": b"1"})
    entry = artifact.put_into(store, "kit:latest")
    outgoing = write(store, entry)
    push(plain_registry, "dialects/kit:v1", outgoing)
    with client_of(plain_registry) as http:
        remote = registries_of(http).oci(name_in(plain_registry, "dialects/kit:v1"))
        wanted = needs(remote, artifact.manifest)
    assert wanted.packed
    assert len(wanted.layers) == 1
    assert wanted.left_out is not None
    assert "x.py" in wanted.left_out
    assert received(outgoing, Store(tmp_path / "other")).variants[0].packed is not None
