"""Looking after a store: what `verify` and `gc` do to it.

Apart from `store` because a run, whose start is waited for, needs none of it.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from registry.errors import SlmctlError, StoreUnusable
from registry.store import collect, gc, quarantine
from registry.store.collect import Collection
from registry.store.durable import store_errors
from registry.store.hashing import Checked
from registry.store.index import NameTable
from registry.store.inventory import Temporary, temporaries
from registry.store.leases import FoundLease, find_leases
from registry.store.salvage import RECOVERED, nameless, referrers, salvaged
from registry.store.store import Store


class Keeper(Store):
    """A store, to be looked after by whoever may write to it."""

    def leftovers(self) -> tuple[list[FoundLease], list[Temporary]]:
        """All leases of this moment, held or not, and what killed commands left. Raises StoreUnusable."""
        with store_errors(self.root), self._locks.exclusive():
            leases = list(find_leases(self.layout.leases))
            return leases, temporaries(self.layout, leases)

    def collect(self, *, everything: bool = False, dry_run: bool = False) -> Collection:
        """Delete what neither names nor leases need; `everything` includes what killed commands had put in.

        Raises BadContent when it is not known what is needed (then nothing is deleted), StoreUnusable.
        """
        if not self.root.exists():
            return Collection(garbage=(), crashed_bytes=0, damaged_bytes=0)
        known: gc.Documents = {}
        with suppress(SlmctlError, OSError):  # said under the lock, if it is still so then
            collect.reached(self.layout, self.names(), known)
        if dry_run and not self._is_writable:
            with store_errors(self.root, doing="read"):
                return collect.plan(self.layout, self.names(), known, everything=everything)
        if not dry_run:
            self.prepare()
        with store_errors(self.root), self._locks.exclusive():
            plan = collect.plan(self.layout, self.names(), known, everything=everything)
            if not dry_run:
                names = self.names()
                kept, _ = gc.without_orphans(self.layout, names, known)
                if kept != names:
                    self._write_names(kept)
                collect.take(self.layout, plan)
        return plan

    @property
    def _is_writable(self) -> bool:
        return os.access(self.layout.locks, os.W_OK)

    def mend_names(self) -> str | None:
        """Write a whole table of names where it is damaged; says what it was made from, None if it was whole.

        An entry that only the older one has, and whose manifest is gone, had been removed. Raises
        StoreUnusable.
        """
        with store_errors(self.root), self._locks.exclusive():
            try:
                names = self.names()
            except StoreUnusable:
                return self._name_anew()
            if names.generation != "previous":
                return None
            salvage = salvaged(self.layout.index)
            put_aside = quarantine.in_quarantine(self.layout)
            removed = {
                name
                for name, entry in names.entries.items()
                if not self.has(entry.descriptor.digest) and entry.descriptor.digest not in put_aside
            }
            removed -= {entry.name for entry in salvage}
            self._write_names(names.without(removed).with_entries(salvage))
        return "the table before it and what can be read of the damaged one"

    def _name_anew(self) -> str | None:
        """As `mend_names` where no table can be read: from their whole rows, and from the manifests."""
        self.layout.check_version()
        torn = [self.layout.previous_index, self.layout.index]  # what the newer one says comes last
        names = replace(NameTable.empty(), generation="previous")
        names = names.with_entries([entry for path in torn for entry in salvaged(path)])
        found = list(nameless(self.layout, names))
        names = names.with_entries(found).with_referrers(referrers(self.layout))
        self._write_names(names)
        called = f"; models without a name are called {RECOVERED}... now" if found else ""
        return f"what can be read of it{called}"

    def put_aside(self, damaged: Checked) -> Path | None:
        """Move a blob that was found damaged into the quarantine; where it is now.

        None when another file is in its place by now, or none. Raises StoreUnusable.
        """
        with store_errors(self.root):
            return quarantine.put_aside(self.layout, self._locks, damaged)
