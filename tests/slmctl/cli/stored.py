"""Looking into the program's store from a test: what a model's variants are, byte for byte."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from registry.formats.gguf import GgufHeader, read_header
from registry.names import parse
from registry.store.store import Store
from slmctl.app.package import Package, Variant
from tests.slmctl.cli.program import Program


def variants(slmctl: Program, name: str) -> Mapping[str, Variant]:
    """The variants of a model by their ids, in order."""
    package = Package.open(Store(slmctl.store), parse(name))
    return {variant.id: variant for variant in package.variants}


def weights(slmctl: Program, name: str, variant: str) -> Path:
    """Where the one weight file of a variant lies."""
    (file,) = variants(slmctl, name)[variant].weights
    return Store(slmctl.store).layout.blob(file.digest)


def header(slmctl: Program, name: str, variant: str) -> GgufHeader:
    with weights(slmctl, name, variant).open("rb") as stream:
        return read_header(stream)


def leftovers(slmctl: Program) -> list[Path]:
    """What a command must not leave in the store: half files, leases."""
    return [*(slmctl.store / "ingest").glob("*"), *(slmctl.store / "leases").glob("*")]


def blobs(slmctl: Program) -> set[str]:
    return {path.name for path in (slmctl.store / "blobs" / "sha256").glob("*")}
