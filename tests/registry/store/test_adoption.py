"""Files of other tools in the store: linked or borrowed, never copied, never believed once they changed."""

import hashlib
import os
import stat
from pathlib import Path

import pytest

from registry.digest import Digest
from registry.errors import BadContent, DigestMismatch, NotFound, OperationFailed
from registry.manifest import Descriptor
from registry.store import notes
from registry.store.adoption import Taken
from registry.store.ingest import SourceFile
from registry.store.keeper import Keeper
from registry.store.reader import StoreReader
from registry.store.store import Replace, Store
from tests.registry.store.test_store import NOW, leftovers, write_manifest
from tests.untouched import untouched

CONTENT = b"other tool's weights" * 1000
DIGEST = Digest.of(CONTENT)
BLOB = Descriptor(media_type="", digest=DIGEST, size=len(CONTENT))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    path = tmp_path / "theirs" / f"sha256-{DIGEST.hex}"
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    path.chmod(0o640)
    os.utime(path, ns=(1, 1_600_000_000_123_456_789))
    return path


def adopt(store: Store, path: Path, *, link: bool, name: str = "m:latest", hashed: bool = False) -> Taken:
    with store.session("adopt") as session, SourceFile(path) as source:
        taken = session.adopt(source, DIGEST, owner="Ollama", may_link=link, hashed=hashed)
        descriptor = write_manifest(session, DIGEST, len(CONTENT))
        store.link(name, descriptor, source="x", linked=NOW, replace_rule=Replace.ANYTHING)
    return taken


def content(store: StoreReader) -> bytes:
    with store.open_blob(BLOB) as stream:
        return stream.read()


def rewrite(path: Path) -> None:
    """The same size, other bytes, in place."""
    with path.open("r+b") as stream:
        stream.write(b"OTHER")


def touch(path: Path) -> None:
    os.utime(path, ns=(5, 1_700_000_000_000_000_000))


# Taking


def test_a_linked_file_is_one_inode_with_its_mode_and_times(store: Store, theirs: Path) -> None:
    before = theirs.stat()
    assert adopt(store, theirs, link=True) is Taken.LINKED
    blob = store.layout.blob(DIGEST)
    after = theirs.stat()
    assert blob.samefile(theirs)
    assert (after.st_mode, after.st_uid, after.st_gid, after.st_mtime_ns) == (
        before.st_mode,
        before.st_uid,
        before.st_gid,
        before.st_mtime_ns,
    )
    assert content(store) == CONTENT
    assert store.has(DIGEST)
    assert store.note_about(DIGEST) is not None
    assert leftovers(store) == []


def test_a_borrowed_file_stays_where_it_is(store: Store, theirs: Path) -> None:
    before = untouched(theirs)
    assert adopt(store, theirs, link=False) is Taken.BORROWED
    assert not store.layout.blob(DIGEST).exists()
    assert untouched(theirs) == before
    assert content(store) == CONTENT
    assert store.has(DIGEST)
    assert store.read_blob(BLOB) == CONTENT
    assert leftovers(store) == []


def test_another_file_system_is_borrowed_from(store: Store) -> None:
    shm = Path("/dev/shm")
    if not shm.is_dir() or shm.stat().st_dev == store.root.parent.stat().st_dev:
        pytest.skip("no other file system at /dev/shm")
    path = shm / f"slmctl-test-{os.getpid()}"
    path.write_bytes(CONTENT)
    try:
        assert adopt(store, path, link=True) is Taken.BORROWED
        assert content(store) == CONTENT
    finally:
        path.unlink()


def test_a_blob_of_our_own_stays_ours(store: Store, theirs: Path) -> None:
    with store.session("put") as session:
        session.put(CONTENT)
        with SourceFile(theirs) as source:
            taken = session.adopt(source, DIGEST, owner="Ollama", may_link=True, hashed=False)
    assert taken is Taken.PRESENT
    assert theirs.stat().st_nlink == 1
    assert store.note_about(DIGEST) is None


def test_adopting_twice_changes_nothing(store: Store, theirs: Path) -> None:
    for link, taken in ((True, Taken.LINKED), (True, Taken.LINKED)):
        assert adopt(store, theirs, link=link) is taken
    assert theirs.stat().st_nlink == 2
    assert leftovers(store) == []


def test_a_link_without_its_note_gets_one(store: Store, theirs: Path) -> None:
    adopt(store, theirs, link=True)
    notes.forget(store.layout, DIGEST)
    assert adopt(store, theirs, link=True) is Taken.LINKED
    assert notes.linked(store.layout, DIGEST) is not None
    assert leftovers(store) == []


def test_a_file_that_is_exchanged_meanwhile_is_not_taken(store: Store, theirs: Path) -> None:
    def adopt_exchanged(link: bool) -> None:
        with store.session("adopt") as session, SourceFile(theirs) as source:
            other = theirs.with_name("other")
            other.write_bytes(CONTENT)
            other.rename(theirs)
            session.adopt(source, DIGEST, owner="Ollama", may_link=link, hashed=False)

    for link in (True, False):
        with pytest.raises(OperationFailed, match="was replaced"):
            adopt_exchanged(link)
    assert not store.has(DIGEST)
    assert leftovers(store) == []


# When the other tool does something


@pytest.mark.parametrize("link", [True, False])
def test_a_touched_file_is_hashed_and_accepted_once(
    store: Store, theirs: Path, link: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    adopt(store, theirs, link=link)
    touch(theirs)
    counted: list[int] = []
    store.open_blob(BLOB, counted.append).close()
    assert sum(counted) == len(CONTENT)
    counted.clear()
    store.open_blob(BLOB, counted.append).close()
    assert counted == []  # the note was renewed
    assert leftovers(store) == []


@pytest.mark.parametrize("link", [True, False])
@pytest.mark.parametrize("change", [rewrite, lambda path: path.write_bytes(b"short")])
def test_a_changed_file_is_named(store: Store, theirs: Path, link: bool, change: object) -> None:
    adopt(store, theirs, link=link)
    assert callable(change)
    change(theirs)
    for use in (store.open_blob, store.read_blob):
        with pytest.raises(DigestMismatch, match=r"theirs/sha256-.* adopted from Ollama, was changed"):
            use(BLOB)


def test_a_deleted_link_is_no_loss_and_a_deleted_borrowed_file_is_named(store: Store, theirs: Path) -> None:
    adopt(store, theirs, link=False)
    kept = theirs.with_name("kept")
    theirs.rename(kept)
    assert not store.has(DIGEST)
    with pytest.raises(NotFound, match=r"where Ollama keeps it, is gone"):
        store.open_blob(BLOB)
    assert adopt(store, kept, link=True) is Taken.LINKED
    kept.unlink()
    assert content(store) == CONTENT


def test_what_took_the_place_of_a_borrowed_file_is_not_followed(store: Store, theirs: Path) -> None:
    adopt(store, theirs, link=False)
    theirs.rename(theirs.with_name("elsewhere"))
    theirs.symlink_to("elsewhere")
    with pytest.raises(NotFound):
        store.open_blob(BLOB)
    theirs.unlink()
    os.mkfifo(theirs)
    with pytest.raises(NotFound):
        store.open_blob(BLOB)


def test_a_new_file_with_the_same_bytes_at_the_place_is_accepted(store: Store, theirs: Path) -> None:
    adopt(store, theirs, link=False)
    new = theirs.with_name("new")
    new.write_bytes(CONTENT)
    new.rename(theirs)
    assert content(store) == CONTENT
    note = store.note_about(DIGEST)
    assert note is not None
    assert note.inode == theirs.stat().st_ino


def test_adopting_again_does_not_believe_what_changed(store: Store, theirs: Path) -> None:
    """Only bytes that were hashed make a note that did not fit one that does."""
    adopt(store, theirs, link=False)
    rewrite(theirs)
    adopt(store, theirs, link=False)
    with pytest.raises(DigestMismatch):
        store.open_blob(BLOB)
    theirs.write_bytes(CONTENT)
    adopt(store, theirs, link=False, hashed=True)
    counted: list[int] = []
    store.open_blob(BLOB, counted.append).close()
    assert counted == []


@pytest.mark.parametrize("text", [b"", b"{}", b"[]", b'{"schema":"slmctl.note/1","path":1}', b"\xff" * 99])
def test_a_damaged_note_means_hashing(store: Store, theirs: Path, text: bytes) -> None:
    adopt(store, theirs, link=True)
    (store.layout.linked / DIGEST.hex).write_bytes(text)
    counted: list[int] = []
    store.open_blob(BLOB, counted.append).close()
    assert sum(counted) == len(CONTENT)
    rewrite(theirs)
    (store.layout.linked / DIGEST.hex).write_bytes(text)
    with pytest.raises(BadContent):
        store.open_blob(BLOB)


def test_a_damaged_note_about_a_borrowed_file_is_a_missing_blob(store: Store, theirs: Path) -> None:
    adopt(store, theirs, link=False)
    (store.layout.borrowed / DIGEST.hex).write_bytes(b"{")
    assert not store.has(DIGEST)
    with pytest.raises(NotFound, match="missing from the store"):
        store.open_blob(BLOB)


def test_a_path_that_is_not_utf8(store: Store, theirs: Path) -> None:
    odd = Path(os.fsdecode(bytes(theirs) + b"\xff\n"))
    try:
        theirs.rename(odd)
    except OSError:
        pytest.skip("the file system takes no such name")
    adopt(store, odd, link=False)
    assert content(store) == CONTENT
    odd.unlink()
    with pytest.raises(NotFound) as caught:
        store.open_blob(BLOB)
    assert "\n" not in caught.value.message


# Removing


@pytest.mark.parametrize("link", [True, False])
def test_removing_leaves_their_file_and_frees_nothing_of_it(store: Store, theirs: Path, link: bool) -> None:
    adopt(store, theirs, link=link)
    freed = store.unlink(["m:latest"]).freed_bytes
    assert freed < 2000  # the manifest and the config
    assert theirs.read_bytes() == CONTENT
    assert stat.S_IMODE(theirs.stat().st_mode) == 0o640
    assert theirs.stat().st_nlink == 1
    assert list(store.layout.blobs.iterdir()) == []
    assert [*store.layout.linked.iterdir(), *store.layout.borrowed.iterdir()] == []


@pytest.mark.parametrize("link", [True, False])
def test_notes_that_nothing_needs_are_collected(store: Store, theirs: Path, link: bool) -> None:
    """A command that was killed between the note and the link leaves one; so does one whose name came to
    nothing."""
    adopt(store, theirs, link=link)
    folder = store.layout.linked if link else store.layout.borrowed
    note = folder / DIGEST.hex
    if link:
        store.layout.blob(DIGEST).unlink()
    stray, unreadable = (folder / Digest.of(name).hex for name in (b"stray", b"unreadable"))
    stray.write_bytes(note.read_bytes())
    unreadable.write_bytes(b"{")
    dry = Keeper(store.root).collect(dry_run=True)
    assert {(each.kind, each.path) for each in dry.garbage} == {("note", stray), ("note", unreadable)}
    Keeper(store.root).collect()
    assert list(folder.iterdir()) == [note]  # a name needs it: it tells where the bytes may be had


def test_facts_of_models_that_are_gone_are_collected(store: Store, theirs: Path) -> None:
    adopt(store, theirs, link=True)
    (here,) = (entry.descriptor.digest for entry in store.names().entries.values())
    store.layout.facts.mkdir(parents=True)
    for digest in (here, Digest.of(b"gone")):
        (store.layout.facts / f"{digest.hex}.json").write_bytes(b"{}")
    Keeper(store.root).collect()
    assert [path.name for path in store.layout.facts.iterdir()] == [f"{here.hex}.json"]


def test_the_last_name_of_a_linked_file_frees_its_bytes(store: Store, theirs: Path) -> None:
    adopt(store, theirs, link=True)
    theirs.unlink()
    assert store.unlink(["m:latest"]).freed_bytes > len(CONTENT)


def test_a_failed_session_gives_back_what_it_adopted(store: Store, theirs: Path) -> None:
    def adopt_and_fail(link: bool) -> None:
        with store.session("adopt") as session, SourceFile(theirs) as source:
            session.adopt(source, DIGEST, owner="Ollama", may_link=link, hashed=False)
            raise KeyError

    for link in (True, False):
        with pytest.raises(KeyError):
            adopt_and_fail(link)
        assert not store.has(DIGEST)
        assert store.note_about(DIGEST) is None
    assert theirs.stat().st_nlink == 1


def test_a_session_can_keep_what_is_borrowed(store: Store, theirs: Path) -> None:
    adopt(store, theirs, link=False)
    with store.session("create") as session:
        session.keep([DIGEST])
        with pytest.raises(NotFound):
            session.keep([Digest(hashlib.sha256(b"x").hexdigest())])


def test_a_read_only_store_hashes_and_answers(store: Store, theirs: Path) -> None:
    adopt(store, theirs, link=False)
    touch(theirs)
    note = (store.layout.borrowed / DIGEST.hex).read_bytes()
    store.layout.ingest.rename(store.root / "away")  # as good as read-only, for root too
    assert content(StoreReader(store.root)) == CONTENT
    assert (store.layout.borrowed / DIGEST.hex).read_bytes() == note


def test_taking_the_same_bytes_in_makes_the_blob_ours(store: Store, theirs: Path, tmp_path: Path) -> None:
    adopt(store, theirs, link=False)
    file = tmp_path / "mine"
    file.write_bytes(CONTENT)
    with SourceFile(file) as source, store.session("create") as session:
        assert session.take(source, check=lambda _: None) == DIGEST
        store.link(
            "mine:latest",
            write_manifest(session, DIGEST, len(CONTENT)),
            source="create",
            linked=NOW,
            replace_rule=Replace.ANYTHING,
        )
    theirs.unlink()
    assert content(store) == CONTENT


def test_a_strangers_notes_lead_nowhere(store: Store, theirs: Path) -> None:
    class Bundle(StoreReader):
        follows_notes = False

    adopt(store, theirs, link=False)
    bundle = Bundle(store.root)
    assert not bundle.has(DIGEST)
    assert bundle.note_about(DIGEST) is None
    with pytest.raises(NotFound, match="missing from the store"):
        bundle.open_blob(BLOB)
