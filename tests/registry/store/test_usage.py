"""What `df` counts adds up to what the folder has."""

import os
from pathlib import Path

import pytest

from registry.digest import Digest
from registry.store.keeper import Keeper
from registry.store.store import Replace
from registry.store.usage import usage_of
from tests.registry.store.models import add, add_several


@pytest.fixture
def store(tmp_path: Path) -> Keeper:
    return Keeper(tmp_path / "store")


def folder_size(store: Keeper) -> int:
    return sum(path.lstat().st_size for path in store.root.rglob("*") if path.is_file())


def test_an_empty_store(store: Keeper) -> None:
    usage = usage_of(store)
    assert (usage.names, usage.total, usage.unneeded) == ((), 0, 0)


def test_alone_is_what_removing_frees(store: Keeper) -> None:
    add_several(store, "a:latest", [b"x" * 1000, b"y" * 2000])
    add_several(store, "b:latest", [b"x" * 1000, b"z" * 4000])
    add(store, "c:latest", b"c" * 500)
    store.link(
        "d:latest",
        store.names().entries["c:latest"].descriptor,
        source="create",
        linked="",
        replace_rule=Replace.NOTHING,
    )
    for name in ("a:latest", "b:latest", "c:latest", "d:latest"):
        usage = usage_of(store)
        assert usage.total == folder_size(store)
        (row,) = [each for each in usage.names if each.name == name]
        assert store.unlink([name]).freed_bytes == row.alone
        if name == "a:latest":
            assert row.alone > 2000
            assert row.shared > 1000
    assert usage_of(store).models == 0


def test_every_kind_of_file_is_counted_once(store: Keeper, tmp_path: Path) -> None:
    add(store, "a:latest", b"one" * 100)
    with store.session("test") as session:
        session.put(b"nobody's" * 50)
    (store.layout.ingest / "0123456789abcdef.1").write_bytes(b"t" * 70)
    store.layout.quarantine.mkdir(exist_ok=True)
    (store.layout.quarantine / f"{Digest.of(b'q').hex}.1").write_bytes(b"q" * 90)
    (store.root / "README").write_bytes(b"r" * 11)
    theirs = tmp_path / "theirs"
    theirs.write_bytes(b"linked" * 1000)
    os.link(theirs, store.layout.blob(Digest.of(theirs.read_bytes())))
    with store.session("test") as session:
        session.put(b"held" * 20)
        usage = usage_of(store)
        assert (usage.unneeded, usage.leased, usage.temporary, usage.quarantine) == (400, 80, 70, 90)
        assert usage.other >= 11
        assert usage.total == folder_size(store) - 6000
        assert usage.elsewhere == 6000


def test_what_cannot_be_read_is_not_called_unneeded(store: Keeper) -> None:
    add(store, "a:latest", b"one")
    entry = add(store, "b:latest", b"two")
    store.layout.blob(entry.descriptor.digest).unlink()
    usage = usage_of(store)
    assert usage.unneeded is None
    assert [(each.name, each.is_known) for each in usage.names] == [("a:latest", True), ("b:latest", False)]
    assert usage.total == folder_size(store)
