"""A file that somebody else writes into the store by its path: a blob when it is kept, gone when it is not."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from registry.digest import Digest
from registry.errors import MalformedFile, NoSpace
from registry.manifest import Descriptor
from registry.store.ingest import Progress
from registry.store.room import free_bytes
from registry.store.store import Store

DATA = b"weights" * 100_000


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def files_in(store: Store) -> list[Path]:
    return [*store.layout.ingest.iterdir(), *store.layout.blobs.iterdir()]


def counted() -> tuple[list[int], Progress]:
    counts: list[int] = []
    return counts, counts.append


def test_what_a_child_wrote_becomes_a_blob(store: Store) -> None:
    seen: list[bytes] = []
    with store.session("test") as session:
        with session.draft(len(DATA)) as draft:
            program = f"open({str(draft.path)!r}, 'r+b').write({b'weights'!r} * 100_000)"
            subprocess.run([sys.executable, "-c", program], check=True)
            counts, progress = counted()
            digest, size = draft.keep(
                check=lambda fd: seen.append(Path(f"/dev/fd/{fd}").read_bytes()), progress=progress
            )
            assert not draft.path.exists()
        assert (digest, size, seen, sum(counts)) == (Digest.of(DATA), len(DATA), [DATA], len(DATA))
        with store.open_blob(Descriptor(media_type="", digest=digest, size=size)) as stream:
            assert stream.read() == DATA
        assert store.layout.blob(digest).stat().st_mode & 0o777 == 0o444
    assert list(store.layout.ingest.iterdir()) == []


def test_what_is_not_kept_is_gone(store: Store) -> None:
    with store.session("test") as session, session.draft(10) as draft:
        draft.path.write_bytes(b"for a moment")
        assert files_in(store) == [draft.path]
    assert files_in(store) == []


def test_what_fails_leaves_nothing(store: Store) -> None:
    def interrupted(path: Path) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), store.session("test") as session, session.draft(10) as draft:
        interrupted(draft.path)
    assert files_in(store) == []


def test_a_check_that_refuses_keeps_it_out(store: Store) -> None:
    def refuse(fd: int) -> None:
        assert Path(f"/dev/fd/{fd}").read_bytes() == b""
        raise MalformedFile("no model")

    with pytest.raises(MalformedFile), store.session("test") as session, session.draft(10) as draft:
        draft.keep(check=refuse)
    assert files_in(store) == []


def test_a_disk_without_room_is_told_before_a_byte_is_written(store: Store) -> None:
    store.prepare()
    size = free_bytes(store.root) + (1 << 40)
    with pytest.raises(NoSpace), store.session("test") as session, session.draft(size):
        pytest.fail("there is no room")
    assert files_in(store) == []


def test_a_disk_that_fills_meanwhile_is_no_space(store: Store) -> None:
    with pytest.raises(NoSpace), store.session("test") as session, session.draft(10):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert files_in(store) == []


def test_the_same_bytes_again_are_the_same_blob(store: Store) -> None:
    with store.session("test") as session:
        first = session.put(b"bytes")
        with session.draft(5) as draft:
            draft.path.write_bytes(b"bytes")
            digest, _ = draft.keep(check=lambda _: None)
        assert digest == first
        assert len(files_in(store)) == 1
