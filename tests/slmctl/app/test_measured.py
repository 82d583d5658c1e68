"""Measurements as documents: what is kept, what is believed, and what a plan makes of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from referencing import Registry, Resource

from modelfiles.spec import ModelSpec
from registry import mediatypes
from registry.digest import Digest
from registry.errors import BadContent
from registry.manifest import EMPTY, Descriptor, artifact_about, canonical_json
from registry.names import parse
from registry.store.index import Referrer
from registry.store.store import Store
from runtimes.planning.quality import quality
from slmctl.app.create import CreateRequest, create
from slmctl.app.measured import (
    ENOUGH_TOKENS,
    Against,
    Measured,
    Number,
    divergence_of,
    is_outdone,
    measured_quality,
    measurements,
    superseded,
    write,
)
from slmctl.app.package import Package
from slmctl.app.planning.package_builds import builds_of_package
from tools.random_model import write_random_model

SCHEMA = Path(__file__).parents[3] / "docs" / "schemas" / "quality-1.json"


def measured(
    divergence: float | None = 0.02,
    *,
    tokens: int = 4000,
    text: bytes = b"text",
    quantization: str | None = "F16",
    base: bytes = b"base",
    context: int = 512,
) -> Measured:
    against = Against(
        digest=Digest.of(base),
        variant="gguf-f16",
        quantization=quantization,
        perplexity=Number(value=12.25, error=0.25),
        divergence=Number(value=divergence or 0.0, error=0.001),
        same_top=Number(value=0.9, error=0.01),
    )
    return Measured(
        text=Digest.of(text),
        text_bytes=len(text),
        context=context,
        windows=16,
        tokens=tokens,
        perplexity=Number(value=12.5, error=0.25),
        engine="xllamacpp 1",
        against=against if divergence is not None else None,
    )


@pytest.fixture
def store(tmp_path: Path, tiny_model: Path) -> Store:
    """With a model of two variants."""
    store = Store(tmp_path / "store")
    write_random_model(tmp_path / "q8.gguf", tensor_type="Q8_0")
    request = CreateRequest(
        name=parse("m"), bases=[str(tiny_model), str(tmp_path / "q8.gguf")], folder=tmp_path, spec=ModelSpec()
    )
    create(store, request, now="2026-11-22T00:00:00Z")
    return store


def keep(store: Store, measurement: Measured, wanted: str = "q8") -> Referrer:
    package = Package.open(store, parse("m"))
    variant = package.choose(wanted)
    raw = store.manifest_of(variant.digest).raw
    about = Descriptor(media_type=mediatypes.OCI_MANIFEST, digest=variant.digest, size=len(raw))
    with store.session("test") as session:
        referrer = write(session, about, variant, measurement)
        store.refer(referrer, instead_of=superseded(store, variant.digest, measurement))
    return referrer


def kept(store: Store, wanted: str = "q8") -> tuple[Measured, ...]:
    return measurements(store, Package.open(store, parse("m")).choose(wanted).digest)


@pytest.mark.parametrize("document", [measured(), measured(None), measured(quantization=None)])
def test_a_document_is_read_as_it_was_written_and_fits_its_schema(document: Measured) -> None:
    written = document.to_json()
    assert Measured.from_json(json.loads(canonical_json(written))) == document
    resources: Registry[Any] = Registry().with_resource(
        "quality-1.json", Resource.from_contents(json.loads(SCHEMA.read_text()))
    )
    jsonschema.Draft202012Validator({"$ref": "quality-1.json"}, registry=resources).validate(written)


@given(st.floats(0, 1e30), st.floats(0, 1e30))
def test_numbers_keep_six_digits(value: float, error: float) -> None:
    document = replace(measured(), perplexity=Number(value=value + 1, error=error))
    read = Measured.from_json(json.loads(canonical_json(document.to_json()))).perplexity
    assert read.value == pytest.approx(value + 1, rel=1e-5)
    assert read.error == pytest.approx(error, rel=1e-5)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["schema"], "slmctl.quality/2"),
        (["text"], None),
        (["text", "digest"], "sha256:1"),
        (["text", "bytes"], 0),
        (["tokens"], True),
        (["tokens"], 1.5),
        (["windows"], -1),
        (["context"], 1 << 63),
        (["engine"], ""),
        (["engine"], "a\nb"),
        (["engine"], "x" * 201),
        (["perplexity"], 5),
        (["perplexity", "value"], "5"),
        (["perplexity", "value"], 0.5),
        (["perplexity", "value"], float("nan")),
        (["perplexity", "value"], float("inf")),
        (["perplexity", "error"], -1),
        (["perplexity", "error"], None),
        (["against"], []),
        (["against", "digest"], 5),
        (["against", "variant"], None),
        (["against", "quantization"], 4),
        (["against", "divergence", "value"], -0.001),
        (["against", "divergence", "value"], True),
        (["against", "same_top", "value"], 1.001),
    ],
)
def test_what_no_measurement_can_be_is_refused(path: list[str], value: object) -> None:
    document = measured().to_json()
    place: Any = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(BadContent):
        Measured.from_json(document)


def test_only_what_an_unquantized_build_was_asked_about_is_a_loss() -> None:
    assert measured(0.02).divergence == 0.02
    assert measured(0.02, quantization="bf16").divergence == 0.02
    for other in (measured(None), measured(0.02, quantization="Q8_0"), measured(0.02, quantization=None)):
        assert other.divergence is None
    assert measured(0.02, tokens=ENOUGH_TOKENS - 1).divergence is None


def test_most_tokens_count() -> None:
    few, many, other = measured(0.5, tokens=2000), measured(0.02, tokens=4000), measured(None, tokens=9000)
    assert divergence_of([few, other, many]) == divergence_of([many, few, other]) == 0.02
    assert divergence_of([other]) is None
    assert divergence_of([]) is None


def test_what_is_kept_is_found_with_the_variant_alone(store: Store) -> None:
    first, second = measured(0.02), measured(0.03, text=b"another text", tokens=3000)
    keep(store, second)
    keep(store, first)
    assert kept(store) == (first, second)
    assert kept(store, "f32") == ()
    assert measured_quality(store, Package.open(store, parse("m"))) == {"gguf-q8_0": (first, second)}


def test_the_same_question_is_answered_once(store: Store) -> None:
    keep(store, measured(None))
    keep(store, measured(0.02))
    assert kept(store) == (measured(0.02),)
    other = measured(0.04, base=b"another build")
    keep(store, other)
    assert set(kept(store)) == {measured(0.02), other}
    keep(store, measured(0.03))
    assert set(kept(store)) == {measured(0.03), other}
    keep(store, measured(None))  # says less, and says it of today
    assert set(kept(store)) == {measured(0.03), other, measured(None)}


def test_a_glance_takes_no_place_of_more(store: Store) -> None:
    digest = keep(store, measured(0.02)).subject
    assert is_outdone(store, digest, measured(0.03, tokens=100))
    assert not is_outdone(store, digest, measured(0.03))
    for other in (measured(None, tokens=100), measured(0.03, tokens=100, context=64)):
        assert not is_outdone(store, digest, other)
        keep(store, other)
        assert {measured(0.02), other} <= set(kept(store))


def test_a_plan_counts_with_it(store: Store) -> None:
    def found() -> dict[str, tuple[float, str]]:
        builds = builds_of_package(store, Package.open(store, parse("m")))
        return {build.variant: (quality(build).loss, quality(build).basis) for build in builds}

    before = found()
    assert all(basis.startswith("prior") for _, basis in before.values())
    keep(store, measured(0.25))
    assert found() == {"gguf-f32": before["gguf-f32"], "gguf-q8_0": (0.25, "measured")}


def test_what_cannot_be_believed_counts_for_nothing(store: Store) -> None:
    """A document about another variant, of another kind, too long, or damaged: none of the model's business."""
    package = Package.open(store, parse("m"))
    first, second = (package.choose(each) for each in ("q8", "f32"))
    manifest = store.manifest_of(second.digest)
    other = Descriptor(media_type=manifest.media_type, digest=second.digest, size=len(manifest.raw))
    document = canonical_json(measured().to_json())

    def enter(data: bytes, subject: Descriptor, of: Digest, kind: str = mediatypes.QUALITY) -> Referrer:
        with store.session("test") as session:
            session.put(EMPTY)
            layer = Descriptor(media_type=kind, digest=session.put(data), size=len(data))
            made = artifact_about(subject, layer, artifact_type=kind, annotations={})
            descriptor = Descriptor(
                media_type=made.media_type,
                digest=session.put(made.raw),
                size=len(made.raw),
                artifact_type=kind,
            )
            store.refer(Referrer(subject=of, descriptor=descriptor))
        return Referrer(subject=of, descriptor=descriptor)

    own = replace(other, digest=first.digest, size=len(store.manifest_of(first.digest).raw))
    enter(document, other, first.digest)  # the row says one thing, the manifest another
    enter(document, own, first.digest, "application/vnd.example.signature")
    enter(b"{", own, first.digest)
    enter(document + b" " * 70_000, own, first.digest)
    enter(b'{"schema":"slmctl.quality/9"}', own, first.digest)
    assert kept(store) == ()
    damaged = enter(document + b" ", own, first.digest)
    assert kept(store) == (measured(),)
    path = store.layout.blob(damaged.descriptor.digest)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1])
    assert kept(store) == ()
    path.unlink()
    assert kept(store) == ()
