"""Each way in which a store can be damaged, and what `verify` says of it."""

import io
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import pytest

from registry.digest import Digest
from registry.errors import DigestMismatch, StoreUnusable
from registry.manifest import Descriptor
from registry.store import hashing, ingest
from registry.store.findings import Finding, Report, Scope
from registry.store.hashing import check_blobs
from registry.store.keeper import Keeper
from registry.store.leases import Lease
from registry.store.reader import StoreReader
from registry.store.usage import usage_of
from registry.store.verify import verify
from tests.registry.store.models import add, add_several, link, write_manifest

WEIGHTS = bytes(range(256)) * 4096
EVERYTHING = Scope(threads=2)


@pytest.fixture
def store(tmp_path: Path) -> Keeper:
    """One model, `a:latest`, of a megabyte."""
    store = Keeper(tmp_path / "store")
    add(store, "a:latest", WEIGHTS)
    return store


def look(store: Keeper, scope: Scope = EVERYTHING) -> Report:
    return verify(store, scope, keeper=store)


def only(report: Report) -> Finding:
    """The one thing that was found."""
    assert len(report.findings) == 1, report.findings
    return report.findings[0]


def blob_of(store: Keeper, content: bytes = WEIGHTS) -> Path:
    return store.layout.blob(Digest.of(content))


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(folder)): (path.lstat().st_mode, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


def rewrite(path: Path, data: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(data)


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    rewrite(path, bytes(data))


def replaced_by(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def replace(path: Path) -> None:
        path.unlink()
        make(path)

    return replace


def hole(path: Path) -> None:
    """The same size, and a block of nothing in its middle: what a crash leaves of data never written."""
    path.chmod(0o644)
    with path.open("r+b") as stream:
        stream.truncate(len(WEIGHTS) // 2)
        stream.truncate(len(WEIGHTS))


DAMAGES: dict[str, Callable[[Path], object]] = {
    "bit at the start": lambda path: flip(path, 0),
    "bit in the middle": lambda path: flip(path, len(WEIGHTS) // 2),
    "bit at the end": lambda path: flip(path, -1),
    "one byte short": lambda path: rewrite(path, WEIGHTS[:-1]),
    "half": lambda path: rewrite(path, WEIGHTS[: len(WEIGHTS) // 2]),
    "empty": lambda path: rewrite(path, b""),
    "one byte more": lambda path: rewrite(path, WEIGHTS + b"\0"),
    "hole": hole,
    "dangling link": replaced_by(lambda path: path.symlink_to("nowhere")),
    "fifo": replaced_by(os.mkfifo),
    "folder": replaced_by(Path.mkdir),
}


def test_a_whole_store_is_well_and_stays_as_it_is(store: Keeper) -> None:
    add_several(store, "b:latest", [b"one", b"two"])
    before = snapshot(store.root)
    report = look(store)
    assert report.findings == ()
    assert (report.names, report.blobs) == (2, len(store.stored()))
    assert report.size == sum(store.stored().values())
    assert snapshot(store.root) == before


def test_a_store_that_is_not_there_is_empty_and_none_is_made(tmp_path: Path) -> None:
    store = Keeper(tmp_path / "store")
    assert look(store).findings == ()
    assert not store.root.exists()


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damage_is_found_and_put_aside_and_the_name_stays(
    store: Keeper, damage: Callable[[Path], object]
) -> None:
    path = blob_of(store)
    damage(path)
    inode = path.lstat().st_ino
    found = only(look(store))
    assert (found.kind, found.digest, found.is_bad) == ("damaged", Digest.of(WEIGHTS), True)
    assert [(user.name, user.variant) for user in found.users] == [("a:latest", "gguf-f32")]
    assert found.quarantined == store.layout.quarantine / f"{path.name}.1"
    assert found.quarantined.lstat().st_ino == inode, "it was moved, not copied"
    assert not os.path.lexists(path)
    assert "a:latest" in store.names().entries

    again = only(look(store))
    assert (again.kind, again.quarantined) == ("missing", found.quarantined)
    with store.session("test") as session:  # the right bytes make it whole
        session.put(WEIGHTS)
    assert look(store).findings == ()
    assert os.path.lexists(found.quarantined), "nothing deletes it"


def test_the_same_blob_may_be_damaged_twice(store: Keeper) -> None:
    for number in (1, 2):
        flip(blob_of(store), number)
        assert only(look(store)).quarantined == store.layout.quarantine / f"{blob_of(store).name}.{number}"
        with store.session("test") as session:
            session.put(WEIGHTS)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make a device")
def test_a_device_is_found_and_never_opened(store: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    path = blob_of(store)
    path.unlink()
    os.mknod(path, 0o644 | stat.S_IFCHR, os.makedev(1, 5))  # /dev/zero, which has no end
    real = os.open

    def watched(what: str | Path, *rest: int, **named: int) -> int:
        assert str(what) != str(path)
        return real(what, *rest, **named)

    monkeypatch.setattr(os, "open", watched)
    found = only(look(store))
    assert (found.kind, found.message) == ("damaged", "it is a device instead of a file")
    assert found.quarantined is not None


def test_a_link_to_the_right_bytes_is_no_blob(store: Keeper, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    blob_of(store).rename(elsewhere)
    blob_of(store).symlink_to(elsewhere)
    assert only(look(store)).kind == "damaged"
    assert elsewhere.read_bytes() == WEIGHTS


def test_two_blobs_of_one_size_that_changed_places(store: Keeper, tmp_path: Path) -> None:
    other = bytes(reversed(WEIGHTS))
    add(store, "b:latest", other)
    first, second = blob_of(store), blob_of(store, other)
    first.rename(tmp_path / "x")
    second.rename(first)
    (tmp_path / "x").rename(second)
    findings = look(store).findings
    assert [finding.kind for finding in findings] == ["damaged", "damaged"]
    assert {user.name for finding in findings for user in finding.users} == {"a:latest", "b:latest"}


def test_a_missing_blob_names_who_needs_it(store: Keeper) -> None:
    add_several(store, "b:latest", [WEIGHTS, b"other"], source="create")
    blob_of(store).unlink()
    found = only(look(store))
    assert (found.kind, found.size, found.quarantined) == ("missing", len(WEIGHTS), None)
    assert [(user.name, user.variant) for user in found.users] == [
        ("a:latest", "gguf-f32"),
        ("b:latest", "v0"),
    ]


@pytest.mark.parametrize("part", ["manifest", "config"])
def test_a_damaged_manifest_or_config(store: Keeper, part: str) -> None:
    entry = store.names().entries["a:latest"]
    manifest = store.manifest_of(entry.descriptor.digest)
    digest = entry.descriptor.digest if part == "manifest" else manifest.config.digest
    flip(store.layout.blob(digest), 30)
    found = only(look(store))
    assert (found.kind, found.digest) == ("damaged", digest)
    assert found.quarantined is not None
    assert blob_of(store).exists()


def test_a_manifest_that_makes_no_sense(store: Keeper) -> None:
    raw = b'{"schemaVersion": 2, "layers": 7}'
    with store.session("test") as session:
        link(store, "b:latest", Descriptor(media_type="x", digest=session.put(raw), size=len(raw)))
    found = only(look(store))
    assert (found.kind, found.digest, found.quarantined) == ("malformed", Digest.of(raw), None)
    assert found.is_bad


def test_a_size_that_a_manifest_has_wrong_is_not_the_blobs_fault(store: Keeper) -> None:
    with store.session("test") as session:
        session.keep([Digest.of(WEIGHTS)])
        link(store, "b:latest", write_manifest(session, Digest.of(WEIGHTS), len(WEIGHTS) - 1))
    found = only(look(store))
    assert (found.kind, found.quarantined) == ("malformed", None)
    assert blob_of(store).exists()
    assert {user.name for user in found.users} == {"a:latest", "b:latest"}


# What is only named


def test_what_a_sparse_model_leaves_out_is_not_missing(store: Keeper) -> None:
    add_several(store, "b:latest", [b"one", b"two", b"three"], source="ollama://library/b")
    for content in (b"two", b"three"):
        blob_of(store, content).unlink()
    report = look(store)
    assert report.is_well
    assert [(found.kind, found.users[0].variant) for found in report.findings] == [
        ("not_pulled", "v1"), ("not_pulled", "v2"),
    ]  # fmt: skip


def test_what_was_put_aside_was_pulled(store: Keeper) -> None:
    add_several(store, "b:latest", [b"one", b"two"], source="ollama://library/b")
    rewrite(blob_of(store, b"two"), b"twO")
    assert only(look(store)).kind == "damaged"
    assert only(look(store)).kind == "missing"


def test_a_sparse_model_without_any_weights_is_broken(store: Keeper) -> None:
    add_several(store, "b:latest", [b"one", b"two"], source="ollama://library/b")
    for content in (b"one", b"two"):
        blob_of(store, content).unlink()
    assert [found.kind for found in look(store).findings] == ["missing", "missing"]


def test_what_was_made_here_cannot_be_sparse(store: Keeper) -> None:
    add_several(store, "b:latest", [b"one", b"two"])
    blob_of(store, b"two").unlink()
    assert only(look(store)).kind == "missing"


def test_foreign_files_are_named_and_left_alone(store: Keeper) -> None:
    for name in ("README", "blobs/sha512", "blobs/sha256/notes.txt", "ingest/download.part", "locks/x"):
        path = store.root / name
        path.write_text("somebody's")
    report = look(store)
    assert report.is_well
    assert {found.kind for found in report.findings} == {"foreign"}
    assert len(report.findings) == 5
    assert all(found.path is not None and found.path.exists() for found in report.findings)


def test_a_foreign_folder_may_be_deep(store: Keeper) -> None:
    here = os.open(store.root, os.O_RDONLY)
    try:
        for _ in range(3000):  # deeper than Python recurses, and than a path may be long
            os.mkdir("d", dir_fd=here)
            below = os.open("d", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
    finally:
        os.close(here)
    try:
        assert only(look(store)).path == store.root / "d"
        assert usage_of(store).total > len(WEIGHTS)
    finally:
        subprocess.run(["rm", "-r", store.root / "d"], check=True)  # pytest could not


def test_a_foreign_entry_whose_blobs_are_away_is_named(store: Keeper) -> None:
    document = json.loads(store.layout.index.read_bytes())
    document["manifests"].append(
        {"mediaType": "application/x", "digest": str(Digest.of(b"foreign")), "size": 7}
    )
    store.layout.index.write_text(json.dumps(document))
    report = look(store)
    assert report.is_well
    assert only(report).kind == "foreign"


def test_what_nobody_needs_and_what_the_dead_left(store: Keeper) -> None:
    with store.session("test") as session:
        session.put(b"nobody's")
    dead = store.layout.leases / ("0" * 16)
    dead.write_text(f'{{"schema":"slmctl.lease/1"}}\n{Digest.of(b"partly")}\n')
    (store.layout.ingest / f"{dead.name}.1").write_bytes(b"half")
    (store.layout.ingest / "index.json.new").write_bytes(b"{")
    report = look(store)
    assert report.is_well
    assert sorted(found.kind for found in report.findings) == ["temporary"] * 3 + ["unneeded"]
    assert report.findings[-1].digest == Digest.of(b"nobody's")


def test_what_a_held_lease_lists_is_in_use(store: Keeper) -> None:
    with store.session("test") as session:
        session.put(b"somebody's")
        lease = Lease(store.layout.leases, purpose="another")
        (store.layout.ingest / lease.temporary()).touch()
        assert look(store).findings == ()
        lease.end()
        assert only(look(store)).kind == "temporary"


def test_where_a_manifest_cannot_be_read_nothing_is_called_unneeded(store: Keeper) -> None:
    with store.session("test") as session:
        session.put(b"nobody's")
    store.layout.blob(store.names().entries["a:latest"].descriptor.digest).unlink()
    assert only(look(store)).kind == "missing"


# The table of names


@pytest.mark.parametrize("damage", [b"", b"\0" * 200, None], ids=["empty", "zeros", "torn"])
def test_a_damaged_table_is_said_and_the_previous_one_answers(store: Keeper, damage: bytes | None) -> None:
    add(store, "b:latest", b"two")
    raw = store.layout.index.read_bytes()
    store.layout.index.write_bytes(raw[: len(raw) // 2] if damage is None else damage)
    report = look(store)
    assert not report.is_well
    found = only(report)
    assert (found.kind, found.path) == ("damaged", store.layout.index)
    assert report.names == 1
    assert "previous" not in found.message
    assert "before" in found.message


def test_both_tables_damaged(store: Keeper) -> None:
    add(store, "b:latest", b"two")
    flip(blob_of(store), 0)
    store.layout.index.write_bytes(b"{")
    store.layout.previous_index.write_bytes(b"\0")
    report = look(store)
    assert not report.is_well
    assert {found.path for found in report.findings} == {store.layout.index, blob_of(store)}


@pytest.mark.parametrize("damage", [None, b"\0" * 200])
def test_models_whose_names_are_lost_are_called_something(store: Keeper, damage: bytes | None) -> None:
    several = add_several(store, "b:latest", [b"two", b"three"])
    entries = store.names().entries
    before = store.stored()
    for path in (store.layout.index, store.layout.previous_index):
        path.unlink() if damage is None else path.write_bytes(damage)
    found = next(each for each in look(store).findings if each.is_bad)
    assert (found.kind, found.path) == ("damaged", store.layout.index)
    with pytest.raises(StoreUnusable):
        store.collect(everything=True)
    assert store.mend_names()
    recovered = store.names().entries
    assert {entry.descriptor.digest for entry in recovered.values()} == {
        entry.descriptor.digest for entry in entries.values()
    }
    assert recovered[f"recovered/{several.descriptor.digest.short}:latest"].descriptor == several.descriptor
    assert store.collect(everything=True).garbage == ()
    assert store.stored() == before
    assert look(store).findings == ()


@pytest.mark.parametrize("damage", [b"{", b"[" * 9999, b"3"])
def test_a_damaged_version_is_damage(store: Keeper, damage: bytes) -> None:
    store.layout.version.write_bytes(damage)
    report = look(store)
    assert not report.is_well
    assert [each.path for each in report.findings] == [store.layout.version]
    assert report.blobs == 3


def test_a_row_that_cannot_be_read(store: Keeper) -> None:
    add(store, "b:latest", b"two")
    document = json.loads(store.layout.index.read_bytes())
    document["manifests"][0]["size"] = "many"
    store.layout.index.write_text(json.dumps(document))
    report = look(store)
    assert not report.is_well
    assert report.findings[0].path == store.layout.index
    assert all(found.kind != "unneeded" for found in report.findings)


@pytest.mark.parametrize("damage", [b"", b"{}", b'{"imageLayoutVersion":"9.0.0"}', None])
def test_a_damaged_oci_layout(store: Keeper, damage: bytes | None) -> None:
    store.layout.oci_layout.unlink() if damage is None else store.layout.oci_layout.write_bytes(damage)
    found = only(look(store))
    assert (found.kind, found.path) == ("damaged", store.layout.oci_layout)


def test_a_newer_store_is_not_judged(store: Keeper) -> None:
    store.layout.version.write_text('{"version": 99}')
    with pytest.raises(StoreUnusable, match="newer"):
        look(store)


# What is looked at


def test_one_name_is_looked_at_alone(store: Keeper) -> None:
    add(store, "b:latest", b"two")
    rewrite(blob_of(store, b"two"), b"tvo")
    (store.root / "README").touch()
    assert look(store, Scope(names=("a:latest",))).findings == ()
    assert only(look(store, Scope(names=("b:latest",)))).kind == "damaged"


def test_a_digest_is_looked_at_whatever_its_name(store: Keeper) -> None:
    digest = store.names().entries["a:latest"].descriptor.digest
    assert look(store, Scope(digest=digest)).findings == ()
    table = Digest.of(store.layout.index.read_bytes())
    assert look(store, Scope(digest=table)).findings == ()
    with pytest.raises(DigestMismatch):
        look(store, Scope(digest=Digest.of(b"other")))
    flip(blob_of(store), 5)
    for wanted in (digest, table):
        assert not look(store, Scope(digest=wanted)).is_well


def test_a_layout_of_others_is_looked_at_and_not_written_to(store: Keeper, tmp_path: Path) -> None:
    """Entries without names count too: in a layout that is all there is."""
    folder = tmp_path / "layout"
    folder.mkdir()
    for name in ("oci-layout", "index.json", "blobs"):
        source = store.root / name
        shutil.copytree(source, folder / name) if source.is_dir() else shutil.copy(source, folder / name)
    document = json.loads((folder / "index.json").read_bytes())
    del document["manifests"][0]["annotations"]
    (folder / "index.json").write_text(json.dumps(document))
    reader = StoreReader(folder)
    assert verify(reader, EVERYTHING).findings == ()
    flip(folder / "blobs" / "sha256" / Digest.of(WEIGHTS).hex, 0)
    before = snapshot(folder)
    found = only(verify(reader, EVERYTHING))
    assert (found.kind, found.quarantined) == ("damaged", None)
    assert snapshot(folder) == before
    (folder / "blobs" / "sha256" / Digest.of(WEIGHTS).hex).unlink()
    assert only(verify(reader, EVERYTHING)).is_bad


def test_progress_ends_at_its_total(store: Keeper) -> None:
    seen: list[tuple[int, int]] = []
    verify(store, EVERYTHING, keeper=store, on_progress=lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1] == sum(store.stored().values())
    assert seen == sorted(seen)


# Races


def test_a_name_that_goes_meanwhile_is_not_missing(store: Keeper) -> None:
    add(store, "b:latest", b"two")

    def remove(_done: int, _total: int) -> None:
        store.unlink(["b:latest"])

    assert verify(store, EVERYTHING, keeper=store, on_progress=remove).findings == ()


def test_a_name_that_comes_meanwhile_is_neither_unneeded_nor_missing(store: Keeper) -> None:
    def make(_done: int, _total: int) -> None:
        add(store, "b:latest", b"two")

    report = verify(store, EVERYTHING, keeper=store, on_progress=make)
    assert report.findings == ()
    assert report.names == 2


def test_a_blob_that_was_made_whole_meanwhile_is_not_put_aside(store: Keeper) -> None:
    flip(blob_of(store), 0)
    checked = next(check_blobs(store, [_descriptor(WEIGHTS)], threads=1, on_bytes=lambda _: None))
    assert checked.state == "damaged"
    with store.session("test") as session:
        session.put(WEIGHTS)
    assert store.put_aside(checked) is None
    assert blob_of(store).read_bytes() == WEIGHTS
    assert look(store).findings == ()


def _descriptor(content: bytes) -> Descriptor:
    return Descriptor(media_type="", digest=Digest.of(content), size=len(content))


def test_a_worker_that_has_it_open_keeps_its_file(store: Keeper) -> None:
    with blob_of(store).open("rb") as held:
        flip(blob_of(store), 0)
        assert only(look(store)).quarantined is not None
        assert len(held.read()) == len(WEIGHTS)


VERIFY = """
import sys
from pathlib import Path
from registry.store.findings import Scope
from registry.store.keeper import Keeper
from registry.store.verify import verify
store = Keeper(Path(sys.argv[1]))
for found in verify(store, Scope(threads=2), keeper=store).findings:
    print(found.kind, found.quarantined)
"""


def test_two_processes_find_the_same_damage(store: Keeper) -> None:
    """Both say so, both say where it is, and it was moved once."""
    flip(blob_of(store), 0)
    command = [sys.executable, "-c", VERIFY, str(store.root)]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]) for _ in range(4)
    ]
    lines = {process.communicate(timeout=60)[0].decode().strip() for process in processes}
    place = store.layout.quarantine / f"{blob_of(store).name}.1"
    assert lines <= {f"damaged {place}", f"missing {place}"}
    assert list(store.layout.quarantine.iterdir()) == [place]


def test_verify_beside_creates_of_the_same_bytes(store: Keeper) -> None:
    """While one thread damages and looks, another stores the same bytes: in the end they are whole."""
    rounds = 30

    def create() -> None:
        for _ in range(rounds):
            with store.session("test") as session:
                session.put(WEIGHTS)

    with ThreadPoolExecutor(1) as pool:
        creating = pool.submit(create)
        for number in range(rounds):
            try:
                flip(blob_of(store), number)
            except OSError:
                continue  # put aside, and not stored again yet
            look(store)
        creating.result()
    create()
    assert look(store).findings == ()
    assert blob_of(store).read_bytes() == WEIGHTS


# Where nothing can be written, and what cannot be read


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="needs root and unshare")
def test_on_a_read_only_mount_damage_is_named_only(store: Keeper) -> None:
    flip(blob_of(store), 0)
    before = snapshot(store.root)
    script = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" || exit 77; shift; exec "$@"'
    done = subprocess.run(
        [
            "unshare",
            "--mount",
            "sh",
            "-c",
            script,
            "sh",
            str(store.root),
            sys.executable,
            "-c",
            VERIFY,
            str(store.root),
        ],
        capture_output=True,
        cwd=Path(__file__).parents[3],
        check=False,
    )
    if done.returncode == 77:
        pytest.skip("cannot mount here")
    assert (done.returncode, done.stdout.decode().strip()) == (0, "damaged None"), done.stderr
    assert snapshot(store.root) == before


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_what_may_not_be_read_is_neither_damaged_nor_missing(store: Keeper) -> None:
    """Another user's store, one file of which is closed to us."""
    for path in (store.root, *store.root.rglob("*")):
        os.chown(path, 65534, 65534, follow_symlinks=False)
    blob_of(store).chmod(0)
    closed = [folder for folder in store.root.parents if not folder.stat().st_mode & 0o001]
    modes = {folder: folder.stat().st_mode for folder in closed}
    for folder in closed:
        folder.chmod(0o755)
    os.seteuid(65534)
    try:
        found = only(look(store))
    finally:
        os.seteuid(0)
        for folder, mode in modes.items():
            folder.chmod(mode)
    assert (found.kind, found.is_bad, found.quarantined) == ("unreadable", True, None)
    assert blob_of(store).exists()


@pytest.mark.parametrize("repair", [False, True])
def test_a_medium_that_cannot_be_read(store: Keeper, monkeypatch: pytest.MonkeyPatch, repair: bool) -> None:
    """EIO in the middle of a blob: it may be the cable, so it stays unless its bytes are to be fetched."""
    real = StoreReader.open_blob

    class Failing(io.FileIO):
        def readinto(self, _: object) -> int:
            raise OSError(5, "Input/output error")

    def failing(self: StoreReader, descriptor: Descriptor, *, check_notes: bool) -> object:
        return (
            Failing(blob_of(store))
            if descriptor.digest == Digest.of(WEIGHTS)
            else real(self, descriptor, check_notes=check_notes)
        )

    monkeypatch.setattr(StoreReader, "open_blob", failing)
    found = only(look(store, Scope(threads=2, repair=repair)))
    assert (found.kind, found.quarantined is not None) == ("unreadable", repair)
    assert "Input/output error" in found.message
    assert store.has(Digest.of(WEIGHTS)) is not repair


def test_bytes_replace_a_blob_that_the_medium_does_not_give_back(
    store: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(fd: int) -> object:
        raise OSError(5, "Input/output error")

    before = blob_of(store).stat().st_ino
    monkeypatch.setattr(ingest, "hash_open_file", failing)
    with store.session("test") as session:
        session.put(WEIGHTS)
    assert blob_of(store).stat().st_ino != before


def test_a_full_disk_is_looked_at_and_nothing_moved(store: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock file that is not there yet cannot be made."""
    flip(blob_of(store), 0)
    (store.layout.leases / "0123456789abcdef").write_text("{}\n")
    real = os.open

    def full(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if flags & os.O_CREAT:
            raise OSError(28, "No space left on device")
        return real(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", full)
    found = look(store).findings
    assert [each.kind for each in found] == ["damaged", "temporary"]
    assert blob_of(store).exists()


def test_what_reads_well_the_second_time_is_told_and_stays(
    store: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bad memory: the file is right and the first reading was not."""
    real = hashing._digest_of
    readings: list[int] = []

    def wrong_at_first(stream: BinaryIO, counter: hashing._Counter) -> tuple[Digest, int]:
        digest, size = real(stream, counter)
        if digest == Digest.of(WEIGHTS):
            readings.append(size)
            if len(readings) == 1:
                return Digest.of(b"?"), size
        return digest, size

    monkeypatch.setattr(hashing, "_digest_of", wrong_at_first)
    found = only(look(store))
    assert (found.kind, found.quarantined) == ("damaged", None)
    assert "second" in found.message
    assert blob_of(store).exists()
