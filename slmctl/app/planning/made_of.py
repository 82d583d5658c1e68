"""What GGUF builds can be made of the builds that a model has: the facts of the model before quantization."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from registry.errors import BadContent, MalformedFile, NotFound
from registry.formats.facts import ModelFacts
from registry.formats.hf_dimensions import facts_from_config, gguf_architecture
from registry.manifest import load_json_object
from registry.store.reader import StoreReader
from runtimes.planning.values import Build
from slmctl.app.package import Package, Variant

UNQUANTIZED = frozenset({"BF16", "F16", "F32"})
"""The types of weights that nothing was lost of yet."""

CONFIG = "config.json"


def is_unquantized(format_: str, quantization: str | None) -> bool:
    """Whether other builds can be made of one like this without losing twice."""
    return format_ in ("gguf", "safetensors") and (quantization or "").upper() in UNQUANTIZED


def is_convertible(facts: ModelFacts) -> bool:
    """Whether a GGUF can be made of safetensors with these facts, as far as they say: of unquantized weights,
    and of the packed ones that BitNet is published in."""
    if facts.format != "safetensors":
        return False
    return is_unquantized("safetensors", facts.quantization) or facts.architecture.startswith("bitnet")


def as_gguf(config: Mapping[str, object], found: ModelFacts) -> tuple[ModelFacts, bool]:
    """What the converter would make of a folder with these facts, and whether its tensors are known exactly:
    by its config.json, else by the folder's own tensors. Raises MalformedFile."""
    with suppress(MalformedFile):
        facts, exact = facts_from_config(config)
        if exact:
            return facts, True
    architecture = gguf_architecture(found.architecture)
    return replace(found, format="gguf", architecture=architecture), True


def gguf_facts(
    builds: Sequence[Build], reader: StoreReader | None = None, package: Package | None = None
) -> ModelFacts | None:
    """The facts of the GGUF that all quantizations of the model are sized by; None where there is none.

    Those of a GGUF build, an unquantized one first; else of the safetensors of `package`, whose config.json
    is read. A quantized build will do: its tensors have the same shapes.
    """
    ggufs = [build for build in builds if build.facts.format == "gguf" and build.facts.tensors]
    ggufs.sort(key=lambda build: (build.facts.quantization or "") not in UNQUANTIZED)
    if ggufs:
        return ggufs[0].facts
    if reader is None or package is None:
        return None
    found = (_converted(reader, variant) for variant in package.variants)
    return next((facts for facts in found if facts is not None), None)


def _converted(reader: StoreReader, variant: Variant) -> ModelFacts | None:
    facts = variant.facts
    if facts is None or not is_unquantized(variant.format, facts.quantization):
        return None
    config = next((file for file in variant.files if file.path == CONFIG), None)
    if config is None:
        return None
    with suppress(NotFound, BadContent):
        document = load_json_object(reader.read_blob(config.descriptor), "The file config.json")
        return as_gguf(document, facts)[0]
    return None
