"""Whether the library is true: does every reference exist, and has it the facts that the library claims."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

from modelfiles.library.entry import Build
from registry.errors import NotFound, SlmctlError
from registry.formats.facts import ModelFacts
from registry.names import ModelRef
from registry.remotes.base import FileRemote, Listing, Remote
from slmctl.app.hub.at_once import in_order
from slmctl.app.hub.facts import facts_of
from slmctl.app.hub.repository import HubRepository
from slmctl.app.library import LibraryModel

GOOD, GONE, DIFFERS, UNKNOWN = "good", "gone", "differs", "unknown"

_COMPARED = (
    "architecture",
    "layers",
    "hidden",
    "feed_forward",
    "heads",
    "kv_heads",
    "head_size_k",
    "head_size_v",
    "vocabulary",
    "trained_context",
)
"""What all builds of one model have in common. The number of parameters is not among them: builds may store
tied weights once or twice."""

_AT_ONCE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedBuild:
    """One reference of the library. `state` is "good", "gone", "differs" or "unknown"; `why` says in a
    sentence what is wrong, None where nothing is. `error` is what kept the place from answering."""

    name: str
    reference: ModelRef
    format: str
    state: str
    size: int | None = None
    why: str | None = None
    error: SlmctlError | None = None


def check_library(
    models: Sequence[LibraryModel], remote_of: Callable[[ModelRef], Remote]
) -> Iterator[CheckedBuild]:
    """Ask for every build of `models`, in their order. Reads lists of files and headers, no weights."""
    asked = [(model, build) for model in models if not model.entry.ships for build in model.entry.builds]
    yield from in_order(lambda pair: _check(pair[0], pair[1], remote_of), asked, threads=_AT_ONCE)


def _check(model: LibraryModel, build: Build, remote_of: Callable[[ModelRef], Remote]) -> CheckedBuild:
    ref = build.reference

    def result(
        state: str, why: str | None = None, error: SlmctlError | None = None, size: int | None = None
    ) -> CheckedBuild:
        return CheckedBuild(
            name=model.entry.name,
            reference=ref,
            format=build.format,
            state=state,
            size=size,
            why=why,
            error=error,
        )

    try:
        remote = remote_of(ref)
        listing = remote.resolve(ref)
        if not isinstance(listing, Listing):
            return result(GOOD)  # an artifact that is there; whoever pulls it reads its manifest
        repository = HubRepository(cast("FileRemote", remote), listing)
        variant = repository.choose().variant
        if variant.format != build.format:
            return result(DIFFERS, f"It is {variant.format}, and the library calls it {build.format}.")
        facts = facts_of(repository, variant).facts
    except NotFound as error:
        return result(GONE, error.message)
    except SlmctlError as error:
        return result(UNKNOWN, error.message, error)
    other = _differences(model.facts, facts)
    return result(DIFFERS if other else GOOD, " ".join(other) or None, size=variant.size)


def _differences(claimed: ModelFacts, found: ModelFacts) -> list[str]:
    """What both know and say differently, a sentence each."""
    result = []
    for name in _COMPARED:
        ours, theirs = getattr(claimed, name), getattr(found, name)
        if ours is not None and theirs is not None and ours != theirs:
            result.append(f"{name} is {theirs}, and the library says {ours}.")
    return result
