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
from slmctl.app.upstream import pin_of, tracked

CURRENT, MOVED, GONE, UNKNOWN = "current", "moved", "gone", "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """A name, what it was pinned to, and what its place has now; of several places the first has the pin.

    `state` is "current", "moved", "gone" (the place has it no more) or "unknown", for which `error` says why.
    """

    name: str
    places: tuple[ModelRef, ...]
    pinned: str
    now: str | None
    state: str
    error: SlmctlError | None = None


def pulled_names(entries: Iterable[Entry]) -> list[tuple[Entry, tuple[ModelRef, ...]]]:
    """The entries that were pulled, each with the places to ask, by name."""
    found = [(entry, places) for entry in entries if (places := tracked(entry))]
    return sorted(found, key=lambda pair: pair[0].name)


def upstream_of(
    store: StoreReader, entries: Iterable[Entry], remote_of: Callable[[ModelRef], Remote]
) -> list[Upstream]:
    """Ask all places, several at once. A place that does not answer is a row, not an error."""
    asked = pulled_names(entries)
    return at_once(lambda pair: _compare(store, pair[0], pair[1], remote_of), asked)


def _compare(
    store: StoreReader,
    entry: Entry,
    places: tuple[ModelRef, ...],
    remote_of: Callable[[ModelRef], Remote],
) -> Upstream:
    pin = str(pin_of(entry.source) or "")
    try:
        found = [remote_of(place).resolve(place) for place in places]
    except SlmctlError as error:
        state = GONE if isinstance(error, NotFound) else UNKNOWN
        return Upstream(name=entry.name, places=places, pinned=pin, now=None, state=state, error=error)
    first = found[0]
    now = str(first.root.digest) if isinstance(first, Artifact) else first.commit
    listings = [each for each in found if isinstance(each, Listing)]
    is_current = (now == pin and len(found) == 1) or _have_same_weights(store, entry, listings)
    state = CURRENT if is_current else MOVED
    return Upstream(name=entry.name, places=places, pinned=pin, now=now, state=state)


def _have_same_weights(store: StoreReader, entry: Entry, listings: Sequence[Listing]) -> bool:
    """Whether repositories that were committed to still have all weights of a model: a README may change."""
    there: set[Digest] = {
        file.sha256 for listing in listings for file in listing.files if file.sha256 is not None
    }
    weights: Sequence[Digest] = ()
    with suppress(SlmctlError, OSError):
        package = Package.of(store, entry)
        weights = [file.digest for variant in package.variants for file in variant.weights]
    return bool(weights) and there.issuperset(weights)
