"""Artifacts of other tools as packages: their files, their facts, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from registry.errors import BadContent, DoesNotFit, MalformedFile, UsageError
from registry.names import parse
from registry.store.store import Store
from slmctl.app.dialects.unpacking import needs
from slmctl.app.exporting import ExportRequest, export
from slmctl.app.importing import ImportRequest, import_bundle
from slmctl.app.listing import list_models
from slmctl.app.package import Package, Variant, check_unpacked
from slmctl.app.packaging import build_of
from slmctl.app.rendering import template_text
from tests.fakes import docker_model, kitops, modctl
from tests.fakes.artifact import NOW, FakeArtifact
from tests.slmctl.app.dialects.made import CONFIG_JSON, PROJECTOR, SAFETENSORS, WEIGHTS


def opened(store: Store, artifact: FakeArtifact) -> Variant:
    artifact.put_into(store, "m:latest")
    package = Package.open(store, parse("m"))
    (variant,) = package.variants
    return variant


def files_of(variant: Variant) -> dict[str, str]:
    return {file.path: file.role for file in variant.files}


ONE_GGUF = [
    pytest.param(docker_model.gguf_model([WEIGHTS]), "model.gguf", id="docker 0.1"),
    pytest.param(docker_model.gguf_model([WEIGHTS], annotated=False), "model.gguf", id="docker 0.1, first"),
    pytest.param(docker_model.gguf_model([WEIGHTS], config={}), "model.gguf", id="docker 0.1, config says nothing"),
    pytest.param(modctl.model_pack({"a/m-Q8.gguf": WEIGHTS}), "a/m-Q8.gguf", id="modctl"),
    pytest.param(modctl.model_pack({"m.gguf": WEIGHTS}, organisation=modctl.CNAI), "m.gguf", id="cnai"),
    pytest.param(modctl.model_pack({"m.gguf": WEIGHTS}, weight_type="gguf"), "m.gguf", id="old docker modelpack"),
    pytest.param(modctl.model_pack({"m.gguf": WEIGHTS}, config={}), "m.gguf", id="config says nothing"),
    pytest.param(modctl.podman_artifact({"m.gguf": WEIGHTS}), "m.gguf", id="podman"),
]  # fmt: skip


@pytest.mark.parametrize(("artifact", "path"), ONE_GGUF)
def test_a_gguf_is_found_and_its_header_counts(store: Store, artifact: FakeArtifact, path: str) -> None:
    variant = opened(store, artifact)
    assert (variant.id, variant.format, variant.quantization) == ("gguf-f32", "gguf", "F32")
    assert [file.path for file in variant.weights] == [path]
    assert variant.facts is not None
    assert variant.facts.trained_context == 128
    assert variant.digest == artifact.manifest.digest
    assert variant.local
    assert variant.packed is None
    (row,) = list_models(store)
    assert (row.variants, row.problem) == (("gguf-f32",), None)
    assert not needs(artifact, artifact.manifest).packed


def test_facts_are_remembered(store: Store) -> None:
    variant = opened(store, docker_model.gguf_model([WEIGHTS]))
    blob = store.layout.blob(variant.weights[0].digest)
    blob.chmod(0o644)
    blob.write_bytes(bytes(len(WEIGHTS)))
    assert Package.open(store, parse("m")).variants[0].facts == variant.facts


def test_everything_docker_packages_with_a_gguf(store: Store) -> None:
    artifact = docker_model.gguf_model(
        [WEIGHTS], licenses=[b"MIT", b"BSD"], template=b"{{ messages }}", projector=PROJECTOR
    )
    variant = opened(store, artifact)
    assert files_of(variant) == {
        "model.gguf": "weights",
        "spec/0": "spec",
        "spec/1": "spec",
        "model.mmproj": "projector",
        "chat_template.jinja": "config",
    }
    assert variant.spec.licenses == ("MIT", "BSD")
    package = Package.open(store, parse("m"))
    assert template_text(store, package, variant) == ("{{ messages }}", "jinja")


def test_the_template_in_a_layer_comes_before_that_in_the_weights(store: Store) -> None:
    variant = opened(store, docker_model.gguf_model([WEIGHTS], template=b"layer"))
    package = Package.open(store, parse("m"))
    assert template_text(store, package, variant)[0] == "layer"
    plain = opened(store, docker_model.gguf_model([WEIGHTS]))
    assert template_text(store, package, plain)[0] == "{{ messages }}"


def test_a_template_that_is_not_text_is_refused(store: Store) -> None:
    variant = opened(store, docker_model.gguf_model([WEIGHTS], template=b"\xff"))
    with pytest.raises(MalformedFile, match="not UTF-8"):
        template_text(store, Package.open(store, parse("m")), variant)


def test_shards_keep_their_order(store: Store) -> None:
    shards = [bytes([number]) * 9 for number in range(12)]
    for annotated in (True, False):
        variant = opened(store, docker_model.gguf_model(shards, annotated=annotated))
        assert [store.read_blob(file.descriptor) for file in variant.weights] == shards


def test_a_folder_of_docker(store: Store) -> None:
    files = {
        "model.safetensors": SAFETENSORS,
        "config.json": CONFIG_JSON,
        "tokenizer/tokenizer.json": b"{}",
        "README.md": b"#",
    }
    variant = opened(store, docker_model.folder_model(files))
    assert files_of(variant) == {
        "model.safetensors": "weights",
        "config.json": "config",
        "tokenizer/tokenizer.json": "config",
        "README.md": "doc",
    }
    assert variant.id == "safetensors-bf16"
    assert variant.facts is not None
    assert (variant.facts.architecture, variant.facts.quantization) == ("llama", "BF16")
    assert list_models(store)[0].variants == ("safetensors-bf16",)


def test_an_mlx_folder_is_called_one_whatever_its_publisher_says(store: Store) -> None:
    config = {"model_type": "llama", "quantization": {"group_size": 64, "bits": 4}}
    files = {"model.safetensors": SAFETENSORS, "config.json": json.dumps(config).encode()}
    for artifact in (
        docker_model.folder_model(files),
        modctl.model_pack(files, config={"format": "safetensors"}),
    ):
        variant = opened(store, artifact)
        assert (variant.id, variant.format) == ("mlx-q4-g64", "mlx")
        assert list_models(store)[0].variants == ("mlx-q4-g64",)


def test_the_layers_say_what_the_format_is_before_the_config_does(store: Store) -> None:
    config = {"format": "safetensors", "quantization": "BF16"}
    assert opened(store, modctl.model_pack({"m.gguf": WEIGHTS}, config=config)).id == "gguf-f32"
    unquantized = json.dumps({"model_type": "llama"}).encode()
    files = {"model.safetensors": SAFETENSORS, "config.json": unquantized}
    assert opened(store, modctl.model_pack(files, config={"format": "mlx"})).id == "mlx-bf16"


def test_layers_without_names_get_some(store: Store) -> None:
    artifact = modctl.model_pack({"m.gguf": WEIGHTS, "config.json": b"{}"}, config={})
    for layer in artifact.layers:
        del layer["annotations"]
    variant = opened(store, artifact)
    assert files_of(variant) == {"model.gguf": "weights", "config/1": "config"}
    assert variant.id == "gguf-f32"


def test_an_onnx_folder_is_called_one(store: Store) -> None:
    config = {"model": {"type": "phi3", "context_length": 4096, "decoder": {"head_size": 96}}}
    files = {"model.onnx": b"onnx", "genai_config.json": json.dumps(config).encode()}
    variant = opened(store, modctl.model_pack(files, config={"precision": "int4"}))
    assert (variant.id, variant.format) == ("onnx-int4", "onnx")
    assert variant.facts is not None
    assert variant.facts.trained_context == 4096


def test_a_whole_model_of_modctl(store: Store) -> None:
    files = {
        "model.gguf": WEIGHTS, "mmproj-model-f16.gguf": PROJECTOR, "config.json": CONFIG_JSON,
        "README.md": b"#", "modeling.py": b"import os",
    }  # fmt: skip
    variant = opened(store, modctl.model_pack(files))
    assert files_of(variant) == {
        "model.gguf": "weights",
        "mmproj-model-f16.gguf": "projector",
        "config.json": "config",
        "README.md": "doc",
    }
    assert variant.licenses == ("MIT",)


def test_an_adapter_is_one_beside_other_weights_only(store: Store) -> None:
    files = {"model.gguf": WEIGHTS, "my-lora-f16.gguf": b"GGUF"}
    assert files_of(opened(store, modctl.model_pack(files))) == {
        "model.gguf": "weights",
        "my-lora-f16.gguf": "adapter",
    }
    merged = opened(store, modctl.model_pack({"qwen-lora-merged.gguf": WEIGHTS}))
    assert files_of(merged) == {"qwen-lora-merged.gguf": "weights"}


def test_several_models_in_one_artifact_are_not_run_as_one(store: Store) -> None:
    artifact = modctl.model_pack({"m-q4.gguf": WEIGHTS, "m-q8.gguf": b"GGUF"})
    variant = opened(store, artifact)
    assert needs(artifact, artifact.manifest).packed
    with pytest.raises(DoesNotFit, match="those of several models in one ModelPack artifact"):
        check_unpacked(Package.open(store, parse("m")), variant)
    shards = {f"m-0000{number}-of-00002.gguf": b"GGUF%d" % number for number in (1, 2)}
    assert opened(store, modctl.model_pack(shards)).packed is None
    assert opened(store, modctl.model_pack({"m.gguf": WEIGHTS, "imatrix.gguf": b"GGUF"})).packed is None


def test_a_role_that_nobody_knows_is_no_part_of_the_model(store: Store) -> None:
    artifact = modctl.model_pack({"model.gguf": WEIGHTS, "new.gguf": b"1"})
    artifact.layers[1]["annotations"]["dev.slmctl.role"] = "of a later slmctl"
    assert files_of(opened(store, artifact)) == {"model.gguf": "weights"}


def test_the_config_says_what_no_header_does(store: Store) -> None:
    config = {"format": "safetensors", "precision": "bf16"}
    variant = opened(store, modctl.model_pack({"model.safetensors": SAFETENSORS}, config=config))
    assert (variant.id, variant.facts) == ("safetensors-bf16", None)


@pytest.mark.parametrize("packing", ["tar", "tar+gzip", "tar+zstd"])
def test_what_lies_in_tars_is_listed_and_not_run(store: Store, packing: str) -> None:
    for artifact, dialect in (
        (
            kitops.model_kit({"model.gguf": WEIGHTS}, docs={"README.md": b"#"}, packing=packing),
            "KitOps ModelKit",
        ),
        (modctl.model_pack({"model.gguf": WEIGHTS}, packing=packing), "ModelPack"),
    ):
        variant = opened(store, artifact)
        assert variant.packed == f"packed in the tars of a {dialect} artifact"
        assert "model.gguf" in files_of(variant)
        assert set(files_of(variant).values()) == {"packed"}
        assert not variant.weights
        assert variant.local
        with pytest.raises(DoesNotFit, match=f"tars of a {dialect} artifact"):
            check_unpacked(Package.open(store, parse("m")), variant)
        with pytest.raises(UsageError, match="packed in the tars"):
            build_of(variant)
        assert list_models(store)[0].problem is None
        assert needs(artifact, artifact.manifest).packed


def test_config_files_in_a_tar_make_an_artifact_packed(store: Store) -> None:
    artifact = docker_model.safetensors_model([SAFETENSORS], {"config.json": CONFIG_JSON})
    variant = opened(store, artifact)
    assert variant.packed == "packed in the tars of a Docker Model Runner artifact"
    assert files_of(variant) == {"model.safetensors": "weights", "vllm.config.tar-0": "packed"}


def test_documents_in_a_tar_do_not(store: Store) -> None:
    artifact = modctl.model_pack({"model.gguf": WEIGHTS})
    artifact.layer(
        "application/vnd.cncf.model.doc.v1.tar",
        kitops.packed({"docs/a.md": b"#"}),
        {"org.cncf.model.filepath": "docs"},
    )
    variant = opened(store, artifact)
    assert (variant.packed, variant.id) == (None, "gguf-f32")


def test_a_kit_without_weights_of_its_own_says_where_they_are(store: Store) -> None:
    artifact = FakeArtifact()
    artifact.configure(kitops.CONFIG, {"manifestVersion": "1.0", "model": {"path": "jozu.ml/jozu/llama3:8B"}})
    with pytest.raises(DoesNotFit, match=r"refers to 'jozu\.ml/jozu/llama3:8B'"):
        opened(store, artifact)


HOSTILE = ["../x", "/abs", "a/../b", "C:\\x", "a\\..\\b", "a\0b", "x" * 4096, "\x1b[31m"]


@pytest.mark.parametrize("path", HOSTILE)
def test_names_that_lead_elsewhere_are_refused(store: Store, path: str) -> None:
    good = "application/vnd.docker.ai.gguf.v3"
    docker = docker_model.gguf_model([WEIGHTS])
    docker.layers[0]["annotations"]["org.cncf.model.filepath"] = path
    modelpack = modctl.model_pack({"m.gguf": WEIGHTS})
    modelpack.layers[0]["annotations"]["org.cncf.model.filepath"] = path
    kit = kitops.model_kit({"m.gguf": WEIGHTS}, infos=False)
    kit.configure(kitops.CONFIG, {"model": {"path": path}})
    assert docker.layers[0]["mediaType"] == good
    for artifact in (docker, modelpack, kit):
        with pytest.raises(BadContent, match="not a safe relative path"):
            opened(store, artifact)


def test_two_files_of_one_name_are_refused(store: Store) -> None:
    artifact = modctl.model_pack({"m.gguf": WEIGHTS, "n.gguf": WEIGHTS + b"\0"})
    artifact.layers[1]["annotations"]["org.cncf.model.filepath"] = "m.gguf"
    with pytest.raises(MalformedFile, match=r"two files called 'm\.gguf'"):
        opened(store, artifact)


OTHERS = [
    ("application/vnd.oci.image.config.v1+json", "is a container image"),
    ("application/vnd.docker.container.image.v1+json", "is a container image"),
    ("application/vnd.cncf.helm.config.v1+json", "is a Helm chart"),
    ("application/vnd.wasm.config.v0+json", "is a WebAssembly module"),
    ("application/vnd.example.thing+json", "of the kind 'application/vnd.example.thing"),
]


@pytest.mark.parametrize(("config", "sentence"), OTHERS)
def test_what_is_no_model_is_called_what_it_is(store: Store, config: str, sentence: str) -> None:
    artifact = FakeArtifact()
    artifact.configure(config, {"architecture": "amd64", "os": "linux"})
    artifact.layer("application/vnd.oci.image.layer.v1.tar+gzip", b"x")
    with pytest.raises(DoesNotFit, match=sentence):
        opened(store, artifact)


def test_a_signature_is_called_one(store: Store) -> None:
    artifact = FakeArtifact()
    artifact.configure("application/vnd.oci.image.config.v1+json", {})
    artifact.layer("application/vnd.dev.cosign.simplesigning.v1+json", b"{}")
    with pytest.raises(DoesNotFit, match="is a signature, and no model"):
        opened(store, artifact)


CONFIGS = [b"[]", b"{", b'{"config": 3}', b'{"config": {"format": "../x", "quantization": 7}}', b"\xff"]


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("kind", ["docker", "modelpack", "kitops"])
def test_a_config_that_lies_raises_our_errors_only(store: Store, kind: str, config: bytes) -> None:
    artifact = {
        "docker": docker_model.gguf_model([WEIGHTS]),
        "modelpack": modctl.model_pack({"m.gguf": WEIGHTS}),
        "kitops": kitops.model_kit({"m.gguf": WEIGHTS}),
    }[kind]
    artifact.config = artifact.blob(artifact.config["mediaType"], config)
    try:
        variant = opened(store, artifact)
    except BadContent:
        assert list_models(store)[0].variants == ("unknown",)
    else:
        assert variant.id in {"gguf-f32", "gguf-unknown"}


@pytest.mark.parametrize(
    "artifact",
    [
        docker_model.gguf_model([WEIGHTS], licenses=[b"MIT"]),
        kitops.model_kit({"m.gguf": WEIGHTS}),
        modctl.model_pack({"m.gguf": WEIGHTS}),
    ],
    ids=["docker", "kitops", "modctl"],
)
def test_they_are_exported_and_imported_byte_for_byte(
    store: Store, tmp_path: Path, artifact: FakeArtifact
) -> None:
    artifact.put_into(store, "m:latest")
    target = tmp_path / "m.tar"
    export(store, ExportRequest(names=[parse("m")], target=str(target)))
    other = Store(tmp_path / "other")
    import_bundle(other, ImportRequest(path=target), now=NOW)
    entry = other.resolve(parse("m"))
    assert entry.descriptor.digest == artifact.manifest.digest
    assert set(map(str, other.stored())) >= artifact.blobs.keys()
