"""The builds of a repository of files, from its listing and one header: no weights, and no header for each.

Quantizations of one model differ in their types alone, and those follow from the recipe; so one header, by
range request, tells what all GGUF builds of a repository are, and the listing how large each file is. What a
publisher mixes by a recipe of its own (`UD-Q4_K_XL`, `Q4_K_L`) is taken for the recipe that it is named
after, with as many bytes as the file has.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from registry.errors import BadContent, DoesNotFit, UsageError
from registry.formats.facts import ModelFacts
from registry.remotes.huggingface import blob_of
from runtimes.planning.mix import QUANTIZATIONS, quantized
from runtimes.planning.values import Build
from slmctl.app.hub.facts import facts_of
from slmctl.app.hub.repository import HubRepository
from slmctl.app.hub.variant import HubVariant
from slmctl.app.planning.package_builds import with_matrix

_OWN_RECIPE = re.compile(r"(?:UD-)?(?P<base>I?Q\d(?:_K)?)_(?:L|XL|XXL)")
_PREFERRED = ("Q4_K_M", "Q8_0", "Q6_K", "Q5_K_M")
"""Whose header is read first: what most repositories have, in one file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryBuilds:
    """`fetched_bytes` came in `requests` ranges, to know them. `heads` is how files begin whose headers were
    read, by the key of the build that is in that one file."""

    builds: tuple[Build, ...]
    heads: Mapping[str, bytes] = field(default_factory=dict)
    fetched_bytes: int = 0
    requests: int = 0


def builds_of_repository(
    repository: HubRepository,
    variants: Sequence[HubVariant],
    *,
    name: str,
    known: ModelFacts | None = None,
) -> RepositoryBuilds:
    """The builds among `variants` that are whole, in their order.

    `known` are the facts of the unquantized model where somebody has them: then nothing is read but what has
    no recipe. A build whose header is damaged is left out. Raises what the remote raises.
    """
    whole = [each for each in variants if each.problem is None]
    ggufs = [each for each in whole if each.format == "gguf"]
    found: dict[str, ModelFacts] = {}
    fetched = requests = 0
    model, beside = known, 0
    for each in (*sorted(ggufs, key=_rank), *(other for other in whole if other.format != "gguf")):
        if each.format == "gguf" and model is not None and _recipe(each) is not None:
            continue
        with suppress(BadContent, DoesNotFit):
            looked = facts_of(repository, each, keep=True)
            fetched, requests = fetched + looked.fetched_bytes, requests + looked.requests
            found[each.id] = looked.facts
            if each.format == "gguf" and model is None:
                model, beside = looked.facts, max(0, _weights(each) - looked.facts.tensor_bytes)
    builds, heads = [], {}
    for each in whole:
        facts = found.get(each.id)
        if facts is None and model is not None and each.format == "gguf":
            facts = _by_recipe(model, each, beside, repository.name)
        if facts is not None:
            build = _build(repository, each, facts, name)
            builds.append(build)
            head = _head(repository, each) if each.id in found else None
            if head is not None:
                heads[build.key] = head
    return RepositoryBuilds(builds=tuple(builds), heads=heads, fetched_bytes=fetched, requests=requests)


def _head(repository: HubRepository, variant: HubVariant) -> bytes | None:
    """How the one GGUF file of a variant begins, where its header was read."""
    if variant.format != "gguf" or len(variant.weights) != 1 or variant.weights[0].sha256 is None:
        return None
    return repository.source.known(blob_of(variant.weights[0]).digest)


def _rank(variant: HubVariant) -> tuple[int, int]:
    """One file with a usual label first."""
    label = (variant.label or "").upper()
    usual = _PREFERRED.index(label) if label in _PREFERRED else len(_PREFERRED)
    return (usual if len(variant.weights) == 1 else len(_PREFERRED) + 1, variant.size)


def _recipe(variant: HubVariant) -> tuple[str, bool] | None:
    """The recipe that a label names, and whether it is exactly that one; None for what is no label."""
    label = (variant.label or "").upper()
    if label in QUANTIZATIONS:
        return label, True
    plain = label.removeprefix("UD-")
    own = _OWN_RECIPE.fullmatch(label)
    for name in (plain, f"{own['base']}_M" if own else "", own["base"] if own else ""):
        if name in QUANTIZATIONS:
            return name, False
    return None


def _by_recipe(model: ModelFacts, variant: HubVariant, beside: int, repository: str) -> ModelFacts | None:
    recipe = _recipe(variant)
    if recipe is None:
        return None
    label, exactly = recipe
    matrix = with_matrix(repository.partition("/")[0])
    with suppress(BadContent, UsageError):
        facts = quantized(model, label, importance_matrix=matrix)
        return facts if exactly else _of_size(facts, _weights(variant) - beside)
    return None


def _of_size(facts: ModelFacts, size: int) -> ModelFacts:
    """The facts with their largest row so many bytes larger, or smaller, that all have `size`."""
    rows = list(facts.tensors)
    at = max(range(len(rows)), key=lambda index: rows[index].bytes)
    rows[at] = replace(rows[at], bytes=max(1, rows[at].bytes + size - facts.tensor_bytes))
    return replace(facts, tensors=tuple(rows))


def _weights(variant: HubVariant) -> int:
    return sum(file.size for file in variant.weights)


def _build(repository: HubRepository, variant: HubVariant, facts: ModelFacts, name: str) -> Build:
    publisher = repository.name.partition("/")[0]
    return Build(
        model=name,
        variant=variant.id,
        facts=facts,
        size=variant.size,
        quantization=variant.label or facts.quantization,
        importance_matrix=with_matrix(publisher),
        quantization_aware="qat" in repository.name.lower(),
        producer=publisher,
        projector_bytes=sum(file.size for file in variant.of_role("projector")),
    )
