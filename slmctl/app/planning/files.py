"""Where the weights of stored builds lie, for who asks the engine about them."""

from __future__ import annotations

from pathlib import Path

from registry.store.reader import StoreReader
from runtimes.planning.values import Build
from slmctl.app.package import Package
from slmctl.app.planning.planner import FileOf


def file_of_builds(reader: StoreReader | None, package: Package | None) -> FileOf | None:
    """The path of a build's one GGUF file in the store; None where the model is not stored, and for files in
    a tar."""
    if package is None or reader is None or reader.origin is not None:
        return None

    def path_of(build: Build) -> Path | None:
        variant = next((each for each in package.variants if str(each.digest) == build.digest), None)
        if variant is None or not variant.local or variant.format != "gguf" or len(variant.weights) != 1:
            return None
        path = reader.layout.blob(variant.weights[0].digest)
        return path if path.is_file() else None

    return path_of
