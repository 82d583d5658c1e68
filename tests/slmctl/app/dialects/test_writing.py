"""A model in the formats of others: what is written is read back, and the same everywhere."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelfiles.spec import Message, ModelSpec
from registry import mediatypes
from registry.digest import Digest
from registry.errors import DigestMismatch, DoesNotFit, NotFound, UsageError
from registry.formats.facts import ModelFacts
from registry.formats.gguf import read_header
from registry.formats.gguf_facts import facts_from_gguf
from registry.store.index import Entry
from registry.store.store import Replace, Store
from slmctl.app.dialects.outgoing import Outgoing, tag_plan
from slmctl.app.dialects.writing import write
from slmctl.app.file_names import file_path
from slmctl.app.package import Package, PackageFile
from slmctl.app.packaging import Build, write_model
from tests.fakes import docker_model, kitops, modctl
from tests.fakes.artifact import NOW
from tests.gguf_bytes import Builder, tiny
from tests.slmctl.app.dialects.sent import as_layout, bytes_of, received
from tests.slmctl.app.dialects.test_reading import CONFIG_JSON, PROJECTOR, SAFETENSORS, WEIGHTS

SPEC = ModelSpec(
    parameters={"temperature": 0.5, "stop": ("<end>", "</s>"), "num_ctx": 2048, "use_mmap": True},
    system="Be brief.",
    template="{{ .Prompt }}",
    messages=(Message(role="user", content="Hi"), Message(role="assistant", content="Hello")),
    licenses=("MIT License\n", "BSD"),
    requires="0.20.0",
    parser="qwen3",
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def other(tmp_path: Path) -> Store:
    return Store(tmp_path / "other")


def gguf_facts(data: bytes) -> ModelFacts:
    return facts_from_gguf([read_header(io.BytesIO(data))])


def build(store: Store, session: Any, files: dict[str, tuple[str, bytes]], spec: ModelSpec) -> Build:
    weights = next(data for role, data in files.values() if role == "weights")
    facts = (
        gguf_facts(weights)
        if weights.startswith(b"GGUF")
        else ModelFacts(format="safetensors", architecture="llama", quantization="BF16")
    )
    return Build(
        files=tuple(
            PackageFile(path=path, role=role, digest=session.put(data), size=len(data))
            for path, (role, data) in files.items()
        ),
        facts=facts,
        licenses=(),
        spec=spec,
    )


def make(
    store: Store, *models: dict[str, tuple[str, bytes]], spec: ModelSpec = SPEC, name: str = "m:latest"
) -> Entry:
    with store.session("test") as session:
        builds = [build(store, session, files, spec) for files in models]
        descriptor = write_model(session, builds)
        return store.link(name, descriptor, source="test", linked=NOW, replace_rule=Replace.ANYTHING)


GGUF = {"model.gguf": ("weights", WEIGHTS)}
WITH_MORE = {
    **GGUF,
    "projector.gguf": ("projector", PROJECTOR),
    "README.md": ("doc", b"# read me"),
}
FOLDER = {
    "model.safetensors": ("weights", SAFETENSORS),
    "config.json": ("config", CONFIG_JSON),
    "tokenizer/tokenizer.json": ("config", b"{}"),
    "README.md": ("doc", b"#"),
}


def half() -> bytes:
    made = Builder(pairs=tiny().pairs)
    return made.tensor("token_embd.weight", (8, 16), 1, data=bytes(2 * 8 * 16)).build()


def contents(store: Store, package: Package) -> dict[str, bytes]:
    (variant,) = package.variants
    return {
        file.path: store.read_blob(file.descriptor)
        for file in variant.files
        if file.role != "spec" and file.path != "slmctl/spec.json"
    }


def documents(outgoing: Outgoing) -> list[Any]:
    return [json.loads(each.raw) for each in outgoing.documents]


# Docker Model Runner


def test_docker_gets_the_keys_that_it_reads(store: Store) -> None:
    outgoing = write(store, make(store, WITH_MORE), "docker")
    (manifest,) = documents(outgoing)
    blobs = bytes_of(outgoing)
    config = json.loads(blobs[manifest["config"]["digest"]])
    assert manifest["config"]["mediaType"] == "application/vnd.docker.ai.model.config.v0.1+json"
    assert manifest.keys() == {"schemaVersion", "mediaType", "config", "layers"}
    assert [layer["mediaType"].removeprefix("application/vnd.docker.ai.") for layer in manifest["layers"]] == [
        "gguf.v3", "mmproj", "license", "license", "model.file", "model.file",
    ]  # fmt: skip
    assert config["descriptor"] == {"created": "1970-01-01T00:00:00Z"}
    assert config["rootfs"] == {
        "type": "rootfs", "diff_ids": [layer["digest"] for layer in manifest["layers"]],
    }  # fmt: skip
    assert config["config"].pop("gguf")["general.architecture"] == "llama"
    assert config["config"] == {
        "format": "gguf",
        "quantization": "F32",
        "parameters": "600",
        "architecture": "llama",
        "size": f"{len(WEIGHTS) / 1024:.2f}KiB",
        "context_size": 2048,
    }
    assert manifest["layers"][0]["annotations"] == {
        "org.cncf.model.filepath": "model.gguf",
        "org.cncf.model.file.mediatype.untested": "false",
        "org.cncf.model.file.metadata+json": (
            '{"gid":0,"mode":420,"mtime":"1970-01-01T00:00:00Z","name":"model.gguf",'
            f'"size":{len(WEIGHTS)},"typeflag":0,"uid":0}}'
        ),
    }


@pytest.mark.parametrize("files", [GGUF, WITH_MORE, FOLDER], ids=["gguf", "more", "folder"])
def test_what_docker_gets_is_read_back(
    store: Store, other: Store, files: dict[str, tuple[str, bytes]]
) -> None:
    entry = make(store, files)
    package = received(write(store, entry, "docker"), other)
    ours = Package.of(store, entry)
    assert package.variants[0].spec == ours.variants[0].spec == SPEC
    assert contents(other, package) == contents(store, ours)
    assert package.variants[0].id == ours.variants[0].id
    if files is not FOLDER:
        assert package.variants[0].facts == ours.variants[0].facts


def test_shards_go_to_docker_in_their_order(store: Store, other: Store, tiny_shards: list[Path]) -> None:
    parts = [path.read_bytes() for path in tiny_shards]
    facts = facts_from_gguf([read_header(io.BytesIO(data)) for data in parts])
    with store.session("test") as session:
        files = tuple(
            PackageFile(
                path=file_path("weights", number, 3), role="weights", digest=session.put(data), size=len(data)
            )
            for number, data in enumerate(parts)
        )
        descriptor = write_model(
            session, [Build(files=files, facts=facts, licenses=(), spec=ModelSpec(licenses=("MIT",)))]
        )
        entry = store.link("m:latest", descriptor, source="test", linked=NOW, replace_rule=Replace.ANYTHING)
    outgoing = write(store, entry, "docker")
    (manifest,) = documents(outgoing)
    assert [layer["digest"] for layer in manifest["layers"][:3]] == [str(Digest.of(data)) for data in parts]
    (variant,) = received(outgoing, other).variants
    assert variant.facts == facts
    with pytest.raises(DoesNotFit, match="has 3 parts"):
        write(store, entry, "ollama")


def test_docker_is_told_what_it_has_no_place_for(store: Store) -> None:
    (note,) = write(store, make(store, GGUF), "docker").notes
    for word in ("TEMPLATE", "SYSTEM", "MESSAGE", "REQUIRES", "PARSER", "PARAMETER temperature"):
        assert word in note
    assert "LICENSE" not in note
    assert "num_ctx" not in note
    assert write(store, make(store, GGUF, spec=ModelSpec(licenses=("MIT",))), "docker").notes == ()


def test_docker_gets_a_renderer_as_a_chat_template(store: Store, other: Store) -> None:
    outgoing = write(store, make(store, GGUF, spec=ModelSpec(renderer="chatml")), "docker")
    assert outgoing.notes == ()
    (variant,) = received(outgoing, other).variants
    assert variant.spec.renderer == "chatml"
    assert variant.chat_template is not None
    assert b"<|im_start|>" in other.read_blob(variant.chat_template.descriptor)


def test_what_docker_cannot_run_is_refused(store: Store) -> None:
    with_adapter = {**GGUF, "adapter.gguf": ("adapter", b"GGUF")}
    with pytest.raises(DoesNotFit, match="no place for LoRA adapters"):
        write(store, make(store, with_adapter), "docker")


# Ollama


@pytest.mark.parametrize("spec", [SPEC, ModelSpec()], ids=["all", "nothing"])
def test_what_ollama_gets_is_read_back(store: Store, other: Store, spec: ModelSpec) -> None:
    entry = make(store, {**GGUF, "projector.gguf": ("projector", PROJECTOR)}, spec=spec)
    package = received(write(store, entry, "ollama"), other)
    ours = Package.of(store, entry)
    assert package.variants[0].spec == spec
    assert package.variants[0].facts == ours.variants[0].facts
    assert contents(other, package) == contents(store, ours)


def test_ollama_gets_what_it_reads(store: Store) -> None:
    outgoing = write(store, make(store, GGUF), "ollama")
    (manifest,) = documents(outgoing)
    blobs = bytes_of(outgoing)
    assert manifest["mediaType"] == "application/vnd.docker.distribution.manifest.v2+json"
    assert [
        layer["mediaType"].removeprefix("application/vnd.ollama.image.") for layer in manifest["layers"]
    ] == ["model", "template", "system", "license", "license", "params", "messages"]
    assert all(layer.keys() == {"mediaType", "digest", "size"} for layer in manifest["layers"])
    texts = [blobs[layer["digest"]] for layer in manifest["layers"][1:]]
    assert texts == [
        b"{{ .Prompt }}",
        b"Be brief.",
        b"MIT License\n",
        b"BSD",
        b'{"num_ctx":2048,"stop":["<end>","</s>"],"temperature":0.5,"use_mmap":true}',
        b'[{"content":"Hi","role":"user"},{"content":"Hello","role":"assistant"}]',
    ]
    assert json.loads(blobs[manifest["config"]["digest"]]) == {
        "model_format": "gguf",
        "model_family": "llama",
        "model_families": ["llama"],
        "model_type": "600",
        "file_type": "F32",
        "context_length": 128,
        "embedding_length": 8,
        "parser": "qwen3",
        "requires": "0.20.0",
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in manifest["layers"]]},
    }


def test_ollama_gets_the_template_of_a_renderer_that_is_ours(store: Store, other: Store) -> None:
    outgoing = write(store, make(store, GGUF, spec=ModelSpec(renderer="chatml")), "ollama")
    assert [note for note in outgoing.notes if "RENDERER chatml" in note]
    (variant,) = received(outgoing, other).variants
    assert variant.spec.renderer is None
    assert "<|im_start|>" in (variant.spec.template or "")


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        (FOLDER, "safetensors-bf16 is none"),
        ({**GGUF, "model-2.gguf": ("weights", WEIGHTS)}, "has 2 parts"),
        ({**GGUF, "a.gguf": ("adapter", b"1"), "b.gguf": ("adapter", b"2")}, "takes one adapter"),
    ],
)
def test_what_ollama_cannot_have_is_refused(
    store: Store, files: dict[str, tuple[str, bytes]], sentence: str
) -> None:
    with pytest.raises(DoesNotFit, match=sentence):
        write(store, make(store, files), "ollama")


def test_ollama_is_told_of_files_without_a_place(store: Store) -> None:
    notes = write(store, make(store, WITH_MORE), "ollama").notes
    assert [note for note in notes if "README.md" in note]


# Images


@pytest.mark.parametrize("files", [GGUF, WITH_MORE, FOLDER], ids=["gguf", "more", "folder"])
def test_an_image_has_the_files_under_models(store: Store, files: dict[str, tuple[str, bytes]]) -> None:
    outgoing = write(store, make(store, files), "image")
    blobs = bytes_of(outgoing)
    *manifests, index = documents(outgoing)
    assert [each["platform"] for each in index["manifests"]] == [
        {"architecture": "amd64", "os": "linux"},
        {"architecture": "arm64", "os": "linux"},
    ]
    assert manifests[0]["layers"] == manifests[1]["layers"]
    config = json.loads(blobs[manifests[1]["config"]["digest"]])
    assert (config["architecture"], config["os"]) == ("arm64", "linux")
    assert config["rootfs"]["diff_ids"] == [layer["digest"] for layer in manifests[0]["layers"]]
    found: dict[str, bytes] = {}
    for layer in manifests[0]["layers"]:
        assert layer["mediaType"] == "application/vnd.oci.image.layer.v1.tar"
        with tarfile.open(fileobj=io.BytesIO(blobs[layer["digest"]])) as archive:
            for member in archive:
                assert (member.uid, member.gid, member.uname, member.mtime) == (0, 0, "", 0)
                assert member.mode == (0o755 if member.isdir() else 0o644)
                if member.isfile():
                    stream = archive.extractfile(member)
                    assert stream is not None
                    found[member.name] = stream.read()
    assert found == {
        **{f"models/{path}": data for path, (_, data) in files.items()},
        "models/slmctl/spec.json": SPEC.to_canonical_bytes(),
    }
    large = [role for role, _ in files.values() if role in {"weights", "projector"}]
    assert len(manifests[0]["layers"]) == len(large) + 1


def test_it_is_said_that_an_image_has_no_shell(store: Store) -> None:
    (note,) = write(store, make(store, GGUF), "image").notes
    assert "modelcars" in note
    assert "COPY --from=IMAGE /models /models" in note


def test_names_that_ustar_cannot_say(store: Store) -> None:
    files = {
        **GGUF,
        f"{'d' * 120}/x.json": ("config", b"1"),
        "modèle/ü.json": ("config", b"2"),
        "é" * 120: ("doc", b"3"),
    }
    outgoing = write(store, make(store, files), "image")
    names = []
    for data in bytes_of(outgoing).values():
        if data[257:262] == b"ustar":
            with tarfile.open(fileobj=io.BytesIO(data)) as archive:
                names += [member.name for member in archive if member.isfile()]
    assert sorted(names) == sorted([*(f"models/{path}" for path in files), "models/slmctl/spec.json"])


def test_damaged_weights_do_not_get_into_an_image(store: Store) -> None:
    entry = make(store, GGUF)
    blob = store.layout.blob(Digest.of(WEIGHTS))
    blob.chmod(0o644)
    blob.write_bytes(WEIGHTS[:-1] + b"x")
    with pytest.raises(DigestMismatch):
        write(store, entry, "image")


def test_a_model_that_changes_its_words_shares_the_layer_of_its_weights(store: Store) -> None:
    layers = []
    for spec in (SPEC, replace(SPEC, system="Be long.")):
        outgoing = write(store, make(store, GGUF, spec=spec), "image")
        layers.append([layer["digest"] for layer in documents(outgoing)[0]["layers"]])
    assert layers[0][0] == layers[1][0]
    assert layers[0][1] != layers[1][1]


# All of them

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
    with pytest.raises(UsageError, match="packed in tars"):
        write(store, entry, "modelpack")


def test_modelpack_of_others_goes_into_an_image(store: Store) -> None:
    artifact = modctl.model_pack({"a/m.gguf": WEIGHTS, "README.md": b"#"})
    outgoing = write(store, artifact.put_into(store, "m:latest"), "image")
    assert len(outgoing.documents) == 3


def test_formats_that_there_are_not(store: Store) -> None:
    with pytest.raises(UsageError, match="no format 'zip'"):
        write(store, make(store, GGUF), "zip")
