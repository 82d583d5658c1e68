"""Models written as plain images."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import replace

import pytest

from registry.digest import Digest
from registry.errors import DigestMismatch
from registry.store.store import Store
from slmctl.app.dialects.writing import write
from tests.slmctl.app.dialects.made import (
    FOLDER,
    GGUF,
    SPEC,
    WEIGHTS,
    WITH_MORE,
    documents,
    make,
)
from tests.slmctl.app.dialects.sent import bytes_of


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
    assert "--base" in note


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
