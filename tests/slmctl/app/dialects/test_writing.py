"""A model in the formats of others: what is written is the same everywhere, and goes under the right tags."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from registry import mediatypes
from registry.digest import Digest
from registry.errors import DoesNotFit, NotFound, UsageError
from registry.store.store import Store
from slmctl.app.dialects.outgoing import tag_plan
from slmctl.app.dialects.writing import write
from slmctl.app.package import Package
from tests.fakes import docker_model, kitops, modctl
from tests.slmctl.app.dialects.made import (
    FOLDER,
    GGUF,
    WEIGHTS,
    WITH_MORE,
    half,
    make,
)
from tests.slmctl.app.dialects.sent import as_layout, bytes_of, received

GOLDEN = {
    "modelpack": "sha256:6cb56b5166ec89973239df4049101cc6ece01be193efb3b820a9dab966dbc51a",
    "docker": "sha256:89209c78982d3b18f3b17ba0bf69916d11274741c41f09fe431f0c980d657e34",
    "ollama": "sha256:62ee722c4a0028133c96a2acb638b0373ab33056aded0541b90c48e7349d5c54",
    "image": "sha256:d41c48999347de0b37503f5a3a20e89d3b8bfccd6066eaddb710c267a8afb042",
}


@pytest.mark.parametrize("format_", GOLDEN)
def test_digests_are_the_same_on_every_machine(store: Store, format_: str) -> None:
    assert str(write(store, make(store, WITH_MORE), format_).root) == GOLDEN[format_]


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed")
@pytest.mark.parametrize("format_", ["modelpack", "docker", "image"])
def test_skopeo_reads_and_copies_it(store: Store, tmp_path: Path, format_: str) -> None:
    outgoing = write(store, make(store, WITH_MORE), format_)
    as_layout(outgoing, tmp_path / "layout", "v1")

    def skopeo(*args: str) -> bytes:
        return subprocess.run(["skopeo", *args], check=True, capture_output=True, timeout=60).stdout

    source = f"oci:{tmp_path}/layout:v1"
    assert Digest.of(skopeo("inspect", "--raw", source)) == outgoing.root
    skopeo("copy", "--all", "--preserve-digests", source, f"oci:{tmp_path}/copy:v1")
    copied = {path.name for path in (tmp_path / "copy/blobs/sha256").iterdir()}
    assert copied == {digest.removeprefix("sha256:") for digest in bytes_of(outgoing)}
    if format_ == "image":
        said = json.loads(skopeo("inspect", "--override-os", "linux", "--override-arch", "arm64", source))
        assert said["Architecture"] == "arm64"
        assert len(said["Layers"]) == 3


def test_several_builds_under_an_index_and_tags_of_their_own(store: Store, other: Store) -> None:
    entry = make(store, GGUF, {"model.gguf": ("weights", half())})
    outgoing = write(store, entry)
    assert outgoing.root == entry.descriptor.digest
    package = received(outgoing, other)
    assert [variant.id for variant in package.variants] == ["gguf-f32", "gguf-f16"]
    digests = {variant.id: str(variant.digest) for variant in package.variants}
    assert [put.references for put in tag_plan(outgoing, "v1")] == [
        ("v1-gguf-f32",),
        ("v1-gguf-f16",),
        ("v1",),
    ]
    assert [put.references for put in tag_plan(outgoing, "v1", variant_tags=False)] == [
        (digests["gguf-f32"],),
        (digests["gguf-f16"],),
        ("v1",),
    ]
    with pytest.raises(UsageError, match="longer than 128"):
        tag_plan(outgoing, "v" * 125)


@pytest.mark.parametrize("format_", ["docker", "ollama", "image"])
def test_who_reads_no_index_gets_a_tag_for_each_build(store: Store, other: Store, format_: str) -> None:
    entry = make(store, {"model.gguf": ("weights", half())}, GGUF)
    outgoing = write(store, entry, format_)
    puts = tag_plan(outgoing, "v1")
    tags = {
        tag: put.document.digest for put in puts for tag in put.references if not tag.startswith("sha256")
    }
    assert tags.keys() == {"v1", "v1-gguf-f16", "v1-gguf-f32"}
    assert tags["v1"] == tags["v1-gguf-f16"]  # the first, where none is Q4_K_M
    assert [note for note in outgoing.notes if "under one tag" in note]
    if format_ != "image":
        for identity in ("gguf-f16", "gguf-f32"):
            assert received(outgoing, other, tags[f"v1-{identity}"]).variants[0].id == identity


def test_one_build_has_one_tag(store: Store) -> None:
    entry = make(store, GGUF)
    for format_ in ("modelpack", "docker", "ollama"):
        (put,) = tag_plan(write(store, entry, format_), "v1")
        assert put.references == ("v1",)


def test_some_builds_of_several(store: Store, other: Store) -> None:
    entry = make(store, GGUF, {"model.gguf": ("weights", half())}, FOLDER)
    one = write(store, entry, variants=["gguf-f16"])
    assert one.root == Package.of(store, entry).choose("gguf-f16").digest
    assert one.variants == {}
    two = write(store, entry, variants=["gguf-f16", "F32"])
    assert [variant.id for variant in received(two, other).variants] == ["gguf-f32", "gguf-f16"]
    with pytest.raises(NotFound):
        write(store, entry, variants=["q9"])


def test_a_sparse_model_says_what_is_missing(store: Store) -> None:
    entry = make(store, GGUF, {"model.gguf": ("weights", half())})
    blob = store.layout.blob(Digest.of(WEIGHTS))
    blob.unlink()
    assert write(store, entry).missing(store) == (Digest.of(WEIGHTS),)
    assert write(store, entry, variants=["gguf-f16"]).missing(store) == ()
    for format_ in ("docker", "ollama", "image"):
        outgoing = write(store, entry, format_)
        assert outgoing.missing(store) == (Digest.of(WEIGHTS),)
        assert not outgoing.documents
        assert write(store, entry, format_, variants=["gguf-f16"]).documents


def test_others_artifacts_go_as_they_are_or_as_modelpack(store: Store, other: Store) -> None:
    artifact = docker_model.gguf_model([WEIGHTS], licenses=[b"MIT"], template=b"{{ messages }}")
    entry = artifact.put_into(store, "theirs:latest")
    for format_ in (None, "docker"):
        outgoing = write(store, entry, format_)
        assert outgoing.root == artifact.manifest.digest
        assert bytes_of(outgoing).keys() == {*artifact.blobs, str(artifact.manifest.digest)}
    outgoing = write(store, entry, "modelpack")
    (note,) = outgoing.notes
    assert "written as ModelPack" in note
    (variant,) = received(outgoing, other).variants
    assert variant.spec.licenses == ("MIT",)
    assert {file.path for file in variant.files} == {"model.gguf", "chat_template.jinja", "slmctl/spec.json"}
    written = json.loads(outgoing.documents[0].raw)
    assert written["artifactType"] == mediatypes.MODELPACK_ARTIFACT


def test_an_adopted_model_of_ollamas_goes_as_modelpack_or_as_it_is(store: Store, other: Store) -> None:
    written = write(store, make(store, GGUF), "ollama")
    received(written, other)
    entry = other.names().entries["sent:latest"]
    assert write(other, entry, "ollama").root == written.root
    for format_ in (None, "modelpack"):
        outgoing = write(other, entry, format_)
        assert outgoing.root != written.root
        assert [document.media_type for document in outgoing.documents] == [mediatypes.OCI_MANIFEST]
    assert write(other, entry).root == make(store, GGUF).descriptor.digest  # as if it had never been Ollama's


def test_packed_artifacts_go_only_as_they_are(store: Store) -> None:
    artifact = kitops.model_kit({"m.gguf": WEIGHTS})
    entry = artifact.put_into(store, "kit:latest")
    assert write(store, entry).root == artifact.manifest.digest
    for format_ in ("docker", "ollama", "image"):
        with pytest.raises(DoesNotFit, match="packed in the tars"):
            write(store, entry, format_)
    with pytest.raises(UsageError, match="packed in the tars"):
        write(store, entry, "modelpack")


def test_modelpack_of_others_goes_into_an_image(store: Store) -> None:
    artifact = modctl.model_pack({"a/m.gguf": WEIGHTS, "README.md": b"#"})
    outgoing = write(store, artifact.put_into(store, "m:latest"), "image")
    assert len(outgoing.documents) == 3


def test_formats_that_there_are_not(store: Store) -> None:
    with pytest.raises(UsageError, match="no format 'zip'"):
        write(store, make(store, GGUF), "zip")
