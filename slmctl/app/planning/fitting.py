"""Which builds fit on this machine: what `show` and `search` mark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

from registry.errors import BadContent, UsageError
from registry.store.reader import StoreReader
from runtimes.planning.mix import quantized
from runtimes.planning.values import Build, PlanRequest
from slmctl.app.library import LibraryModel
from slmctl.app.package import Package
from slmctl.app.planning.package_builds import builds_of_package, is_embedding
from slmctl.app.planning.planner import Planner

_USUAL = "Q4_K_M"


def variants_that_fit(planner: Planner, store: StoreReader, package: Package) -> Mapping[str, bool]:
    """For each variant of known facts, by id, whether some context of it fits."""
    found = {}
    for build in builds_of_package(store, package):
        with suppress(BadContent):  # facts without what an estimate needs
            found[build.variant] = _fits(planner, build)
    return found


def models_that_fit(planner: Planner, models: Sequence[LibraryModel]) -> Mapping[str, bool]:
    """For each model of the library, by name, whether its usual build (Q4_K_M, or as it ships) fits."""
    found = {}
    for model in models:
        facts = model.facts
        try:
            facts = facts if model.entry.ships else quantized(facts, _USUAL)
        except (BadContent, UsageError):
            continue
        build = Build(
            model=model.entry.name,
            variant="gguf",
            facts=facts,
            size=facts.tensor_bytes,
            quantization=facts.quantization,
        )
        found[model.entry.name] = _fits(planner, build)
    return found


def _fits(planner: Planner, build: Build) -> bool:
    request = PlanRequest(variant=build.variant, embedding=is_embedding([build]))
    return planner.plan([build], request).chosen is not None
