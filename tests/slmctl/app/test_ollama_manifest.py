"""Ollama's manifests: what their layers mean, and what is done about those that lie."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelfiles.spec import Message
from registry import mediatypes
from registry.errors import BadContent, MalformedFile, SlmctlError
from registry.manifest import Descriptor, Manifest, parse
from registry.names import parse as parse_ref
from registry.store.store import Replace, Store
from slmctl.app.listing import list_models
from slmctl.app.ollama_manifest import OllamaModel, is_ollama, read_model
from slmctl.app.package import Package
from slmctl.app.ships import FOLDER

HELLO = (FOLDER / "hello" / "hello.gguf").read_bytes()
NOW = "2026-11-22T00:00:00Z"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def put(
    store: Store, layers: list[tuple[str, bytes]], config: Any = None, name: str = "m:latest"
) -> Manifest:
    with store.session("test") as session:

        def blob(media_type: str, data: bytes) -> dict[str, Any]:
            return {"mediaType": media_type, "digest": str(session.put(data)), "size": len(data)}

        document = {
            "schemaVersion": 2,
            "mediaType": mediatypes.DOCKER_MANIFEST,
            "config": blob(
                mediatypes.DOCKER_CONFIG, json.dumps(config if config is not None else {}).encode()
            ),
            "layers": [blob(f"{mediatypes.OLLAMA_LAYER}{kind}", data) for kind, data in layers],
        }
        raw = json.dumps(document).encode()
        descriptor = Descriptor(media_type=mediatypes.DOCKER_MANIFEST, digest=session.put(raw), size=len(raw))
        store.link(name, descriptor, source="test", linked=NOW, replace_rule=Replace.ANYTHING)
    manifest = parse(raw)
    assert isinstance(manifest, Manifest)
    return manifest


def read(store: Store, layers: list[tuple[str, bytes]], config: Any = None) -> OllamaModel:
    return read_model(store, put(store, layers, config))


def test_every_kind_of_layer(store: Store) -> None:
    model = read(
        store,
        [
            ("model", b"1"),
            ("projector", b"2"),
            ("adapter", b"3"),
            ("draft", b"4"),
            ("prompt", b"{{ .Prompt }}"),
            ("system", b"one"),
            ("system", b"two"),
            ("license", b"MIT"),
            ("license", b"BSD"),
            ("messages", b'[{"role": "user", "content": "Hi", "images": ["x"]}, {"role": "assistant"}]'),
            (
                "params",
                b'{"stop": "end", "num_ctx": 4096.0, "temperature": 1, "use_mmap": true, "top_k": null}',
            ),
            ("embed", b"5"),
        ],
        {
            "model_format": "gguf",
            "file_type": "Q4_K_M",
            "renderer": "qwen3",
            "parser": "qwen3",
            "requires": "v0.9.0",
        },
    )
    assert [role for role, _ in model.layers] == [
        "weights", "projector", "adapter", "draft", "spec", "spec", "spec", "spec", "spec", "spec", "spec",
    ]  # fmt: skip
    assert (model.format, model.quantization, model.remote) == ("gguf", "Q4_K_M", None)
    assert model.spec.template == "{{ .Prompt }}"
    assert model.spec.system == "two"
    assert model.spec.licenses == ("MIT", "BSD")
    assert model.spec.messages == (Message(role="user", content="Hi"), Message(role="assistant", content=""))
    assert dict(model.spec.parameters) == {
        "num_ctx": 4096, "stop": ("end",), "temperature": 1.0, "use_mmap": True,
    }  # fmt: skip
    assert (model.spec.renderer, model.spec.parser, model.spec.requires) == ("qwen3", "qwen3", "0.9.0")
    assert model.ignored == ("Layers of the type embed are passed over.",)


def test_of_several_models_the_last_counts(store: Store) -> None:
    model = read(store, [("model", b"first"), ("model", b"second")])
    assert [layer.size for role, layer in model.layers if role == "weights"] == [6]
    assert model.ignored == ("Of several model layers the last counts.",)


@pytest.mark.parametrize(
    "layer",
    [
        ("params", b"[]"),
        ("params", b"{"),
        ("params", b'{"temperature": "hot"}'),
        ("params", b'{"num_ctx": 1.5}'),
        ("params", b'{"num_ctx": true}'),
        ("params", b'{"num_ctx": 1e300}'),
        ("params", b'{"stop": [1]}'),
        ("params", b'{"stop": {"a": 1}}'),
        ("params", b'{"seed": 99999999999999999999999}'),
        ("params", b'{"temperature": NaN}'),
        ("params", b'{"seed": 1, "seed": 2}'),
        ("params", b"[" * 200_000),
        ("messages", b"{}"),
        ("messages", b"[1]"),
        ("messages", b'[{"role": "king", "content": "x"}]'),
        ("messages", b'[{"role": "user", "content": 1}]'),
        ("messages", b"[" * 200_000),
        ("messages", b"\xff\xfe"),
        ("messages", b'[{"role": "user", "content": "\\ud800"}]'),
    ],
)
def test_what_is_of_the_wrong_type_is_malformed(store: Store, layer: tuple[str, bytes]) -> None:
    with pytest.raises(MalformedFile) as caught:
        read(store, [("model", b"x"), layer])
    assert "spec.json" not in caught.value.message


@pytest.mark.parametrize("config", [[], "x", {"renderer": 1}, {"model_format": {}}, {"file_type": 7}])
def test_a_config_of_the_wrong_type_is_malformed(store: Store, config: Any) -> None:
    with pytest.raises(MalformedFile):
        read(store, [("model", b"x")], config)


@pytest.mark.parametrize("requires", ["latest", "1", "", "0." + "9" * 5000, "1.2.3.4.5", "-1.0"])
def test_a_version_that_is_none_is_passed_over(store: Store, requires: str) -> None:
    assert read(store, [("model", b"x")], {"requires": requires}).spec.requires is None


@pytest.mark.parametrize("label", ["unknown", "../../x", "Q4 K", "\x1b[2J", "x" * 100])
def test_a_label_that_is_none_is_passed_over(store: Store, label: str) -> None:
    model = read(store, [("model", b"x")], {"file_type": label, "model_format": label})
    assert (model.format, model.quantization) == ("gguf", None)


def test_text_that_is_not_utf8_is_shown_as_far_as_it_goes(store: Store) -> None:
    assert read(store, [("model", b"x"), ("system", b"caf\xe9")]).spec.system == "caf\ufffd"


def test_texts_without_end_are_refused(store: Store) -> None:
    layers = [("model", b"x"), *(("license", bytes([65 + number]) * (4 << 20)) for number in range(5))]
    with pytest.raises(MalformedFile, match="16 MiB"):
        read(store, layers)


def test_a_damaged_text_is_found(store: Store) -> None:
    manifest = put(store, [("model", b"x"), ("system", b"good")])
    path = store.layout.blob(manifest.layers[1].digest)
    path.chmod(0o644)
    path.write_bytes(b"evil")
    with pytest.raises(BadContent):
        read_model(store, manifest)


def test_other_dialects_are_not_ollamas(store: Store) -> None:
    config = {"mediaType": "x", "digest": "sha256:" + "0" * 64, "size": 2}
    for artifact_type, layers in ((mediatypes.MODELPACK_ARTIFACT, []), (None, [config])):
        document = {"schemaVersion": 2, "config": config, "layers": layers}
        if artifact_type:
            document["artifactType"] = artifact_type
        manifest = parse(json.dumps(document).encode())
        assert isinstance(manifest, Manifest)
        assert not is_ollama(manifest)


# As a package


def test_facts_are_derived_once_and_a_note_that_lies_is_bounded(store: Store) -> None:
    manifest = put(store, [("model", HELLO)])
    note = store.layout.cache / "facts" / f"{manifest.digest.hex}.json"
    facts = Package.open(store, parse_ref("m")).variants[0].facts
    assert facts is not None
    assert json.loads(note.read_bytes()) == facts.to_json()
    for lie in (b"", b"[" * 100_000, b"{}", json.dumps({**facts.to_json(), "layers": -1}).encode(), b"\xff"):
        note.write_bytes(lie)
        assert Package.open(store, parse_ref("m")).variants[0].facts == facts
    assert list(note.parent.iterdir()) == [note]


def test_a_store_that_cannot_be_written_derives_them_each_time(store: Store) -> None:
    put(store, [("model", HELLO)])
    store.layout.cache.rmdir()
    assert Package.open(store, parse_ref("m")).variants[0].facts is not None
    assert not store.layout.cache.exists()


def test_a_package_whose_weights_are_no_gguf_file_can_be_looked_at(store: Store) -> None:
    put(store, [("model", b"no model at all")], {"file_type": "Q8_0"})
    variant = Package.open(store, parse_ref("m")).variants[0]
    assert (variant.id, variant.facts, variant.local) == ("gguf-q8_0", None, True)


def test_the_listing_says_the_same_as_the_package(store: Store) -> None:
    for name, config in {
        "said": {"file_type": "Q8_0"},
        "unsaid": {},
        "unknown": {"file_type": "unknown"},
    }.items():
        put(store, [("model", HELLO), ("system", b"x")], config, name=f"{name}:latest")
        package = Package.open(store, parse_ref(name))
        listed = list_models(store, name)[0]
        assert listed.variants == tuple(variant.id for variant in package.variants)
        assert listed.size == package.size


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KINDS = st.sampled_from(
    ["model", "params", "messages", "system", "template", "license", "tensor", "json", "x"]
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    layers=st.lists(
        st.tuples(KINDS, JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=20)),
        max_size=5,
    ),
    config=st.dictionaries(
        st.sampled_from(["model_format", "file_type", "requires", "renderer", "parser", "remote_host", "x"]),
        JSON,
        max_size=4,
    ),
)
def test_whatever_it_says_only_our_errors_come_out(
    store: Store, layers: list[tuple[str, bytes]], config: dict[str, Any]
) -> None:
    put(store, layers, config)
    try:
        package = Package.open(store, parse_ref("m"))
    except SlmctlError:
        return
    for variant in package.variants:
        assert variant.id.isprintable()
