"""`slmctl pull` of what other tools pushed to docker-registry: as it is, or unpacked where it has to be."""

from __future__ import annotations

import pytest

from registry.digest import Digest
from slmctl.app.ships import FOLDER
from tests.fakes import docker_model, kitops, modctl
from tests.fakes.artifact import OCI_MANIFEST, FakeArtifact
from tests.gguf_bytes import Builder, tiny
from tests.registries.author import put_blob, put_manifest
from tests.registries.programs import Registry
from tests.slmctl.cli.program import Program

HELLO = (FOLDER / "hello" / "hello.gguf").read_bytes()
QUESTION = "What is GGUF?"


def published(registry: Registry, place: str, artifact: FakeArtifact) -> str:
    """Push it without a line of ours; gives the name to pull."""
    repository = place.partition("/")[2]
    for data in artifact.blobs.values():
        put_blob(registry.url, repository, data)
    put_manifest(registry.url, repository, artifact.raw, OCI_MANIFEST, "v1")
    return f"{place}:v1"


def answer(slmctl: Program, name: str) -> str:
    outcome = slmctl("run", name, QUESTION, "--temperature", "0")
    assert outcome.code == 0, outcome.err
    return outcome.out


AS_IT_IS = {
    "docker": docker_model.gguf_model([HELLO], licenses=[b"A licence."]),
    "modctl": modctl.model_pack({"hello.gguf": HELLO}),
    "cnai": modctl.model_pack({"hello.gguf": HELLO}, organisation=modctl.CNAI),
}


@pytest.mark.parametrize("kind", AS_IT_IS)
def test_raw_layers_are_pulled_byte_for_byte_and_run(
    slmctl: Program, plain_registry: Registry, place: str, kind: str
) -> None:
    slmctl.go_online()
    artifact = AS_IT_IS[kind]
    name = published(plain_registry, place, artifact)
    assert slmctl("pull", name).code == 0
    (row,) = slmctl("list", "--json").json["models"]
    assert row["digest"] == str(artifact.manifest.digest)
    stored = {f"sha256:{path.name}" for path in (slmctl.store / "blobs" / "sha256").iterdir()}
    assert stored == {*artifact.blobs, row["digest"]}
    assert "GGUF is the model format" in answer(slmctl, name)


@pytest.mark.parametrize("packing", ["tar", "tar+gzip", "tar+zstd"], ids=["plain", "gzip", "zstd"])
def test_a_packed_artifact_is_unpacked_and_runs(
    slmctl: Program, plain_registry: Registry, place: str, packing: str
) -> None:
    slmctl.go_online()
    artifact = kitops.model_kit({"hello.gguf": HELLO}, code={"train.py": b"print()"}, packing=packing)
    name = published(plain_registry, place, artifact)
    outcome = slmctl("pull", name)
    assert outcome.code == 0, outcome.err
    assert "train.py" in outcome.err
    assert outcome.out.startswith(f"pulled '{name}' (gguf-f16, ")  # as its own header says it
    assert "GGUF is the model format" in answer(slmctl, name)
    stored = {f"sha256:{path.name}" for path in (slmctl.store / "blobs" / "sha256").iterdir()}
    assert str(Digest.of(HELLO)) in stored
    assert not stored & artifact.blobs.keys()  # nothing of the packaging stays
    (row,) = slmctl("list", "--json").json["models"]
    assert str(artifact.manifest.digest) in row["source"]  # and yet it is known where it came from
    for again in (name, "--all"):
        (told,) = slmctl("pull", again, "--json").json["models"]
        assert (told["changed"], told["missing"]) == (False, 0)  # the tars did not come again
    assert slmctl("gc").out == "nothing to free\n"
    assert slmctl("list", "--outdated").code == 0


def test_several_models_in_one_artifact_become_variants(
    slmctl: Program, plain_registry: Registry, place: str
) -> None:
    slmctl.go_online()
    half = Builder(pairs=tiny().pairs).tensor("token_embd.weight", (8, 16), 1, data=bytes(2 * 8 * 16)).build()
    artifact = modctl.model_pack({"f32.gguf": tiny().build(), "f16.gguf": half})
    name = published(plain_registry, place, artifact)
    outcome = slmctl("pull", name)
    assert outcome.code == 0, outcome.err
    shown = slmctl("show", name, "--json").json
    assert [variant["id"] for variant in shown["variants"]] == ["gguf-f16", "gguf-f32"]


def test_a_bomb_is_no_model(slmctl: Program, plain_registry: Registry, place: str) -> None:
    slmctl.go_online()
    artifact = kitops.model_kit({"m.gguf": bytes(200 << 20)})
    outcome = slmctl("pull", published(plain_registry, place, artifact))
    assert outcome.code == 5
    assert "times its size" in outcome.err
    assert slmctl("list", "--json").json["models"] == []
    blobs = slmctl.store / "blobs" / "sha256"
    slmctl("gc", "--all")
    assert [path for path in blobs.iterdir() if path.stat().st_size > 1 << 20] == []


def test_a_container_image_is_called_one(slmctl: Program, plain_registry: Registry, place: str) -> None:
    slmctl.go_online()
    artifact = FakeArtifact()
    artifact.configure("application/vnd.oci.image.config.v1+json", {"architecture": "amd64", "os": "linux"})
    artifact.layer("application/vnd.oci.image.layer.v1.tar+gzip", b"layer")
    outcome = slmctl("pull", published(plain_registry, place, artifact))
    assert outcome.code == 4
    assert "is a container image, and no model" in outcome.err
