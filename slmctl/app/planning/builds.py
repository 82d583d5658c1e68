"""The builds that a plan chooses among: of a model of the library, and of a description alone."""

from __future__ import annotations

import re

from modelfiles.library import entry as library_entry
from registry.formats.facts import ModelFacts
from runtimes.planning.mix import QUANTIZATIONS, quantized
from runtimes.planning.values import Build
from slmctl.app.library import LibraryModel
from slmctl.app.package import variant_id
from slmctl.app.planning.package_builds import publisher_of, with_matrix
from slmctl.app.planning.recipes import as_i2_s, folder_facts
from slmctl.app.where import usual_first

USUAL = (
    *("BF16", "Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q4_K_M", "Q4_K_S", "Q4_0", "IQ4_XS"),
    *("Q3_K_L", "Q3_K_M", "Q3_K_S", "Q2_K"),
)
"""What a repository of GGUF builds has as a rule, with BF16, the build that the others are made of."""

MADE_WITHOUT_A_MATRIX = (
    *("BF16", "Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q5_1", "Q5_0", "Q4_K_M", "Q4_K_S", "Q4_1", "Q4_0"),
    *("IQ4_NL", "IQ4_XS", "Q3_K_L", "Q3_K_M", "Q3_K_S", "Q2_K"),
)
"""What can be made of the weights alone."""

MADE_WITH_A_MATRIX = (
    *("IQ3_M", "IQ3_S", "IQ3_XS", "IQ3_XXS", "IQ2_M", "Q2_K_S"),
    *("IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ1_M", "IQ1_S"),
)
"""What is made with an importance matrix, beside the above."""

_TERNARY = ("TQ2_0",)
"""Recipes for weights that are ternary by training, and for no others. TQ1_0 is a tenth smaller and slower to
unpack on every CPU (llama.cpp's pull request 8151)."""

_TERNARY_ARCHITECTURES = frozenset({"bitnet", "bitnet-b1.58", "bitnet-25"})

_HEADER_BYTES_PER_TOKEN = 40
"""A GGUF file beside its tensors: 6.0 MB for 152k tokens, 7.8 MB for 128k with merges (fit.md 1.3)."""


def builds_of_model(model: LibraryModel, *, name: str | None = None) -> tuple[Build, ...]:
    """What a model of the library can be had as, by its facts alone.

    The builds that the library names, and the usual quantizations of the repository that its usual GGUF build
    is in; `pull` looks which of those are really there. `name` is what the model is asked for by.
    """
    facts = model.facts
    called = name or model.entry.name
    if model.entry.ships:
        quantization = facts.quantization or "F16"
        return (_gguf(called, facts, quantization, None, made_of=facts, stored=True),)
    usual = usual_first(model.entry.builds)
    found = [build for named in usual if (build := _of_library(called, facts, named)) is not None]
    first = next((each for each in usual if each.format == "gguf"), None)
    if first is not None and facts.architecture not in _TERNARY_ARCHITECTURES:
        publisher = publisher_of(first.reference)
        found += [_gguf(called, facts, label, publisher) for label in USUAL if label != facts.quantization]
    builds: dict[str, Build] = {}
    for build in (*found, *_ternary(called, facts)):
        builds.setdefault(build.variant, build)
    return tuple(builds.values())


def named_builds(model: LibraryModel) -> frozenset[str]:
    """The ids of those that the library itself names; of the others `pull` looks whether they are there."""
    if model.entry.ships:
        return frozenset(build.variant for build in builds_of_model(model))
    found = (_of_library(model.entry.name, model.facts, named) for named in model.entry.builds)
    return frozenset(build.variant for build in found if build is not None)


def builds_of_facts(
    name: str, facts: ModelFacts, *, guessed: bool = False, importance_matrix: bool = False
) -> tuple[Build, ...]:
    """Every quantization that could be made of unquantized weights with these facts, with an importance
    matrix or without."""
    labels = MADE_WITHOUT_A_MATRIX + (MADE_WITH_A_MATRIX if importance_matrix else ())
    matrix = True if importance_matrix else None
    builds = (_gguf(name, facts, label, None, made=False, guessed=guessed, matrix=matrix) for label in labels)
    return (*builds, *_ternary(name, facts))


def _of_library(name: str, facts: ModelFacts, named: library_entry.Build) -> Build | None:
    """A build that the library names; None where its names do not say what it is."""
    publisher = publisher_of(named.reference)
    tag = named.reference.tag or ""
    if named.format == "gguf":
        label = _label(tag)
        if label == "I2_S":
            return _gguf(name, facts, label, publisher, made_of=as_i2_s(facts))
        return None if label not in QUANTIZATIONS else _gguf(name, facts, label, publisher)
    made = folder_facts(facts, named.format, named.reference.path, tag)
    if made is None:
        return None
    return Build(
        model=name,
        variant=variant_id(named.format, made.quantization),
        facts=made,
        size=made.tensor_bytes,
        quantization=made.quantization,
        quantization_aware="qat" in named.reference.path.lower(),
        producer=publisher,
    )


def _label(tag: str) -> str:
    """The quantization that a tag is, or that stands at the end of a file's name."""
    return re.split(r"[-.]", tag.removesuffix(".gguf"))[-1].upper()


def _ternary(name: str, facts: ModelFacts) -> tuple[Build, ...]:
    if facts.architecture not in _TERNARY_ARCHITECTURES:
        return ()
    return tuple(_gguf(name, facts, label, None, made=False) for label in _TERNARY)


def _gguf(
    name: str,
    facts: ModelFacts,
    label: str,
    publisher: str | None,
    *,
    made: bool = True,
    guessed: bool = False,
    made_of: ModelFacts | None = None,
    stored: bool = False,
    matrix: bool | None = None,
) -> Build:
    matrix = with_matrix(publisher) if matrix is None else matrix
    mixed = made_of or quantized(facts, label, importance_matrix=matrix)
    return Build(
        model=name,
        variant=variant_id("gguf", label),
        facts=mixed,
        size=mixed.tensor_bytes + _HEADER_BYTES_PER_TOKEN * (facts.vocabulary or 0),
        quantization=label,
        importance_matrix=matrix,
        producer=publisher,
        stored=stored,
        made=made,
        guessed=guessed,
    )
