"""What manifests mean, ours and those that others wrote."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelfiles.spec import ModelSpec
from registry import mediatypes
from registry.digest import Digest
from registry.errors import BadContent, DoesNotFit, MalformedFile, NotFound, UsageError
from registry.manifest import Descriptor, canonical_json
from registry.names import parse
from registry.store.store import Replace, Store
from slmctl.app.create import CreateRequest, create
from slmctl.app.events import Event, Note
from slmctl.app.file_names import checked_path
from slmctl.app.finding import find_package
from slmctl.app.generate import GenerateRequest, generate
from slmctl.app.listing import list_models
from slmctl.app.load import Loaded
from slmctl.app.package import Package
from slmctl.config import Settings
from tools.random_model import write_random_model

NOW = "2026-11-22T00:00:00Z"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home" / "store")


@pytest.fixture
def settings(tmp_path: Path, slmctl: object) -> Settings:
    environment = dict(slmctl.environment)  # type: ignore[attr-defined]
    return Settings.load({**environment, "SLMCTL_HOME": str(tmp_path / "home")})


def make(store: Store, name: str, base: Path) -> Descriptor:
    request = CreateRequest(name=parse(name), bases=[str(base)], folder=Path("/"), spec=ModelSpec())
    return create(store, request, now=NOW).entry.descriptor


def link_document(store: Store, name: str, document: dict[str, Any], media_type: str) -> None:
    """Put a manifest or an index that somebody else made under `name`."""
    raw = canonical_json(document)
    with store.session("test") as session:
        descriptor = Descriptor(media_type=media_type, digest=session.put(raw), size=len(raw))
        store.link(name, descriptor, source=None, linked=NOW, replace_rule=Replace.ANYTHING)


def changed(
    store: Store, descriptor: Descriptor, change: Callable[[dict[str, Any]], object]
) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(store.layout.blob(descriptor.digest).read_bytes())
    change(document)
    return document


@pytest.fixture
def two_builds(store: Store, tiny_model: Path, tmp_path: Path) -> Package:
    """One name, two builds: F32 and Q8_0."""
    small = tmp_path / "small.gguf"
    write_random_model(small, tensor_type="Q8_0")
    rows = [make(store, "big", tiny_model), make(store, "small", small)]
    index = {
        "schemaVersion": 2,
        "mediaType": mediatypes.OCI_INDEX,
        "artifactType": mediatypes.MODELPACK_ARTIFACT,
        "manifests": [
            {"mediaType": row.media_type, "digest": str(row.digest), "size": row.size} for row in rows
        ],
    }
    link_document(store, "both:latest", index, mediatypes.OCI_INDEX)
    return find_package(store, parse("both"))


def test_an_index_is_one_model_of_several_variants(store: Store, two_builds: Package) -> None:
    assert [variant.id for variant in two_builds.variants] == ["gguf-f32", "gguf-q8_0"]
    assert two_builds.choose("Q8_0").id == "gguf-q8_0"
    assert two_builds.choose("gguf-f32").id == "gguf-f32"
    assert two_builds.choose(None).id == "gguf-f32"
    with pytest.raises(NotFound, match="no variant 'q4_k_m'"):
        two_builds.choose("q4_k_m")
    with pytest.raises(UsageError, match="More than one"):
        two_builds.choose("gguf")
    row = next(row for row in list_models(store) if row.name == "both:latest")
    assert row.variants == ("gguf-f32", "gguf-q8_0")
    assert row.size == two_builds.size
    spec = two_builds.variants[0].files[-1]
    assert spec == two_builds.variants[1].files[-1]
    assert two_builds.size == sum(variant.size for variant in two_builds.variants) - spec.size, "shared once"


def test_what_is_run_of_several_variants_is_said(
    store: Store, settings: Settings, two_builds: Package
) -> None:
    events: list[Event] = []
    request = GenerateRequest(package=two_builds, prompt="x", raw=True, parameters={"num_predict": 1})
    loaded = next(iter(generate(store, settings, request, events.append)))
    assert isinstance(loaded, Loaded)
    assert loaded.variant == "gguf-f32"
    assert any("gguf-f32" in event.text for event in events if isinstance(event, Note))


def test_removing_an_index_frees_only_what_nothing_else_names(store: Store, two_builds: Package) -> None:
    assert store.unlink(["both:latest"]).freed_bytes > 0
    assert find_package(store, parse("big")).variants[0].local
    assert find_package(store, parse("small")).variants[0].local


def test_facts_that_contradict_the_header_lose_and_are_reported(
    store: Store, settings: Settings, tiny_model: Path
) -> None:
    descriptor = make(store, "honest", tiny_model)

    def lie(document: dict[str, Any]) -> None:
        facts = json.loads(document["annotations"][mediatypes.SLMCTL_FACTS])
        facts["trained_context"] = 7
        document["annotations"][mediatypes.SLMCTL_FACTS] = json.dumps(facts)

    link_document(store, "liar:latest", changed(store, descriptor, lie), mediatypes.OCI_MANIFEST)
    events: list[Event] = []
    package = find_package(store, parse("liar"))
    request = GenerateRequest(package=package, prompt="x", raw=True, parameters={"num_predict": 1})
    loaded = next(iter(generate(store, settings, request, events.append)))
    assert isinstance(loaded, Loaded)
    assert loaded.context_length == 2048
    assert any("contradict" in event.text for event in events if isinstance(event, Note))


def test_a_manifest_without_our_annotations_still_runs(
    store: Store, settings: Settings, tiny_model: Path
) -> None:
    """What another ModelPack writer leaves: no facts, no variant, no spec."""
    descriptor = make(store, "ours", tiny_model)

    def strip(document: dict[str, Any]) -> None:
        document["annotations"] = {}
        document["layers"] = document["layers"][:1]

    link_document(store, "theirs:latest", changed(store, descriptor, strip), mediatypes.OCI_MANIFEST)
    package = find_package(store, parse("theirs"))
    variant, ours = package.variants[0], find_package(store, parse("ours")).variants[0]
    assert (variant.id, variant.facts) == ("gguf-f32", ours.facts)
    request = GenerateRequest(package=package, prompt="x", raw=True, parameters={"num_predict": 1})
    assert isinstance(next(iter(generate(store, settings, request))), Loaded)


BAD_PATHS = [
    "", ".", "..", "../x", "a/../b", "/abs", "a//b", "./a", "a/", "C:\\x", "a\\..\\b", "c:x", "a\0b", "a\nb",
    "\x1b[31m", "x" * 2000,
]  # fmt: skip


@pytest.mark.parametrize("path", BAD_PATHS)
def test_a_layer_cannot_name_a_file_elsewhere(store: Store, tiny_model: Path, path: str) -> None:
    with pytest.raises(MalformedFile):
        checked_path(path)
    descriptor = make(store, "good", tiny_model)
    document = changed(
        store, descriptor, lambda document: document["layers"][0]["annotations"].update({mediatypes.MODELPACK_FILEPATH: path})
    )  # fmt: skip
    link_document(store, "bad:latest", document, mediatypes.OCI_MANIFEST)
    with pytest.raises(BadContent):
        find_package(store, parse("bad"))
    assert {row.name: row.problem for row in list_models(store)}["good:latest"] is None


@pytest.mark.parametrize(
    "path", ["model.gguf", "a/b.json", "slmctl/spec.json", "model-00001-of-00002.gguf", "ünï.txt"]
)
def test_plain_paths_are_fine(path: str) -> None:
    assert checked_path(path) == path


def test_an_artifact_that_is_no_model_is_named(store: Store) -> None:
    config = b"{}"
    with store.session("test") as session:
        digest = session.put(config)
        document = {
            "schemaVersion": 2,
            "mediaType": mediatypes.OCI_MANIFEST,
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": str(digest),
                "size": 2,
            },
            "layers": [],
        }
        link_document(store, "image:latest", document, mediatypes.OCI_MANIFEST)
    with pytest.raises(DoesNotFit, match="is a container image, and no model"):
        find_package(store, parse("image"))


def test_a_model_whose_manifest_is_damaged_is_listed_with_its_problem(store: Store, tiny_model: Path) -> None:
    descriptor = make(store, "broken", tiny_model)
    path = store.layout.blob(descriptor.digest)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1])
    (row,) = list_models(store)
    assert (row.name, row.size) == ("broken:latest", None)
    assert row.problem is not None
    assert Digest.parse(str(row.digest)) == descriptor.digest


def test_an_index_that_multiplies_is_read_once(store: Store, tiny_model: Path) -> None:
    """Levels of indexes that name the next one over and over again: each document counts once."""
    row = make(store, "tiny", tiny_model)
    for level in range(3):
        document = {
            "schemaVersion": 2,
            "mediaType": mediatypes.OCI_INDEX,
            "manifests": [{"mediaType": row.media_type, "digest": str(row.digest), "size": row.size}] * 5000,
        }
        link_document(store, f"level{level}:latest", document, mediatypes.OCI_INDEX)
        row = store.resolve(parse(f"level{level}")).descriptor
    assert len(find_package(store, parse("level2")).variants) == 1
    link_document(
        store,
        "deep:latest",
        {
            "schemaVersion": 2,
            "manifests": [{"mediaType": row.media_type, "digest": str(row.digest), "size": row.size}],
        },
        mediatypes.OCI_INDEX,
    )
    with pytest.raises(MalformedFile, match="too deeply"):
        find_package(store, parse("deep"))


def test_the_files_of_a_package_cannot_choose_names_in_the_workers_folder(
    store: Store, settings: Settings, tiny_shards: list[Path]
) -> None:
    """Shards called after the socket and the lock of the runtime folder load all the same."""
    descriptor = make(store, "shards", tiny_shards[0])

    def rename(document: dict[str, Any]) -> None:
        for layer, path in zip(document["layers"], ("a/e.sock", "b/lock", "c/lock"), strict=False):
            layer["annotations"][mediatypes.MODELPACK_FILEPATH] = path

    link_document(store, "renamed:latest", changed(store, descriptor, rename), mediatypes.OCI_MANIFEST)
    package = find_package(store, parse("renamed"))
    request = GenerateRequest(package=package, prompt="x", raw=True, parameters={"num_predict": 1})
    assert isinstance(next(iter(generate(store, settings, request))), Loaded)


@pytest.mark.parametrize("written", ["\x1b]0;x\x07", "UPPER", "a b", "x" * 65, ""])
def test_an_id_that_is_none_gives_way_to_the_facts(store: Store, tiny_model: Path, written: str) -> None:
    descriptor = make(store, "good", tiny_model)
    document = changed(
        store,
        descriptor,
        lambda document: document["annotations"].update({mediatypes.SLMCTL_VARIANT: written}),
    )
    link_document(store, "odd:latest", document, mediatypes.OCI_MANIFEST)
    assert find_package(store, parse("odd")).variants[0].id == "gguf-f32"
