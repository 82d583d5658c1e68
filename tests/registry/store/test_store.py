"""The store's promises, each looked at in the files behind the interface."""

import errno
import fcntl
import json
import os
import stat
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from registry import mediatypes
from registry.digest import Digest
from registry.errors import (
    BadContent,
    DigestMismatch,
    NameTaken,
    NotFound,
    OperationFailed,
    SizeMismatch,
    SlmctlError,
    StoreUnusable,
    UsageError,
)
from registry.manifest import Descriptor, modelpack_config, modelpack_layer, modelpack_manifest
from registry.names import parse
from registry.store import gc
from registry.store.durable import replace_file
from registry.store.index import Entry, NameTable
from registry.store.ingest import Check, SourceFile
from registry.store.store import Replace, Session, Store

NOW = "2026-11-22T00:00:00Z"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def write_model(session: Session, content: bytes) -> Descriptor:
    """A small model whose only layer is `content`."""
    return write_manifest(session, session.put(content), len(content))


def write_manifest(session: Session, weights: Digest, size: int) -> Descriptor:
    config = modelpack_config(
        architecture=None, format="gguf", quantization=None, parameters=None, licenses=[], diff_ids=[weights]
    )
    manifest = modelpack_manifest(
        config=Descriptor(
            media_type=mediatypes.MODELPACK_CONFIG, digest=session.put(config), size=len(config)
        ),
        layers=[
            modelpack_layer(
                media_type=mediatypes.MODELPACK_WEIGHT, digest=weights, size=size, path="model.gguf"
            )
        ],
        annotations={},
    )
    digest = session.put(manifest.raw)
    return Descriptor(media_type=mediatypes.OCI_MANIFEST, digest=digest, size=len(manifest.raw))


def add(store: Store, name: str, content: bytes, source: str = "create") -> Entry:
    with store.session("test") as session:
        descriptor = write_model(session, content)
        return store.link(name, descriptor, source=source, linked=NOW, replace_rule=Replace.SAME_SOURCE)


def no_check(_: int) -> None:
    pass


def blobs(store: Store) -> set[str]:
    return {path.name for path in store.layout.blobs.iterdir()}


def leftovers(store: Store) -> list[Path]:
    return [*store.layout.ingest.iterdir(), *store.layout.leases.iterdir()]


# What a new store is


def test_a_store_that_is_not_there_yet_is_empty_and_reading_makes_nothing(store: Store) -> None:
    assert store.names().entries == {}
    with pytest.raises(NotFound):
        store.resolve(parse("hello"))
    assert store.unlink(["hello:latest"]).entries == ()
    assert not store.root.exists()


def test_a_new_store_is_an_oci_image_layout(store: Store) -> None:
    store.prepare()
    assert json.loads((store.root / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    assert json.loads((store.root / "slmctl.json").read_bytes()) == {"schema": "slmctl.store/1", "version": 2}
    index = json.loads((store.root / "index.json").read_bytes())
    assert index == {"schemaVersion": 2, "mediaType": mediatypes.OCI_INDEX, "manifests": []}


@pytest.mark.parametrize("name", ["slmctl.json", "index.json"])
@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_what_is_no_file_is_said_at_once(store: Store, name: str, make: object) -> None:
    add(store, "a:latest", b"one")
    store.layout.previous_index.unlink()
    (store.root / name).unlink()
    make(store.root / name)  # type: ignore[operator]
    with pytest.raises(StoreUnusable, match="is damaged"):
        store.names()


def test_a_newer_store_is_refused_with_a_sentence(store: Store) -> None:
    store.prepare()
    store.layout.version.write_text('{"schema":"slmctl.store/2","version":3}')
    for use in (store.names, store.prepare):
        with pytest.raises(StoreUnusable, match="newer"):
            use()


# Taking bytes in


def test_a_file_is_taken_in_and_stays_as_it_is(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(b"weights" * 1000)
    path.chmod(0o640)
    os.utime(path, ns=(1, 123_456_789))
    before = path.stat()
    with SourceFile(path) as source, store.session("test") as session:
        digest = session.take(source, check=no_check)
        blob = store.layout.blob(digest)
        after = path.stat()
        assert (after.st_ino, after.st_mode, after.st_uid, after.st_mtime_ns, after.st_nlink) == (
            before.st_ino, before.st_mode, before.st_uid, before.st_mtime_ns, 1,
        )  # fmt: skip
        assert blob.stat().st_ino != before.st_ino
        assert stat.S_IMODE(blob.stat().st_mode) == 0o444
        with path.open("r+b") as stream:  # a later write in place
            stream.write(b"poison")
        assert Digest.of(blob.read_bytes()) == digest


def test_a_check_that_fails_leaves_nothing(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(b"bad")

    def refuse(fd: int) -> None:
        assert os.pread(fd, 10, 0) == b"bad"
        raise BadContent("Bad.")

    def take() -> None:
        with SourceFile(path) as source, store.session("test") as session:
            session.take(source, check=refuse)

    with pytest.raises(BadContent):
        take()
    assert blobs(store) == set()
    assert leftovers(store) == []
    assert path.read_bytes() == b"bad"


def test_the_same_bytes_are_stored_once_without_a_copy(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(b"weights")
    with SourceFile(path) as source, store.session("test") as session:
        first = session.take(source, check=no_check)
        inode = store.layout.blob(first).stat().st_ino
        assert session.take(source, check=no_check) == first
        assert store.layout.blob(first).stat().st_ino == inode


def test_a_file_that_is_written_to_meanwhile_is_refused(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(b"weights")

    def take() -> None:
        with SourceFile(path) as source, store.session("test") as session:
            path.write_bytes(b"WEIGHTS")
            os.utime(path, ns=(1, 1))
            session.take(source, check=no_check)

    with pytest.raises(OperationFailed, match="changed while it was read"):
        take()
    assert blobs(store) == set()


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["folder", "fifo"])
def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path, make: object) -> None:
    path = tmp_path / "model.bin"
    make(path)  # type: ignore[operator]
    with pytest.raises(UsageError, match="regular file"):
        SourceFile(path)


def test_a_device_is_refused_at_once() -> None:
    with pytest.raises(UsageError, match="regular file"):
        SourceFile(Path("/dev/zero"))


# Moving a file in


def move_in(store: Store, path: Path, name: str = "moved:latest", check: Check = no_check) -> Digest:
    """Move a file in and name a manifest over it; the weights' digest."""
    with SourceFile(path) as source, store.session("test") as session:
        digest = session.move(source, check=check)
        descriptor = write_manifest(session, digest, source.size)
        store.link(name, descriptor, source="create", linked=NOW, replace_rule=Replace.SAME_SOURCE)
        assert session.finish_moves() == []
    return digest


def test_move_renames_the_file_into_the_store(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(b"weights")
    inode = path.stat().st_ino
    blob = store.layout.blob(move_in(store, path))
    assert not path.exists()
    assert blob.stat().st_ino == inode
    assert stat.S_IMODE(blob.stat().st_mode) == 0o444


def test_move_copies_a_file_whose_inode_others_hold(store: Store, tmp_path: Path) -> None:
    path, other = tmp_path / "model.bin", tmp_path / "other.bin"
    path.write_bytes(b"weights")
    other.hardlink_to(path)
    digest = move_in(store, path)
    assert not path.exists()
    other.write_bytes(b"poison!")
    assert Digest.of(store.layout.blob(digest).read_bytes()) == digest


def test_move_of_known_bytes_removes_the_file(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(b"weights")
    add(store, "known:latest", b"weights")
    assert move_in(store, path) == Digest.of(b"weights")
    assert not path.exists()


@pytest.mark.parametrize("kind", ["alone", "hard link", "known"])
@pytest.mark.parametrize(
    "moment", ["bad content", "before the link", "name taken", "disk full", "interrupted"]
)
def test_a_move_that_fails_leaves_the_file_as_it_was(
    store: Store, tmp_path: Path, kind: str, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(b"weights")
    path.chmod(0o640)
    if kind == "hard link":
        (tmp_path / "other.bin").hardlink_to(path)
    if kind == "known":
        add(store, "known:latest", b"weights")
    add(store, "moved:latest", b"another", "ollama://library/moved" if moment == "name taken" else "create")
    before = blobs(store)

    def refuse(_: int) -> None:
        raise BadContent("Bad.")

    def write(*_: object) -> None:
        raise KeyboardInterrupt if moment == "interrupted" else OSError(errno.ENOSPC, "full")

    def attempt() -> None:
        if moment == "before the link":
            with SourceFile(path) as source, store.session("test") as session:
                session.move(source, check=no_check)
                raise KeyboardInterrupt
        move_in(store, path, check=refuse if moment == "bad content" else no_check)

    if moment in {"disk full", "interrupted"}:  # while the table of names is written, after the rename
        monkeypatch.setattr(Store, "_write_names", write)
    with pytest.raises((SlmctlError, KeyboardInterrupt)):
        attempt()
    monkeypatch.undo()
    assert path.read_bytes() == b"weights"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert blobs(store) == before
    assert leftovers(store) == []


def test_a_move_of_what_lies_in_the_store_is_refused(store: Store) -> None:
    entry = add(store, "a:latest", b"weights")
    blob = store.layout.blob(Digest.of(b"weights"))
    with pytest.raises(UsageError, match="in the store already"):
        move_in(store, blob)
    with pytest.raises(UsageError, match="in the store already"):
        move_in(store, store.root / "blobs" / ".." / "blobs" / "sha256" / blob.name)
    assert blob.read_bytes() == b"weights"
    assert store.resolve(parse("a")) == entry


@pytest.mark.parametrize("damage", [b"weight", b"WEIGHTS"], ids=["short", "rotten"])
@pytest.mark.parametrize("way", ["take", "move", "put"])
def test_good_bytes_replace_a_damaged_blob(store: Store, tmp_path: Path, damage: bytes, way: str) -> None:
    add(store, "a:latest", b"weights")
    blob = store.layout.blob(Digest.of(b"weights"))
    blob.chmod(0o644)
    blob.write_bytes(damage)
    path = tmp_path / "model.bin"
    path.write_bytes(b"weights")
    if way == "move":
        move_in(store, path)
        assert not path.exists()
    else:
        with SourceFile(path) as source, store.session("test") as session:
            session.take(source, check=no_check) if way == "take" else session.put(b"weights")
    assert blob.read_bytes() == b"weights"
    assert stat.S_IMODE(blob.stat().st_mode) == 0o444


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for a lease")
def test_a_move_copies_a_file_that_somebody_may_still_write_to(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(b"weights")
    with path.open("r+b", buffering=0) as writer:
        digest = move_in(store, path)
        writer.write(b"poison!")
    assert not path.exists()
    assert store.layout.blob(digest).read_bytes() == b"weights"


def test_a_move_that_was_cut_short_is_finished_by_the_next(store: Store, tmp_path: Path) -> None:
    """Killed when the blob was in place and nothing named it: the file is still there, with two names."""
    path = tmp_path / "model.bin"
    path.write_bytes(b"weights")
    store.prepare()
    blob = store.layout.blob(Digest.of(b"weights"))
    blob.hardlink_to(path)
    path.chmod(0o444)
    move_in(store, path)
    assert not path.exists()
    assert blob.read_bytes() == b"weights"


def test_a_copy_does_not_share_what_a_cut_move_left(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(b"weights")
    store.prepare()
    blob = store.layout.blob(Digest.of(b"weights"))
    blob.hardlink_to(path)
    with SourceFile(path) as source, store.session("test") as session:
        session.take(source, check=no_check)
        path.write_bytes(b"poison!")
        assert blob.read_bytes() == b"weights"


def test_a_file_that_cannot_be_removed_is_told_of(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(b"weights")

    path.chmod(0o640)
    real = Path.unlink

    def refuse(self: Path, missing_ok: bool = False) -> None:
        if self == path:
            raise PermissionError(errno.EPERM, "immutable")
        real(self, missing_ok)

    with SourceFile(path) as source, store.session("test") as session:
        digest = session.move(source, check=no_check)
        assert store.layout.blob(digest).samefile(path)
        descriptor = write_manifest(session, digest, source.size)
        store.link("m:latest", descriptor, source="create", linked=NOW, replace_rule=Replace.NOTHING)
        monkeypatch.setattr(Path, "unlink", refuse)
        assert session.finish_moves() == [path]
        monkeypatch.undo()
    assert store.resolve(parse("m")).descriptor == descriptor
    path.write_bytes(b"the user's again")  # which is not to reach the blob
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert store.layout.blob(digest).read_bytes() == b"weights"


def test_a_failure_after_the_table_was_replaced_loses_neither_file_nor_blob(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last flush fails: the name may stand, so what it names must too."""
    path = tmp_path / "model.bin"
    path.write_bytes(b"weights")
    store.prepare()
    real = Store._write_names

    def write_and_fail(self: Store, names: NameTable) -> None:
        real(self, names)
        raise OSError(errno.EIO, "flush")

    monkeypatch.setattr(Store, "_write_names", write_and_fail)
    with pytest.raises(StoreUnusable):
        move_in(store, path)
    monkeypatch.undo()
    assert path.read_bytes() == b"weights"
    named = store.resolve(parse("moved")).descriptor
    assert {blob.digest.hex for blob in store.manifest(named).blobs} <= blobs(store)


# Names


def test_a_name_resolves_to_what_was_linked(store: Store) -> None:
    entry = add(store, "hello:latest", b"one")
    assert store.resolve(parse("hello")) == entry
    assert store.resolve(parse("HELLO")).name == "hello:latest"
    assert store.resolve(parse(f"hello@{entry.descriptor.digest}")) == entry
    with pytest.raises(NotFound, match="not at"):
        store.resolve(parse(f"hello@{Digest.of(b'other')}"))
    with pytest.raises(NotFound) as caught:
        store.resolve(parse("helo"))
    assert caught.value.hint is not None
    assert "Did you mean hello?" in caught.value.hint


def test_a_name_of_another_source_is_not_replaced(store: Store) -> None:
    pulled = add(store, "hello:latest", b"one", source="ollama://library/hello")
    with pytest.raises(NameTaken, match="ollama://library/hello"):
        add(store, "Hello:latest", b"two")
    assert store.resolve(parse("hello")) == pulled
    assert (
        add(store, "hello:latest", b"three", source="ollama://library/hello").descriptor != pulled.descriptor
    )


def test_replacing_a_name_frees_what_nothing_else_needs(store: Store) -> None:
    add(store, "a:latest", b"one")
    add(store, "b:latest", b"two")
    add(store, "a:latest", b"two")
    assert store.resolve(parse("a")).descriptor.digest == store.resolve(parse("b")).descriptor.digest
    assert Digest.of(b"one").hex not in blobs(store)
    assert Digest.of(b"two").hex in blobs(store)


def test_removing_a_name_keeps_what_others_share(store: Store) -> None:
    add(store, "a:latest", b"one")
    add(store, "b:latest", b"one")
    removed = store.unlink(["a:latest", "nosuch:latest"])
    assert [entry.name for entry in removed.entries] == ["a:latest"]
    assert removed.freed_bytes == 0
    size = sum(path.stat().st_size for path in store.layout.blobs.iterdir())
    assert store.unlink(["b:latest"]).freed_bytes == size
    assert blobs(store) == set()
    assert leftovers(store) == []


def test_a_lease_keeps_blobs_that_no_name_lists(store: Store) -> None:
    add(store, "a:latest", b"one")
    with store.session("test") as session:
        session.keep([Digest.of(b"one")])
        store.unlink(["a:latest"])
        assert blobs(store) == {Digest.of(b"one").hex}


def test_a_crashed_owners_blobs_stay(store: Store) -> None:
    """Its lease file is there and its lock is free: gc --all may take them, nothing else."""
    add(store, "a:latest", b"one")
    dead = store.layout.leases / "deaddeaddeaddead"
    dead.write_text(f'{{"schema":"slmctl.lease/1"}}\n{Digest.of(b"one")}\n')
    store.unlink(["a:latest"])
    assert blobs(store) == {Digest.of(b"one").hex}


def test_a_failed_session_collects_what_only_it_put_in(store: Store) -> None:
    add(store, "a:latest", b"one")
    before = blobs(store)

    def fail() -> None:
        with store.session("test") as session:
            write_model(session, b"one")
            write_model(session, b"two")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert blobs(store) == before
    assert leftovers(store) == []


def test_nothing_is_freed_while_a_named_manifest_cannot_be_read(store: Store) -> None:
    add(store, "a:latest", b"one")
    kept = add(store, "b:latest", b"two")
    path = store.layout.blob(kept.descriptor.digest)
    path.chmod(0o644)
    path.write_bytes(b"damaged")
    assert store.unlink(["a:latest"]).freed_bytes == 0
    assert Digest.of(b"one").hex in blobs(store)
    assert Digest.of(b"two").hex in blobs(store)


def test_a_lease_that_cannot_be_read_stops_all_freeing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more open files, for example: not to know what a lease lists is no leave to delete it."""
    add(store, "a:latest", b"one")
    with store.session("test") as session:
        session.keep([Digest.of(b"one")])
        real = os.open

        def starved(path: str | Path, *rest: int, **named: int) -> int:
            if Path(path).parent == store.layout.leases:
                raise OSError(errno.EMFILE, "Too many open files")
            return real(path, *rest, **named)

        monkeypatch.setattr(os, "open", starved)
        assert store.unlink(["a:latest"]).freed_bytes == 0
        monkeypatch.undo()
        assert Digest.of(b"one").hex in blobs(store)


def test_keeping_what_is_gone_is_refused(store: Store) -> None:
    add(store, "a:latest", b"one")
    store.unlink(["a:latest"])
    with store.session("test") as session, pytest.raises(NotFound, match="missing"):
        session.keep([Digest.of(b"one")])


def test_a_manifest_must_be_there_to_be_named(store: Store) -> None:
    store.prepare()
    ghost = Descriptor(media_type=mediatypes.OCI_MANIFEST, digest=Digest.of(b"ghost"), size=5)
    with pytest.raises(NotFound):
        store.link("a:latest", ghost, source="create", linked=NOW, replace_rule=Replace.ANYTHING)
    assert store.names().entries == {}


# The table of names under damage


def test_a_torn_table_is_answered_from_the_previous_generation_and_mended(store: Store) -> None:
    add(store, "a:latest", b"one")
    add(store, "b:latest", b"two")
    whole = store.layout.index.read_bytes()
    store.layout.index.write_bytes(whole[: len(whole) // 2])
    names = store.names()
    assert (names.generation, set(names.entries)) == ("previous", {"a:latest"})
    add(store, "c:latest", b"three")
    assert set(store.names().entries) == {"a:latest", "c:latest"}
    assert store.names().generation == "current"
    assert (store.root / "index.json.damaged").read_bytes() == whole[: len(whole) // 2]


def test_what_only_a_torn_table_still_names_is_not_freed(store: Store) -> None:
    """A name was added, the table torn before anything else happened: its blobs are not garbage."""
    add(store, "a:latest", b"one")
    kept = add(store, "keep:latest", b"two")
    torn = store.layout.index.read_bytes()[:-8]
    store.layout.index.write_bytes(torn)
    store.free(Digest(hexdigest) for hexdigest in blobs(store))
    assert Digest.of(b"two").hex in blobs(store)
    store.unlink(["a:latest"])
    add(store, "c:latest", b"three")
    store.unlink(["c:latest"])
    store.free(Digest(hexdigest) for hexdigest in blobs(store))
    assert {Digest.of(b"two").hex, kept.descriptor.digest.hex} <= blobs(store)
    assert Digest.of(b"three").hex not in blobs(store)


@pytest.mark.parametrize("way", ["add", "remove"])
def test_a_change_keeps_the_names_that_a_torn_table_still_tells(store: Store, way: str) -> None:
    """The table before it does not have the last name, and the damaged one is replaced by the change."""
    for name in ("a:latest", "z:latest"):
        add(store, name, b"one")
    last = add(store, "keep:latest", b"two")
    raw = store.layout.index.read_bytes()
    store.layout.index.write_bytes(raw.replace(b'{"annotations"', b'"annotations"', 1))  # the row of a
    if way == "add":
        add(store, "c:latest", b"three")
    else:
        store.unlink(["z:latest"])
    names = store.names()
    assert names.generation == "current"
    assert names.entries["keep:latest"] == last
    assert {"a:latest", "keep:latest"} <= set(names.entries)


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to(path.name)])
def test_a_table_that_is_no_file_is_answered_from_the_previous_generation(store: Store, make: object) -> None:
    add(store, "a:latest", b"one")
    add(store, "z:latest", b"two")
    store.layout.index.unlink()
    make(store.layout.index)  # type: ignore[operator]
    assert store.names().generation == "previous"
    add(store, "b:latest", b"three")
    assert (store.names().generation, set(store.names().entries)) == ("current", {"a:latest", "b:latest"})
    assert store.unlink(["b:latest"]).freed_bytes > 0, "what was put aside tells nothing that must stay"


def test_lost_tables_are_an_error_not_an_empty_store(store: Store) -> None:
    """An empty table in their place would make garbage of every model."""
    add(store, "a:latest", b"one")
    before = blobs(store)
    store.layout.index.unlink()
    store.layout.previous_index.unlink()
    uses = (
        store.names,
        store.prepare,
        lambda: add(store, "b:latest", b"two"),
        lambda: store.unlink(["a:latest"]),
        lambda: store.free(Digest(name) for name in before),
    )
    for use in uses:
        with pytest.raises(StoreUnusable, match="is gone"):
            use()
    assert blobs(store) == before


def test_a_name_that_is_no_text_is_kept(store: Store) -> None:
    """JSON can say a lone surrogate, and UTF-8 cannot."""
    add(store, "a:latest", b"one")
    raw = store.layout.index.read_text()
    row = next(line for line in raw.splitlines() if "a:latest" in line)
    strange = row.replace("a:latest", "x\\ud800:latest")
    store.layout.index.write_text(raw.replace(row, f"{row},\n{strange}"))
    add(store, "b:latest", b"two")
    assert set(store.names().entries) == {"a:latest", "b:latest", "x\ud800:latest"}


def test_every_torn_table_is_put_aside(store: Store) -> None:
    add(store, "a:latest", b"one")
    for number in range(3):
        add(store, f"b{number}:latest", b"two")
        store.layout.index.write_bytes(f"torn {number}".encode())
        add(store, "c:latest", f"three {number}".encode())
    assert [path.read_text() for path in store.layout.damaged_indexes] == ["torn 0", "torn 1", "torn 2"]


def test_a_row_that_hides_what_it_names_stops_all_freeing(store: Store) -> None:
    add(store, "a:latest", b"one")
    add(store, "b:latest", b"two")
    document = json.loads(store.layout.index.read_bytes())
    document["manifests"][1]["size"] = "many"
    store.layout.index.write_text(json.dumps(document))
    assert store.unlink(["a:latest"]).freed_bytes == 0
    assert Digest.of(b"two").hex in blobs(store)


def test_names_that_others_wrote_without_a_tag_or_twice(store: Store) -> None:
    first, second = add(store, "a:latest", b"one"), add(store, "b:latest", b"two")
    document = json.loads(store.layout.index.read_bytes())
    for row in document["manifests"]:
        row["annotations"][mediatypes.REF_NAME] = "plain"
    store.layout.index.write_text(json.dumps(document))
    assert store.resolve(parse("plain")).descriptor == second.descriptor
    store.link("plain", first.descriptor, source="create", linked=NOW, replace_rule=Replace.ANYTHING)
    assert store.resolve(parse("plain")).descriptor == first.descriptor


@pytest.mark.parametrize("damage", [b"", b"{}", b"[]", b"\0" * 100, b'{"schemaVersion":2,"manifests":3}'])
def test_every_kind_of_tear_is_noticed(store: Store, damage: bytes) -> None:
    add(store, "a:latest", b"one")
    add(store, "a:latest", b"two")
    store.layout.index.write_bytes(damage)
    assert set(store.names().entries) == {"a:latest"}
    store.layout.index.unlink()
    assert set(store.names().entries) == {"a:latest"}
    store.prepare()
    assert set(store.names().entries) == {"a:latest"}, "preparing must not put an empty table over it"


def test_a_table_with_no_good_generation_is_an_error_not_an_empty_store(store: Store) -> None:
    add(store, "a:latest", b"one")
    store.layout.index.write_bytes(b"{")
    store.layout.previous_index.write_bytes(b"{")
    with pytest.raises(StoreUnusable, match="damaged"):
        store.names()
    with pytest.raises(StoreUnusable):
        add(store, "b:latest", b"two")


def test_foreign_entries_and_fields_are_kept(store: Store) -> None:
    store.prepare()
    foreign = {
        "mediaType": "application/x-foreign",
        "digest": str(Digest.of(b"foreign")),
        "size": 7,
        "platform": {"os": "linux"},
        "annotations": {"org.example": "kept"},
    }
    document = {"schemaVersion": 2, "annotations": {"who": "somebody"}, "manifests": [foreign]}
    store.layout.index.write_text(json.dumps(document))
    add(store, "a:latest", b"one")
    add(store, "a:latest", b"two")
    written = json.loads(store.layout.index.read_bytes())
    assert written["annotations"] == {"who": "somebody"}
    assert written["manifests"][0] == foreign
    assert [row["annotations"][mediatypes.REF_NAME] for row in written["manifests"][1:]] == ["a:latest"]


def test_the_table_reads_back_what_it_writes(store: Store) -> None:
    add(store, "a:latest", b"one")
    names = store.names()
    assert NameTable.parse(names.to_bytes()).entries == names.entries


# Reading blobs


def test_damaged_blobs_are_refused_at_the_border(store: Store, tmp_path: Path) -> None:
    with store.session("test") as session:
        digest = session.put(b"content")
        path = store.layout.blob(digest)
        descriptor = Descriptor(media_type="", digest=digest, size=7)
        assert store.read_blob(descriptor) == b"content"
        path.chmod(0o644)

        path.write_bytes(b"Content")
        with pytest.raises(DigestMismatch):
            store.read_blob(descriptor)
        with store.open_blob(descriptor) as stream, pytest.raises(DigestMismatch):
            store.verify_open_blob(descriptor, stream)

        path.write_bytes(b"content!")
        with pytest.raises(SizeMismatch):
            store.open_blob(descriptor)

        path.unlink()
        with pytest.raises(NotFound):
            store.open_blob(descriptor)

        (tmp_path / "elsewhere").write_bytes(b"content")
        path.symlink_to(tmp_path / "elsewhere")
        with pytest.raises(BadContent, match="regular"):
            store.open_blob(descriptor)
        path.unlink()

        os.mkfifo(path)
        with pytest.raises(BadContent, match="regular"):
            store.open_blob(descriptor)
        path.unlink()

        path.mkdir()
        with pytest.raises(BadContent, match="regular"):
            store.open_blob(descriptor)


def test_lock_files_are_never_deleted_and_readers_take_none(store: Store) -> None:
    add(store, "a:latest", b"one")
    locks = {path.name for path in store.layout.locks.iterdir()}
    with (store.layout.locks / "store.lock").open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # a stuck writer stops no reader
        entry = store.resolve(parse("a"))
        store.manifest(entry.descriptor)
    store.unlink(["a:latest"])
    assert {path.name for path in store.layout.locks.iterdir()} >= locks


def test_a_temporary_that_shares_a_live_file_is_replaced_and_not_written_to(store: Store) -> None:
    """What a file system may show after a power failure in the middle of a rename: one file at both names."""
    add(store, "a:latest", b"one")
    before = store.layout.index.read_bytes()
    witness = store.root.with_name("witness")
    for link in (store.layout.ingest / "index.json.new", witness):
        link.hardlink_to(store.layout.index)
    add(store, "b:latest", b"two")
    assert witness.read_bytes() == before
    assert set(store.names().entries) == {"a:latest", "b:latest"}


def test_what_cannot_be_put_in_its_place_is_removed(tmp_path: Path) -> None:
    (tmp_path / "final").mkdir()
    with pytest.raises(IsADirectoryError):
        replace_file(tmp_path / "temporary", tmp_path / "final", b"data")
    assert [path.name for path in tmp_path.iterdir()] == ["final"]


def test_a_copy_names_only_what_is_named_still(store: Store) -> None:
    """A removal that was killed between blobs may leave the manifest: it is there, and nothing keeps what it needs."""
    entry = add(store, "a:latest", b"one")
    with store.session("keeps the manifest") as session:
        session.keep([entry.descriptor.digest])
        store.unlink(["a:latest"])
        assert store.has(entry.descriptor.digest)
        with pytest.raises(NotFound):
            store.link_all([replace(entry, name="b:latest")], lambda _old, _new: None, still_named=True)
    assert store.names().entries == {}


def test_of_what_is_removed_the_manifest_goes_first(store: Store) -> None:
    content = [b"%d" % number for number in range(8)]  # some digests are smaller than the manifest's
    for data in content:
        entry = add(store, "a:latest", data)
        needed = gc.reached_from(store.layout, [entry.descriptor.digest])
        assert gc.deletion_order(store.layout, needed)[0] == entry.descriptor.digest
