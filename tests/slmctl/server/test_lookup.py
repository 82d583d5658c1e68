"""Which model a name means: read only when something has changed, and never from a path or the network."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from registry.errors import NotFound
from registry.names import ModelRef
from registry.store.index import Entry, NameTable
from registry.store.joined import JoinedReader
from registry.store.store import Store
from slmctl.config import Settings
from slmctl.server.lookup import Lookup
from tests.slmctl.cli.program import Program
from tests.slmctl.server.scheduling import World


class Counting(JoinedReader):
    """A reader of the own store and further ones that counts how often the tables of names are read."""

    reads = 0

    def names(self) -> NameTable:
        self.reads += 1
        return super().names()

    def resolve(self, ref: ModelRef, names: NameTable | None = None) -> Entry:
        assert names is not None  # else it would read the table for each request
        return super().resolve(ref, names)


def lookup_of(settings: Settings) -> tuple[Lookup, Counting]:
    reader = Counting(Store(settings.store), [Store(path) for path in settings.stores])
    return Lookup(reader, settings), reader


def test_the_table_is_read_once_until_it_changes(world: World, tiny_model: Path) -> None:
    world.create("one", tiny_model)
    lookup, reader = lookup_of(world.settings)

    async def act() -> None:
        first = await lookup.find("one")
        assert all([await lookup.find(name) is first for name in ("one", "one:latest", "ONE")])
        assert reader.reads == 1
        world.create("two", tiny_model)
        assert (await lookup.find("two")).name == "two:latest"
        assert await lookup.find("one") is first  # not opened again
        assert reader.reads == 2
        assert world.program("rm", "one").code == 0
        with pytest.raises(NotFound, match="no model one"):
            await lookup.find("one")
        assert reader.reads == 3

    try:
        asyncio.run(act())
    finally:
        lookup.close()


def test_what_comes_with_slmctl_is_there_without_asking(world: World) -> None:
    lookup, _ = lookup_of(world.settings)
    try:
        assert asyncio.run(lookup.find("hello")).name == "hello:latest"
    finally:
        lookup.close()


def test_a_further_store_is_looked_up_too_and_its_changes_seen(
    world: World, tmp_path: Path, tiny_model: Path
) -> None:
    theirs = Program(tmp_path / "theirs", tmp_path)
    assert theirs("create", "shared", "--from", str(tiny_model)).code == 0
    world.program.environment["SLMCTL_STORES"] = str(theirs.store)
    settings = Settings.load(world.program.environment)
    assert settings.stores == (theirs.store,)
    lookup, _ = lookup_of(settings)

    async def act() -> None:
        found = await lookup.find("shared")
        assert found.reader.root == theirs.store
        assert theirs("cp", "shared", "newer").code == 0
        assert (await lookup.find("newer")).package.digest == found.package.digest

    try:
        asyncio.run(act())
    finally:
        lookup.close()
