"""The builds of a model in the store, as a plan takes them. Imports little: every run has it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from types import MappingProxyType

from modelfiles.spec import ParameterValue
from registry.errors import BadContent, NotFound, OperationFailed
from registry.formats.facts import ModelFacts
from registry.formats.gguf import read_header
from registry.formats.gguf_facts import facts_from_gguf
from registry.names import ModelRef, Source, short_name
from registry.store.reader import StoreReader
from runtimes.planning.values import Build
from slmctl.app.measured import divergence_of, measured_quality
from slmctl.app.package import Package, Variant
from slmctl.app.parameters import whole
from slmctl.app.upstream import place_of

_WITH_MATRIX: Mapping[str, bool] = MappingProxyType({"bartowski": True, "unsloth": True, "qwen": True})
"""Publishers whose quantizations lose as little as those with an importance matrix: the first two say on
every card that they use one; the makers' own builds of Qwen3 are counted so in fit.md 3.3."""


_NO_POOLING, _LAST_POOLING = 0, 3
"""llama.cpp's numbers."""

_MAX_LAYERS = 4096
_MAX_VOCABULARY = 1 << 24
_MAX_DRAFTED = 1024
"""What facts may say at most: a hostile file's layers are not counted one by one. And what the engine lets a
draft guess."""


def builds_of_package(store: StoreReader, package: Package) -> tuple[Build, ...]:
    """One for each variant whose facts are known, in the package's order."""
    name = short_name(package.name)
    measured = measured_quality(store, package)
    return tuple(
        replace(
            _of_variant(store, package, variant, name, variant.facts),
            divergence=divergence_of(measured.get(variant.id, ())),
        )
        for variant in package.variants
        if variant.facts is not None and variant.packed is None and is_sane(variant.facts)
    )


def is_embedding(builds: Iterable[Build]) -> bool:
    """Whether the model turns texts into vectors, and answers nothing."""
    return any(build.facts.causal is False or build.facts.pooling for build in builds)


def counts_all_tokens(builds: Iterable[Build]) -> bool:
    """Whether a text's vector is made of all its tokens: the engine then takes it in one batch only."""
    return any(build.facts.pooling not in (None, _NO_POOLING, _LAST_POOLING) for build in builds)


def drafting(
    builds: Iterable[Build], parameters: Mapping[str, ParameterValue]
) -> tuple[tuple[Build, ...], int]:
    """The builds as they are loaded with these parameters, and how many tokens their drafts guess at a time:
    a draft that may guess none is not loaded."""
    tokens = whole(parameters, "draft_num_predict")
    if tokens == 0:
        return tuple(replace(each, draft=None) for each in builds), 0
    return tuple(builds), min(max(tokens or 0, 0), _MAX_DRAFTED)


def with_matrix(publisher: str | None) -> bool | None:
    """Whether what a publisher quantizes is made with an importance matrix; None where that is not known."""
    return _WITH_MATRIX.get((publisher or "").casefold())


def publisher_of(ref: ModelRef | None) -> str | None:
    """Who published what is at a place of the Hugging Face Hub."""
    if ref is None or ref.source is not Source.HUGGINGFACE:
        return None
    return ref.path.partition("/")[0]


def _of_variant(
    store: StoreReader, package: Package, variant: Variant, name: str, facts: ModelFacts
) -> Build:
    place = place_of(package.source)
    publisher = publisher_of(place)
    return Build(
        model=name,
        variant=variant.id,
        facts=facts,
        size=variant.size,
        digest=str(variant.digest),
        quantization=variant.quantization,
        importance_matrix=with_matrix(publisher),
        quantization_aware="qat" in (package.source or "").lower(),
        producer=publisher,
        projector_bytes=_bytes(variant, "projector"),
        adapter_bytes=_bytes(variant, "adapter"),
        draft=_draft(store, variant),
        stored=variant.local,
    )


def _bytes(variant: Variant, role: str) -> int:
    return sum(file.size for file in variant.of_role(role))


def _draft(store: StoreReader, variant: Variant) -> ModelFacts | None:
    """The facts of the model that guesses ahead; None where there is none, or it is not here."""
    files = variant.of_role("draft")
    if not files:
        return None
    with suppress(NotFound, BadContent, OperationFailed), store.open_blob(files[0].descriptor) as stream:
        return facts_from_gguf([read_header(stream)])
    return None


def is_sane(facts: ModelFacts) -> bool:
    """Whether the facts are those of a model that anybody could have made: what is not is left to the engine,
    which refuses it."""
    counts = (facts.layers, facts.decoder_layers, facts.nextn_layers)
    return all((count or 0) <= _MAX_LAYERS for count in counts) and (facts.vocabulary or 0) <= _MAX_VOCABULARY
