"""A model on its way into the store: what is known of it before its weights are fetched."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from registry.digest import Digest
from registry.manifest import Descriptor
from registry.names import ModelRef
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

    `source` is the pinned reference. `variants` are the ids of what is fetched, `others` of what the place
    has beside that. `wanted` are all blobs of the chosen variants, here already or not, of which `size` bytes
    are files; `labels` are what people call them. `root` is what the name will point at, where that is known
    before `finish`, which is called when the blobs are there, puts in what is missing of the manifests, and
    gives it; it is None in a dry run of what is not read. `pins` are the pinned references of all places
    where they are several. `passing` are blobs that nobody needs afterwards, `asked` the references that this
    is the answer to.
    """

    source: str
    variants: tuple[str, ...]
    others: tuple[str, ...]
    wanted: tuple[Wanted, ...]
    size: int
    labels: Mapping[Digest, str]
    root: Descriptor | None
    finish: Callable[[Session], Descriptor] | None = field(repr=False)
    pins: tuple[str, ...] = ()
    passing: tuple[Digest, ...] = ()
    asked: tuple[ModelRef, ...] = ()
