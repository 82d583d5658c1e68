"""Which quantization to make of a model: what a plan takes here, or what loses least under a size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from registry.errors import DoesNotFit
from registry.formats.facts import ModelFacts
from runtimes.planning.mix import quantized
from runtimes.planning.quality import quality
from runtimes.planning.values import Build, Plan, PlanRequest
from slmctl.app.package import variant_id
from slmctl.app.planning.builds import builds_of_facts
from slmctl.app.planning.made_of import UNQUANTIZED
from slmctl.app.planning.package_builds import is_embedding
from slmctl.app.planning.planner import Planner
from slmctl.app.planning.words import nofit_line


def possible(name: str, facts: ModelFacts, source: str | None, *, with_matrix: bool) -> tuple[Build, ...]:
    """What could be made of a model with these facts, as if it were made already: a plan chooses by what it
    costs to run them. Unquantized it is had as what it is made of has it: `source`, where that is not
    quantized itself."""
    whole = source if source in UNQUANTIZED else None
    found = []
    for build in builds_of_facts(name, facts, importance_matrix=with_matrix):
        if build.quantization == "BF16":
            if whole is None:
                continue
            made = quantized(facts, whole)
            size = build.size + made.tensor_bytes - build.facts.tensor_bytes
            build = replace(
                build, variant=variant_id("gguf", whole), quantization=whole, facts=made, size=size
            )
        found.append(replace(build, stored=True, made=True))
    return tuple(found)


def that_fits(
    planner: Planner, builds: Sequence[Build], request: PlanRequest, *, max_size: int | None = None
) -> tuple[str, Plan]:
    """The quantization that a plan takes of those under `max_size` bytes, and the plan. Raises DoesNotFit."""
    small = [each for each in builds if max_size is None or each.size <= max_size]
    name = builds[0].model
    if not small:
        raise _too_large(builds, max_size or 0)
    found = planner.plan(small, replace(request, embedding=is_embedding(small)))
    if found.chosen is None:
        raise DoesNotFit(
            nofit_line(found, name), hint=f"'slmctl plan {name}' explains it; --to makes one all the same."
        )
    return str(found.chosen.candidate.build.quantization), found


def least_loss_first(builds: Sequence[Build]) -> tuple[str, ...]:
    """Their quantizations, by what they lose; of equals the smaller one first."""
    ordered = sorted(builds, key=lambda build: (quality(build).loss, build.size, build.variant))
    return tuple(str(build.quantization) for build in ordered)


def _too_large(builds: Sequence[Build], max_size: int) -> DoesNotFit:
    smallest = min(builds, key=lambda build: build.size)
    return DoesNotFit(
        f"No quantization of {smallest.model} takes {max_size:,} bytes or less: {smallest.quantization}, the"
        f" smallest, takes about {smallest.size:,}.",
        hint="Smaller ones need an importance matrix: --imatrix FILE.",
    )
