"""What moved upstream since it was pulled: the pins of names against what their places have now."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from registry.digest import Digest
from registry.errors import NotFound, SlmctlError
from registry.names import ModelRef
from registry.remotes.base import Artifact, Listing, Remote
from registry.store.index import Entry
from registry.store.reader import StoreReader
from slmctl.app.hub.at_once import at_once
from slmctl.app.package import Package
from slmctl.app.upstream import pin_of, pulled_from

CURRENT, MOVED, GONE, UNKNOWN = "current", "moved", "gone", "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """A name, what it was pinned to, and what its place has now.

    `state` is "current", "moved", "gone" (the place has it no more) or "unknown", for which `error` says why.
    """

    name: str
    place: ModelRef
    pinned: str
    now: str | None
    state: str
    error: SlmctlError | None = None


def pulled_names(entries: Iterable[Entry]) -> list[tuple[Entry, ModelRef]]:
    """The entries that were pulled, each with the place to ask, by name."""
    found = [(entry, place) for entry in entries if (place := pulled_from(entry)) is not None]
    return sorted(found, key=lambda pair: pair[0].name)


def upstream_of(
    store: StoreReader, entries: Iterable[Entry], remote_of: Callable[[ModelRef], Remote]
) -> list[Upstream]:
    """Ask all places, several at once. A place that does not answer is a row, not an error."""
    asked = pulled_names(entries)
    return at_once(lambda pair: _compare(store, pair[0], pair[1], remote_of), asked)


def _compare(
    store: StoreReader, entry: Entry, place: ModelRef, remote_of: Callable[[ModelRef], Remote]
) -> Upstream:
    pin = str(pin_of(entry.source) or "")
    try:
        found = remote_of(place).resolve(place)
    except NotFound as error:
        return Upstream(name=entry.name, place=place, pinned=pin, now=None, state=GONE, error=error)
    except SlmctlError as error:
        return Upstream(name=entry.name, place=place, pinned=pin, now=None, state=UNKNOWN, error=error)
    now = str(found.root.digest) if isinstance(found, Artifact) else found.commit
    is_current = now == pin or (isinstance(found, Listing) and _has_same_weights(store, entry, found))
    return Upstream(name=entry.name, place=place, pinned=pin, now=now, state=CURRENT if is_current else MOVED)


def _has_same_weights(store: StoreReader, entry: Entry, listing: Listing) -> bool:
    """Whether a repository that was committed to still has all weights of a model: a README may change."""
    there: set[Digest] = {file.sha256 for file in listing.files if file.sha256 is not None}
    weights: Sequence[Digest] = ()
    with suppress(SlmctlError, OSError):
        package = Package.of(store, entry)
        weights = [file.digest for variant in package.variants for file in variant.weights]
    return bool(weights) and there.issuperset(weights)
