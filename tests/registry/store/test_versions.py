"""T8: a store made by an older slmctl is read as it lies and brought up to date by the first write."""

import json
import os
import shutil
import stat
from pathlib import Path

import pytest

from registry.digest import Digest
from registry.errors import StoreUnusable
from registry.names import parse
from registry.store.layout import STORE_VERSION, Layout
from registry.store.reader import StoreReader
from registry.store.store import Store
from tests.registry.store.test_store import add
from tests.untouched import untouched

NEW_FOLDERS = ("linked", "borrowed", "quarantine")


@pytest.fixture
def version_1(tmp_path: Path) -> Store:
    """A store as slmctl of version 1 wrote it: the same, without the folders that version 2 brought."""
    store = Store(tmp_path / "store")
    add(store, "old:latest", b"old weights")
    for name in NEW_FOLDERS:
        (store.root / name).rmdir()
    store.layout.version.write_bytes(b'{"schema": "slmctl.store/1", "version": 1}')
    assert sorted(path.name for path in store.root.iterdir()) == [
        "blobs", "cache", "index.json", "index.json.1", "ingest", "leases", "locks", "oci-layout", "slmctl.json",
    ]  # fmt: skip
    return store


def version_of(store: Store) -> object:
    return json.loads(store.layout.version.read_bytes())["version"]


def test_reading_an_older_store_changes_nothing_in_it(version_1: Store) -> None:
    before = {path: untouched(path) for path in version_1.root.rglob("*")}
    reader = StoreReader(version_1.root)
    entry = reader.resolve(parse("old"))
    manifest = reader.manifest_of(entry.descriptor.digest)
    for blob in manifest.blobs:
        assert reader.has(blob.digest)
        reader.open_blob(blob).close()
    assert not reader.has(Digest.of(b"nothing"))
    after = {path: untouched(path) for path in version_1.root.rglob("*")}
    assert after == before


def test_the_first_write_brings_it_up_to_date(version_1: Store) -> None:
    add(version_1, "new:latest", b"new weights")
    assert version_of(version_1) == STORE_VERSION
    assert all((version_1.root / name).is_dir() for name in NEW_FOLDERS)
    assert set(version_1.names().entries) == {"old:latest", "new:latest"}
    assert version_1.unlink(["old:latest"]).freed_bytes > 0


@pytest.mark.parametrize("made", [(), NEW_FOLDERS[:1], NEW_FOLDERS])
def test_an_upgrade_that_was_cut_short_is_finished(version_1: Store, made: tuple[str, ...]) -> None:
    """The version is written last: until then the folders that are there mean nothing to an older slmctl."""
    for name in made:
        (version_1.root / name).mkdir()
    (version_1.layout.ingest / "slmctl.json.new").write_bytes(b"{")
    assert set(version_1.names().entries) == {"old:latest"}
    version_1.prepare()
    assert version_of(version_1) == STORE_VERSION
    assert Layout(version_1.root).is_prepared


def test_the_older_slmctl_refuses_the_newer_store(version_1: Store) -> None:
    """What version 1 asks is only whether the number is above its own."""
    version_1.prepare()
    document = json.loads(version_1.layout.version.read_bytes())
    assert document["schema"] == "slmctl.store/1"
    assert document["version"] > 1


def test_a_newer_store_is_refused_before_anything_is_written(version_1: Store) -> None:
    version_1.layout.version.write_text(json.dumps({"schema": "slmctl.store/9", "version": 9}))
    before = sorted(version_1.root.rglob("*"))
    for use in (version_1.names, version_1.prepare, lambda: version_1.unlink(["old:latest"])):
        with pytest.raises(StoreUnusable, match="newer"):
            use()
    assert sorted(version_1.root.rglob("*")) == before


def test_an_older_store_that_may_not_be_written_is_read(version_1: Store, tmp_path: Path) -> None:
    copy = tmp_path / "read-only"
    shutil.copytree(version_1.root, copy)
    for path in [copy, *copy.rglob("*")]:
        path.chmod(stat.S_IMODE(path.stat().st_mode) & 0o555)
    assert set(StoreReader(copy).names().entries) == {"old:latest"}
    if os.geteuid():
        with pytest.raises(StoreUnusable, match="cannot be written"):
            Store(copy).prepare()
