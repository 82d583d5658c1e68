"""What a running worker holds: a lease on the files that it has open.

The files would outlive their names anyway while they are open; the lease keeps what the worker may still ask
for, and tells `gc` and `df` that it is in use. It costs no flush: after a power cut there is no worker. And
it never makes anybody wait: where the store cannot be written, is another's, or is locked at this moment by
whoever changes names, the worker goes without.
"""

from __future__ import annotations

from contextlib import suppress

from registry.digest import Digest
from registry.errors import SlmctlError
from registry.store.leases import RUNS, Lease
from registry.store.reader import StoreReader
from registry.store.store import Store
from slmctl.app.package import Package, Variant
from slmctl.config import Settings


class Hold:
    """A held lease, or none. `release` it when the worker is gone, or `hand_over` to who outlives us."""

    def __init__(self, store: Store, name: str, digest: Digest, lease: Lease | None) -> None:
        self._store = store
        self._name = name
        self._digest = digest
        self._lease = lease

    @property
    def fds(self) -> tuple[int, ...]:
        """What whoever inherits it holds the lease by."""
        return (self._lease.fileno(),) if self._lease is not None else ()

    @property
    def path(self) -> str | None:
        """The file that the last holder removes."""
        return str(self._lease.path) if self._lease is not None else None

    def release(self) -> None:
        """End the lease; what only it had kept goes."""
        lease, self._lease = self._lease, None
        if lease is None:
            return
        lease.end()
        with suppress(SlmctlError, OSError):
            entry = self._store.names().find(self._name)
            if entry is None or entry.descriptor.digest != self._digest:  # removed or replaced meanwhile
                self._store.free(lease.digests)

    def hand_over(self) -> None:
        """The lease stays as long as the process that has inherited it."""
        lease, self._lease = self._lease, None
        if lease is not None:
            lease.leave()


def hold(reader: StoreReader, settings: Settings, package: Package, variant: Variant) -> Hold:
    """A lease on what a worker of `variant` needs, as well as that goes."""
    store = Store(settings.store)
    lease = None
    if reader.origin is None and reader.root == settings.store:
        digests = {package.digest, variant.digest, *(file.digest for file in variant.files)}
        lease = store.try_lease(f"{RUNS}{package.name}", digests)
    return Hold(store, package.name, package.digest, lease)
