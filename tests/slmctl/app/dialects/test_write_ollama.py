"""Models written for Ollama."""

from __future__ import annotations

import json

import pytest

from modelfiles.spec import ModelSpec
from registry.errors import DoesNotFit
from registry.store.store import Store
from slmctl.app.dialects.writing import write
from slmctl.app.package import Package
from tests.slmctl.app.dialects.made import (
    FOLDER,
    GGUF,
    PROJECTOR,
    SPEC,
    WEIGHTS,
    WITH_MORE,
    contents,
    documents,
    make,
)
from tests.slmctl.app.dialects.sent import bytes_of, received


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
