"""A model on its way into the store: what is known of it before its weights are fetched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from registry.manifest import Descriptor
from registry.store.store import Session, Store
from registry.transfer.download import Wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Where a model is taken in: a store, under a lease. In a dry run that is a store of the moment."""

    store: Store
    session: Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Coming:
    """What a reference turned out to be.

    `source` is the pinned reference. `variants` are the ids of what is fetched, `others` of what the place has
    beside that. `wanted` are all blobs of the chosen variants that are not small, here already or not; `size`
    bytes of files they have together. `finish` puts the manifests into the store when the blobs are there, and
    gives what the name shall point at; `root` is that where it is known before.
    """

    source: str
    variants: tuple[str, ...]
    others: tuple[str, ...]
    wanted: tuple[Wanted, ...]
    size: int
    root: Descriptor | None
    finish: Callable[[Session], Descriptor] = field(repr=False)
