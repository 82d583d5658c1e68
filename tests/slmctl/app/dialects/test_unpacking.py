"""Packed artifacts become models of ours: the same for everybody, whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from registry import mediatypes
from registry.digest import Digest
from registry.errors import BadContent, DigestMismatch, DoesNotFit, MalformedFile, SizeMismatch, UsageError
from registry.layers.decompress import Bounds
from registry.manifest import Descriptor
from registry.names import parse
from registry.store.store import Replace, Store
from slmctl.app.dialects.unpacking import from_store, needs, unpack
from slmctl.app.events import Event, Note
from slmctl.app.package import Package
from slmctl.app.variants import is_modelpack
from tests.fakes import docker_model, kitops, modctl
from tests.fakes.artifact import NOW, FakeArtifact
from tests.gguf_bytes import STRING, Builder, tiny
from tests.slmctl.app.dialects.made import CONFIG_JSON, PROJECTOR, SAFETENSORS, WEIGHTS

ADAPTER = (
    Builder().put("general.architecture", STRING, "llama").put("general.type", STRING, "adapter").build()
)


class Remote:
    """Sends an artifact's layers in small pieces, and knows which were asked for."""

    def __init__(self, artifact: FakeArtifact) -> None:
        self.artifact = artifact
        self.asked: list[str] = []

    @contextmanager
    def open(self, layer: Descriptor) -> Iterator[Iterable[bytes]]:
        self.asked.append(str(layer.digest))
        data = self.artifact.blobs[str(layer.digest)]
        yield (data[start : start + 999] for start in range(0, len(data), 999))


def pulled(
    store: Store, artifact: FakeArtifact, events: list[Event] | None = None, *, bounds: Bounds | None = None
) -> Package:
    on_event = events.append if events is not None else lambda _: None
    more = {"bounds": bounds} if bounds else {}
    with store.session("test") as session:
        descriptor = unpack(
            session,
            store,
            artifact.manifest,
            blobs=artifact,
            open_layer=Remote(artifact).open,
            on_event=on_event,
            **more,
        )
        store.link("m:latest", descriptor, source="test", linked=NOW, replace_rule=Replace.ANYTHING)
    return Package.open(store, parse("m"))


def files_of(package: Package) -> dict[str, str]:
    return {file.path: file.role for variant in package.variants for file in variant.files}


@pytest.mark.parametrize("packing", ["tar", "tar+gzip", "tar+zstd"])
def test_a_kit_becomes_a_model(store: Store, packing: str) -> None:
    artifact = kitops.model_kit(
        {"models/m.gguf": WEIGHTS},
        parts={"parts/mmproj.gguf": PROJECTOR, "parts/lora.gguf": ADAPTER},
        docs={"README.md": b"#"},
        code={"train.py": b"import os"},
        packing=packing,
        folders=("models/",),
    )
    events: list[Event] = []
    package = pulled(store, artifact, events)
    (variant,) = package.variants
    assert (variant.id, variant.packed, variant.licenses) == ("gguf-f32", None, ("Apache-2.0",))
    assert files_of(package) == {
        "model.gguf": "weights",
        "projector.gguf": "projector",
        "adapter.gguf": "adapter",
        "README.md": "doc",
        "slmctl/spec.json": "config",
    }
    assert variant.facts is not None
    assert store.read_blob(variant.weights[0].descriptor) == WEIGHTS
    assert is_modelpack(store.manifest_of(variant.digest))
    assert [event.text for event in events if isinstance(event, Note)] == [
        "Code and data sets are not taken from the artifact (train.py)."
    ]


def test_code_and_data_are_not_even_fetched(store: Store) -> None:
    artifact = kitops.model_kit({"m.gguf": WEIGHTS}, code={"train.py": b"x"})
    code = next(layer["digest"] for layer in artifact.layers if ".code." in layer["mediaType"])
    wanted = needs(artifact, artifact.manifest)
    assert wanted.packed
    assert code not in {str(layer.digest) for layer in wanted.layers}
    remote = Remote(artifact)
    with store.session("test") as session:
        unpack(session, store, artifact.manifest, blobs=artifact, open_layer=remote.open)
    assert remote.asked == [str(layer.digest) for layer in wanted.layers]


def test_the_digest_depends_on_the_files_alone(tmp_path: Path) -> None:
    """Compression, folders, order, dates: nothing of the packaging is in the model."""
    digests = set()
    for number, artifact in enumerate(
        [
            kitops.model_kit({"m.gguf": WEIGHTS, "README.md": b"#"}, packing="tar"),
            kitops.model_kit({"m.gguf": WEIGHTS, "README.md": b"#"}, packing="tar+zstd", infos=False),
            kitops.model_kit({"README.md": b"#", "./m.gguf": WEIGHTS}, packing="tar+gzip"),
            kitops.model_kit({"other.gguf": WEIGHTS}, docs={"README.md": b"#"}, folders=("x/",)),
        ]
    ):
        store = Store(tmp_path / str(number))
        digests.add(str(pulled(store, artifact).digest))
        store.free(list(store.stored()))
        assert len(store.stored()) == 5  # weights, readme, spec, config, manifest
    assert digests == {"sha256:e6def2daffd5c7a079e5f7fc75905037381496890e5fcc7d0cab2e09f56c500b"}


def test_several_quantizations_become_variants(store: Store) -> None:
    other = tiny()
    other.tensors = [each for each in other.tensors if each.name != "output_norm.weight"]
    half = Builder(pairs=tiny().pairs)
    half.tensor("token_embd.weight", (8, 16), 1, data=bytes(2 * 8 * 16))
    artifact = kitops.model_kit({"f32.gguf": WEIGHTS, "f16.gguf": half.build()})
    package = pulled(store, artifact)
    assert [variant.id for variant in package.variants] == ["gguf-f16", "gguf-f32"]
    raw = modctl.model_pack({"f32.gguf": WEIGHTS, "f16.gguf": half.build(), "imatrix.gguf": b"1"})
    again = pulled(store, raw)
    assert [variant.digest for variant in again.variants if variant.packed] == []
    assert {variant.id for variant in again.variants} == {"gguf-f16", "gguf-f32"}
    with pytest.raises(UsageError, match="both gguf-f32"):
        pulled(store, kitops.model_kit({"a.gguf": WEIGHTS, "b.gguf": other.build()}))


def test_a_folder_of_safetensors_loses_the_folder_around_it(store: Store) -> None:
    files = {
        "qwen/model.safetensors": SAFETENSORS,
        "qwen/config.json": CONFIG_JSON,
        "qwen/tokenizer/t.json": b"{}",
        "LICENSE": b"MIT",
    }
    for artifact in (kitops.model_kit(files), modctl.model_pack(files, packing="tar", config={})):
        package = pulled(store, artifact)
        assert files_of(package) == {
            "model.safetensors": "weights",
            "config.json": "config",
            "tokenizer/t.json": "config",
            "LICENSE": "doc",
            "slmctl/spec.json": "config",
        }
        assert [variant.id for variant in package.variants] == ["safetensors-bf16"]


def test_raw_layers_beside_tars_stay_what_they_are(store: Store) -> None:
    artifact = docker_model.safetensors_model([SAFETENSORS], {"config.json": CONFIG_JSON, "merges.txt": b""})
    package = pulled(store, artifact)
    assert files_of(package) == {
        "model.safetensors": "weights",
        "config.json": "config",
        "merges.txt": "config",
        "slmctl/spec.json": "config",
    }


def test_a_document_is_no_weight_whatever_its_name(store: Store) -> None:
    artifact = kitops.model_kit({"m.gguf": WEIGHTS}, docs={"examples/other.gguf": b"no GGUF at all"})
    assert files_of(pulled(store, artifact)) == {
        "model.gguf": "weights",
        "examples/other.gguf": "doc",
        "slmctl/spec.json": "config",
    }


def test_layers_can_come_from_the_store(store: Store) -> None:
    artifact = kitops.model_kit({"m.gguf": WEIGHTS}, packing="tar+zstd")
    artifact.put_into(store, "kit:latest")
    with store.session("test") as session:
        descriptor = unpack(session, store, artifact.manifest, blobs=store, open_layer=from_store(store))
        store.link("m:latest", descriptor, source="test", linked=NOW, replace_rule=Replace.ANYTHING)
    assert Package.open(store, parse("m")).variants[0].packed is None


def failing() -> dict[str, tuple[FakeArtifact, type[BadContent | DoesNotFit], str]]:
    damaged = kitops.model_kit({"m.gguf": WEIGHTS})
    damaged.blobs[damaged.layers[0]["digest"]] = damaged.blobs[damaged.layers[0]["digest"]][:-9] + bytes(9)
    longer = kitops.model_kit({"m.gguf": WEIGHTS}, packing="tar")
    longer.blobs[longer.layers[0]["digest"]] += bytes(512)
    lying = kitops.model_kit({"m.gguf": WEIGHTS})
    kitfile = json.loads(lying.blobs[lying.config["digest"]])
    kitfile["model"]["layerInfo"]["diffId"] = str(Digest.of(b"another"))
    lying.configure(kitops.CONFIG, kitfile)
    lying_pack = modctl.model_pack({"m.gguf": WEIGHTS}, packing="tar+gzip")
    config = json.loads(lying_pack.blobs[lying_pack.config["digest"]])
    config["modelfs"]["diffIds"] = [str(Digest.of(b"another"))]
    lying_pack.configure(mediatypes.MODELPACK_CONFIG, config)
    return {
        "damaged": (damaged, MalformedFile, "cannot be unpacked"),
        "longer": (longer, SizeMismatch, "instead of"),
        "diff id of the kit": (lying, DigestMismatch, "not what its config says"),
        "diff id of modelpack": (lying_pack, DigestMismatch, "not what its config says"),
        "climbing": (kitops.model_kit({"../m.gguf": WEIGHTS}, infos=False), MalformedFile, "safe|elsewhere"),
        "no weights": (kitops.model_kit({"m.txt": b"1"}), DoesNotFit, "no weights"),
        "an adapter alone": (kitops.model_kit({"m.gguf": ADAPTER}), DoesNotFit, "only what completes"),
        "no gguf": (kitops.model_kit({"m.gguf": b"GGUF"}), MalformedFile, "m.gguf"),
        "xz": (kitops.model_kit({"m.gguf": WEIGHTS}, packing="tar+xz"), DoesNotFit, "does not know"),
    }  # fmt: skip


@pytest.mark.parametrize("case", failing())
def test_what_is_wrong_is_said_and_nothing_stays(store: Store, case: str) -> None:
    artifact, error, sentence = failing()[case]
    with pytest.raises(error, match=sentence):
        pulled(store, artifact)
    assert not store.stored()


def test_two_files_of_one_name_are_refused(store: Store) -> None:
    artifact = kitops.model_kit({"m.gguf": WEIGHTS, "README.md": b"1"}, docs={"README.md": b"2"})
    with pytest.raises(MalformedFile, match=r"two files called 'README\.md'"):
        pulled(store, artifact)


@pytest.mark.parametrize("packing", ["tar+gzip", "tar+zstd"])
def test_a_bomb_fills_no_disk(store: Store, packing: str) -> None:
    artifact = kitops.model_kit({"m.gguf": bytes(32 << 20)}, packing=packing)
    with pytest.raises(MalformedFile, match="times its size"):
        pulled(store, artifact, bounds=Bounds(free_bytes=1 << 20))
    assert not store.stored()
    assert not [path for path in store.layout.ingest.iterdir() if path.is_file() and path.stat().st_size]
