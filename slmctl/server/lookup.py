"""Which model a name means now: looked up anew for each request, and read only after a change."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from registry.digest import Digest
from registry.names import parse_name
from registry.store.index import Entry, NameTable
from registry.store.reader import StoreReader
from slmctl.app.events import ignore
from slmctl.app.listing import names_with
from slmctl.app.package import Package
from slmctl.app.ships import is_shipped
from slmctl.config import Settings

T = TypeVar("T")

_MOST_PACKAGES = 512

Stamp = tuple[tuple[int, int, int] | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a name means: the model's full name, its package, and where its files are."""

    name: str
    package: Package
    reader: StoreReader


class Lookup:
    """Finds models in the store, the further stores, and among those that come with slmctl. Nothing that a
    client writes here reaches a path or the network."""

    def __init__(self, reader: StoreReader, settings: Settings) -> None:
        self._reader = reader
        self._indexes = [StoreReader(root).layout.index for root in (settings.store, *settings.stores)]
        self._threads = ThreadPoolExecutor(2, "slmctl-lookup")
        self._stamp: Stamp | None = None
        self.generation = 0
        """Counts the tables that were read."""
        self._table = NameTable.empty()
        self._packages: OrderedDict[tuple[str, Digest], tuple[Entry, Found]] = OrderedDict()

    async def find(self, text: str) -> Found:
        """The model that `text` names. Raises UsageError for what is no name, NotFound, BadContent."""
        ref = parse_name(text)
        stamp = self._look()
        if stamp != self._stamp:
            await self._in_thread(self._read)
        entry = self._table.find(ref.full_name)
        if entry is None and is_shipped(ref):
            await self._in_thread(lambda: names_with(self._reader, ref, ignore))
            await self._in_thread(self._read)
        entry = self._reader.resolve(ref, self._table)
        known = self._packages.get((entry.name, entry.descriptor.digest))
        if known is not None and known[0] == entry:
            self._packages.move_to_end((entry.name, entry.descriptor.digest))
            return known[1]
        found = await self._in_thread(lambda: self._open(entry))
        self._packages[entry.name, entry.descriptor.digest] = entry, found
        if len(self._packages) > _MOST_PACKAGES:
            self._packages.popitem(last=False)
        return found

    def digest_of(self, name: str) -> Digest | None:
        """Where a full name pointed when the table was read last."""
        entry = self._table.find(name)
        return None if entry is None else entry.descriptor.digest

    def forget(self, found: Found) -> None:
        """Read the package anew next time: its files are not what they were."""
        self._packages.pop((found.package.name, found.package.digest), None)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _open(self, entry: Entry) -> Found:
        package = Package.of(self._reader, entry)
        return Found(name=entry.name, package=package, reader=self._reader.reader_of(entry))

    def _look(self) -> Stamp:
        return tuple(_stamp_of(path) for path in self._indexes)

    def _read(self) -> None:
        stamp = self._look()  # before: what changes while we read is read again
        self._table = self._reader.names()
        self._stamp = stamp
        self.generation += 1

    async def _in_thread(self, act: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, act)


def _stamp_of(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
