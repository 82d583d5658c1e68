"""Blobs that clients send before they say what model they are part of.

Each is kept by a lease of the server's until a model names it, or it is clear that nobody will.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

from registry.digest import Digest
from registry.errors import SlmctlError
from registry.manifest import Descriptor
from registry.store.room import free_bytes
from registry.store.store import Session, Store

KEPT_SECONDS = 3600.0
"""So long after it came, or was asked for, a blob that no model names is given up."""


@dataclass(slots=True)
class _Kept:
    held: ExitStack
    until: float


class Uploads:
    """The leases on what was uploaded. Thread-safe; every method may block on the disk.

    What is given up goes when the next upload comes or ends: there is no clock of its own.
    """

    def __init__(
        self, kept_seconds: float = KEPT_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._kept_seconds = kept_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: dict[Digest, _Kept] = {}

    def receive(self, store: Store, digest: Digest, size: int | None, chunks: Iterable[bytes]) -> None:
        """Take a blob in, and keep it. `size` is None where the client did not say it.

        Raises DigestMismatch, SizeMismatch, NoSpace, StoreUnusable, and what `chunks` raises.
        """
        self.give_up_old(store)
        with _held(store, digest) as (session, held):
            if size is None:
                room = free_bytes(store.layout.ingest)
                session.upload(digest, chunks, most_bytes=room)
            else:
                descriptor = Descriptor(media_type="", digest=digest, size=size)
                session.receive(descriptor, chunks)
        self._keep(digest, held)

    def keep(self, store: Store, digest: Digest) -> None:
        """Keep a blob that is in the store. Raises NotFound when it is not, StoreUnusable."""
        with self._lock:
            if (kept := self._kept.get(digest)) is not None:
                kept.until = self._clock() + self._kept_seconds
                return
        with _held(store, digest) as (session, held):
            session.keep([digest])
        self._keep(digest, held)

    def named(self, store: Store, digests: Iterable[Digest]) -> None:
        """A model names these blobs now: they need no lease any more."""
        self._release(store, [digest for digest in digests if digest in self._kept])

    def give_up_old(self, store: Store) -> None:
        """Let go of what nobody has made a model of."""
        now = self._clock()
        with self._lock:
            old = [digest for digest, kept in self._kept.items() if kept.until <= now]
        self._release(store, old)

    def close(self) -> None:
        """The server ends: the leases end with it, and 'slmctl gc' collects what no model names."""
        with self._lock:
            kept, self._kept = self._kept, {}
        for each in kept.values():
            with suppress(SlmctlError, OSError):
                each.held.close()

    def _keep(self, digest: Digest, held: ExitStack) -> None:
        with self._lock:
            other = self._kept.get(digest)
            self._kept[digest] = _Kept(held, self._clock() + self._kept_seconds)
        if other is not None:  # it came twice at the same time
            other.held.close()

    def _release(self, store: Store, digests: Iterable[Digest]) -> None:
        with self._lock:
            gone = {digest: kept for digest in digests if (kept := self._kept.pop(digest, None)) is not None}
        for kept in gone.values():
            with suppress(SlmctlError, OSError):
                kept.held.close()
        if gone:
            with suppress(SlmctlError, OSError):
                store.free(gone)  # what a model names stays


@contextmanager
def _held(store: Store, digest: Digest) -> Iterator[tuple[Session, ExitStack]]:
    """A session that is left open where the block succeeds, and undone where it does not."""
    with ExitStack() as stack:
        session = stack.enter_context(store.session(f"upload {digest.short}"))
        held = ExitStack()
        yield session, held
        held.push(stack.pop_all())
