"""Models written for Docker Model Runner."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from modelfiles.spec import ModelSpec
from registry.digest import Digest
from registry.errors import DoesNotFit
from registry.formats.gguf import read_header
from registry.formats.gguf_facts import facts_from_gguf
from registry.store.store import Replace, Store
from slmctl.app.dialects.writing import write
from slmctl.app.file_names import file_path
from slmctl.app.package import Package, PackageFile
from slmctl.app.packaging import Build, write_model
from tests.fakes.artifact import NOW
from tests.slmctl.app.dialects.made import (
    FOLDER,
    GGUF,
    SPEC,
    WEIGHTS,
    WITH_MORE,
    contents,
    documents,
    make,
)
from tests.slmctl.app.dialects.sent import bytes_of, received


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


def test_no_two_files_have_one_name(store: Store) -> None:
    (manifest,) = documents(write(store, make(store, {**GGUF, "LICENSE": ("doc", b"Theirs")}), "docker"))
    paths = [layer["annotations"]["org.cncf.model.filepath"] for layer in manifest["layers"]]
    assert sorted(paths) == ["LICENSE", "LICENSE.1", "LICENSE.2", "model.gguf", "slmctl/spec.json"]


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
