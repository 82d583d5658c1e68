"""A repository and its mirrors, as one remote to pull from.

Mirrors are asked in their order, the repository itself when none of them has an answer. What is pinned by its
digest is the same wherever it comes from. A tag may not be: the mirrors are held against each other, the
first counts, and a disagreement is told, because only a digest says which of them was meant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from registry.digest import Digest
from registry.errors import BadContent, NotFound, SlmctlError, Unauthorized, Unreachable
from registry.manifest import MAX_MANIFEST_BYTES, Descriptor, Index, Manifest
from registry.names import ModelRef
from registry.remotes.base import Artifact, Blob, BlobSource, Body, Changed
from registry.remotes.oci import OciRemote

T = TypeVar("T")

_ELSEWHERE = (NotFound, Unauthorized, Unreachable, BadContent)
"""What another place may do better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disagreement:
    """Mirrors of one repository that mean different things by one tag: (what messages call it, digest)."""

    ref: ModelRef
    answers: tuple[tuple[str, Digest], ...]

    def __str__(self) -> str:
        said = ", ".join(f"{shown} means {digest.short}" for shown, digest in self.answers)
        return (
            f"The mirrors of {self.ref} disagree: {said}. The first counts; a digest would tell them apart."
        )


class MirroredRemote:
    """See `registry.remotes.base.Remote`. `on_disagreement` is told of mirrors that disagree."""

    def __init__(
        self,
        mirrors: Sequence[OciRemote],
        origin: OciRemote,
        on_disagreement: Callable[[Disagreement], None],
    ) -> None:
        self._mirrors = tuple(mirrors)
        self._origin = origin
        self._on_disagreement = on_disagreement

    @property
    def shown(self) -> str:
        return self._origin.shown

    @property
    def sources(self) -> tuple[BlobSource, ...]:
        """Where blobs are had, in the order in which to ask."""
        return (*self._mirrors, self._origin)

    def resolve(self, ref: ModelRef) -> Artifact:
        if ref.digest is not None:
            return self._first(lambda remote: remote.resolve(ref))
        found: list[tuple[str, Artifact]] = []
        for mirror in self._mirrors:
            try:
                found.append((mirror.shown, mirror.resolve(ref)))
            except _ELSEWHERE:
                continue
        if not found:
            return self._origin.resolve(ref)
        answers = tuple((shown, artifact.root.digest) for shown, artifact in found)
        if len({digest for _, digest in answers}) > 1:
            self._on_disagreement(Disagreement(ref=ref, answers=answers))
        return found[0][1]

    def manifest(self, descriptor: Descriptor) -> Manifest | Index:
        return self._first(lambda remote: remote.manifest(descriptor))

    def read_blob(self, descriptor: Descriptor, limit: int = MAX_MANIFEST_BYTES) -> bytes:
        return self._first(lambda remote: remote.read_blob(descriptor, limit))

    def open(self, blob: Blob, start: int, stop: int, validator: str | None = None) -> Body:
        """From the first place that has it; who wants to go on elsewhere after a failure uses `sources`."""
        return self._first(lambda remote: remote.open(blob, start, stop, validator), unless=Changed)

    def tags(self) -> Sequence[str]:
        return self._first(lambda remote: remote.tags())

    def _first(self, ask: Callable[[OciRemote], T], unless: type[SlmctlError] | None = None) -> T:
        """The first answer. Raises what the repository itself raises, and `unless` from any of them."""
        for mirror in self._mirrors:
            try:
                return ask(mirror)
            except _ELSEWHERE as error:
                if unless is not None and isinstance(error, unless):
                    raise
        return ask(self._origin)


def sources_of(remote: BlobSource) -> Iterator[BlobSource]:
    """The remote, or its mirrors and itself."""
    if isinstance(remote, MirroredRemote):
        yield from remote.sources
    else:
        yield remote
