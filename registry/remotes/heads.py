"""The beginnings of blobs that came for their headers' sake, so that no byte of them is asked for again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from registry.digest import Digest
from registry.remotes.base import Blob, BlobSource, Body, Changed

MAX_HEADS_BYTES = 32 << 20
"""What all beginnings together may take in memory; others are asked for again."""


@dataclass(slots=True)
class _Head:
    data: bytes
    validator: str | None
    starts: set[int] = field(default_factory=set)


class Heads:
    """A `BlobSource` over another, which knows how some of its blobs begin. Thread-safe.

    Each part of a beginning is given once: who asks for it again, after a failure, gets it from the source.
    What is in it is believed no more than what comes from there.
    """

    def __init__(self, source: BlobSource) -> None:
        self._source = source
        self._heads: dict[Digest, _Head] = {}
        self._lock = threading.Lock()
        self._held_bytes = 0

    @property
    def shown(self) -> str:
        return self._source.shown

    def keep(self, blob: Blob, data: bytes, validator: str | None) -> None:
        """Remember the first bytes of a blob, and the state that its content had then."""
        with self._lock:
            if data and blob.digest not in self._heads and self._held_bytes + len(data) <= MAX_HEADS_BYTES:
                self._heads[blob.digest] = _Head(data, validator)
                self._held_bytes += len(data)

    def known(self, digest: Digest) -> bytes | None:
        """How a blob begins, as far as it is remembered; it counts as given to nobody."""
        with self._lock:
            head = self._heads.get(digest)
            return None if head is None else head.data

    def open(self, blob: Blob, start: int, stop: int, validator: str | None = None) -> Body:
        """As `BlobSource.open`."""
        head = self._take(blob.digest, start, validator)
        if head is None:
            return self._source.open(blob, start, stop, validator)
        known = head.data[start:stop]
        at = start + len(known)
        if at == stop:
            return _HeadBody(start, known, head.validator, None)
        try:
            rest = self._source.open(blob, at, stop, head.validator)
        except Changed:
            self._forget(blob.digest)
            raise
        if rest.start != at:  # ranges are ignored there: it all comes from the beginning
            self._forget(blob.digest)
            return rest
        return _HeadBody(start, known, head.validator, rest)

    def _take(self, digest: Digest, start: int, validator: str | None) -> _Head | None:
        with self._lock:
            head = self._heads.get(digest)
            if head is None or start >= len(head.data):
                return None
            if start not in head.starts and validator in {None, head.validator}:
                head.starts.add(start)
                return head
        self._forget(digest)
        return None

    def _forget(self, digest: Digest) -> None:
        with self._lock:
            head = self._heads.pop(digest, None)
            self._held_bytes -= len(head.data) if head else 0


class _HeadBody:
    """What is known, and then what the source gives."""

    def __init__(self, start: int, known: bytes, validator: str | None, rest: Body | None) -> None:
        self.start = start
        self.validator = validator if rest is None else rest.validator or validator
        self._known = known
        self._rest = rest

    def __iter__(self) -> Iterator[bytes]:
        yield self._known
        if self._rest is not None:
            yield from self._rest

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._rest is not None:
            self._rest.__exit__(kind, error, trace)
