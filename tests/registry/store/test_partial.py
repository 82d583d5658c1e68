"""Partial blobs, what is believed of their journals, and who looks after them."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.digest import Digest
from registry.errors import NoSpace
from registry.remotes.base import Blob
from registry.store import journal as journals
from registry.store.findings import Scope
from registry.store.journal import Journal
from registry.store.keeper import Keeper
from registry.store.partial import Partial
from registry.store.spans import Spans
from registry.store.store import Session, Store
from registry.store.usage import usage_of
from registry.store.verify import verify
from registry.transfer import space
from tests.registry.store.models import add

DATA = random.Random(0).randbytes(100_000)
DIGEST = Digest.of(DATA)
SIZE = len(DATA)

ranges = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=12)


@given(ranges)
def test_spans_are_the_set_of_their_bytes(spans: list[tuple[int, int]]) -> None:
    found = Spans(spans)
    expected = {offset for start, stop in spans for offset in range(start, stop)}
    assert {offset for start, stop in found for offset in range(start, stop)} == expected
    assert found.total == len(expected)
    pairs = list(found)
    assert all(stop < following for (_, stop), (following, _) in itertools.pairwise(pairs))
    assert {offset for start, stop in found.gaps(50) for offset in range(start, stop)} == {
        offset for offset in range(50) if offset not in expected
    }
    for offset in range(61):
        end = found.end_from(offset)
        assert all(each in expected for each in range(offset, end))
        assert end not in expected


@given(ranges, ranges)
def test_what_a_journal_says_is_read_back(done: list[tuple[int, int]], kept: list[tuple[int, int]]) -> None:
    written = Journal(done=Spans([*done, *kept]), kept=Spans(kept), state=("a b\n", '"\\"ü'))
    raw = written.to_bytes(DIGEST, 60, this_boot="b")
    assert Journal.parse(raw, DIGEST, 60, this_boot="b") == written
    after = Journal.parse(raw, DIGEST, 60, this_boot="c")
    assert after.done == after.kept == written.kept


def test_a_journal_that_ends_anywhere_says_no_more_than_the_whole() -> None:
    whole = Journal(done=Spans([(0, 10), (20, 30), (40, 50)]), kept=Spans([(0, 5)]), state=("s", '"v"'))
    raw = whole.to_bytes(DIGEST, 60, this_boot="b")
    for length in range(len(raw)):
        for torn in (raw[:length], raw[:length] + bytes(len(raw) - length), raw[:length] + b"\xff\n"):
            found = Journal.parse(torn, DIGEST, 60, this_boot="b")
            assert all(whole.done.covers(start, stop) for start, stop in found.done)
            assert found.state in {None, ("s", '"v"')}


@given(st.binary(max_size=200))
def test_no_journal_does_harm(raw: bytes) -> None:
    header = journals.header_line(DIGEST, 60, "b")
    for text in (raw, header + raw, header + b"done " + raw + b"\n", header + b"kept " + raw + b"\n"):
        found = Journal.parse(text, DIGEST, 60, this_boot="b")
        assert all(0 <= start < stop <= 60 for start, stop in found.done)


@pytest.mark.parametrize(("digest", "size"), [(Digest.of(b"x"), 60), (DIGEST, 61)])
def test_the_journal_of_another_blob_says_nothing(digest: Digest, size: int) -> None:
    raw = Journal(done=Spans([(0, 10)])).to_bytes(DIGEST, 60, this_boot="b")
    assert Journal.parse(raw, digest, size, this_boot="b") == Journal()


@pytest.fixture
def store(tmp_path: Path) -> Keeper:
    return Keeper(tmp_path / "store")


@contextlib.contextmanager
def opened(store: Store, purpose: str = "test") -> Iterator[tuple[Session, Partial]]:
    with store.session(purpose) as session:
        session.expect([DIGEST])
        partial = session.partial(DIGEST, SIZE)
        assert partial is not None
        try:
            yield session, partial
        finally:
            partial.release()


def names(store: Store) -> list[str]:
    return sorted(path.name for path in store.layout.ingest.iterdir())


def leave(store: Store, *spans: tuple[int, int], kept: int = 0) -> None:
    """A partial with these parts, the first `kept` of which were flushed."""
    with opened(store) as (_, partial):
        for number, (start, stop) in enumerate(spans):
            partial.write(start, DATA[start:stop])
            partial.note(start, stop)
            if number + 1 == kept:
                partial.checkpoint()


def test_one_at_a_time(store: Keeper) -> None:
    with opened(store) as (session, first):
        assert session.partial(DIGEST, SIZE) is None
        first.write(0, DATA[:10])
        first.note(0, 10)
        assert session.bytes_done(DIGEST, SIZE) == 10
    with opened(store) as (_, second):
        assert list(second.done) == [(0, 10)]


def test_a_partial_without_any_part_leaves_nothing(store: Keeper) -> None:
    with opened(store):
        pass
    with opened(store) as (_, partial):
        partial.write(0, b"not noted")
    assert names(store) == []


def test_it_becomes_the_blob(store: Keeper) -> None:
    with opened(store) as (session, partial):
        partial.write(50_000, DATA[50_000:])
        partial.note(50_000, SIZE)
        partial.write(0, DATA[:50_000])
        session.finish(partial)
        assert store.layout.blob(DIGEST).read_bytes() == DATA
        assert names(store) == []
        again = session.partial(DIGEST, SIZE)
        assert again is not None
        again.finished()
        again.release()
        assert store.layout.blob(DIGEST).read_bytes() == DATA
        assert names(store) == []


def test_after_a_start_of_the_system_only_what_was_flushed_is_believed(
    store: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(store, (0, 10), (20, 30), (40, 50), kept=2)
    with monkeypatch.context() as patch:
        patch.setattr("registry.store.partial.boot", lambda: "another")
        with opened(store) as (_, partial):
            assert list(partial.done) == [(0, 10), (20, 30)]
            assert partial.unflushed_bytes == 0
    with opened(store) as (_, partial):  # and that is what the journal says from then on
        assert list(partial.done) == [(0, 10), (20, 30)]


def test_where_the_system_does_not_tell_only_what_was_flushed_is_believed(
    store: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.store.partial.boot", lambda: "")
    leave(store, (0, 10), (20, 30), kept=1)
    with opened(store) as (_, partial):
        assert list(partial.done) == [(0, 10)]


def test_what_lies_beyond_the_end_of_the_file_is_not_believed(store: Keeper) -> None:
    leave(store, (0, 30), kept=1)
    os.truncate(store.layout.ingest / f"{DIGEST.hex}.partial", 20)
    with opened(store) as (_, partial):
        assert list(partial.done) == [(0, 20)]


def test_a_partial_without_its_journal_begins_anew(store: Keeper) -> None:
    leave(store, (0, 30))
    (store.layout.ingest / f"{DIGEST.hex}.journal").unlink()
    with opened(store) as (_, partial):
        assert not partial.done
        assert partial.path.stat().st_size == 0


def test_what_is_begun_anew_is_another_file(store: Keeper) -> None:
    with opened(store) as (session, old):
        old.write(0, b"wrong")
        old.note(0, 5)
        new = old.restarted()
        old.write(0, b"late!")  # of a thread that did not hear of it
        old.note(0, 5)
        old.checkpoint()
        assert session.partial(DIGEST, SIZE) is None
        new.write(0, DATA)
        new.note(0, SIZE)
        session.finish(new)
        new.release()
    assert store.layout.blob(DIGEST).read_bytes() == DATA
    assert names(store) == []


def test_what_cannot_be_begun_anew_leaves_nothing_of_the_attempt(
    store: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(store) as (_, partial):
        partial.write(0, b"wrong")
        partial.note(0, 5)

        def refuse(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(Path, "rename", refuse)
        with pytest.raises(OSError, match="No space"):
            partial.restarted()
        monkeypatch.undo()
        assert [name for name in names(store) if name.endswith(".new")] == []


def test_gc_leaves_partials_and_gc_all_takes_those_nobody_holds(store: Keeper) -> None:
    leave(store, (0, 10))
    kept = store.collect()
    assert kept.garbage == ()
    assert kept.crashed_bytes >= 10
    with opened(store):
        assert store.collect(everything=True).garbage == ()
        assert len(names(store)) == 2
    with store.session("waits for it") as session:
        session.expect([DIGEST])
        assert store.collect(everything=True).garbage == ()
    swept = store.collect(everything=True)
    assert [each.kind for each in swept.garbage] == ["temporary", "temporary"]
    assert names(store) == []


def test_gc_takes_what_is_left_of_partials_that_are_gone(store: Keeper) -> None:
    store.prepare()
    for name in (f"{DIGEST.hex}.journal", f"{DIGEST.hex}.partial.new", f"{DIGEST.hex}.journal.new"):
        (store.layout.ingest / name).write_bytes(b"x")
    assert len(store.collect().garbage) == 3
    assert names(store) == []


def test_verify_and_df_know_them(store: Keeper) -> None:
    add(store, "m:latest", b"whole")
    leave(store, (0, 10))
    report = verify(store, Scope(), keeper=store)
    assert [(each.kind, each.path.suffix) for each in report.findings if each.path is not None] == [
        ("temporary", ".journal"),
        ("temporary", ".partial"),
    ]
    usage = usage_of(store)
    journal = (store.layout.ingest / f"{DIGEST.hex}.journal").stat().st_size
    assert usage.temporary == 10 + journal


def fail(store: Store, purpose: str, *blobs: bytes, partials: bool = False) -> None:
    """A resumable session that puts blobs in, and fails."""
    with contextlib.suppress(ZeroDivisionError), store.session(purpose, resumable=True) as session:
        session.expect([DIGEST] if partials else [])
        for blob in blobs:
            session.put(blob)
        if partials:
            partial = session.partial(DIGEST, SIZE)
            assert partial is not None
            partial.write(0, DATA[:10])
            partial.note(0, 10)
            partial.release()
        raise ZeroDivisionError


def leases(store: Store) -> int:
    return len(list(store.layout.leases.iterdir()))


def test_what_a_resumable_session_left_stays_until_one_succeeds(store: Keeper) -> None:
    fail(store, "pull m", b"old", partials=True)
    fail(store, "pull other", b"theirs")
    assert store.has(Digest.of(b"old"))
    assert store.collect().garbage == ()
    with store.session("pull m", resumable=True) as session:
        session.put(b"new")
    assert not store.has(Digest.of(b"old"))
    assert store.has(Digest.of(b"theirs"))
    assert names(store) == []
    assert leases(store) == 1


def test_failures_do_not_pile_up_leases(store: Keeper) -> None:
    fail(store, "pull m", b"1")
    fail(store, "pull m", b"1", b"2")
    assert leases(store) == 1
    fail(store, "pull m", b"3")
    assert leases(store) == 2  # one that lists what the other does not
    assert all(store.has(Digest.of(each)) for each in (b"1", b"2", b"3"))
    fail(store, "pull m")
    assert leases(store) == 2
    store.collect(everything=True)
    assert leases(store) == 0
    assert not store.has(Digest.of(b"1"))


def test_what_another_session_of_the_purpose_holds_stays(store: Keeper) -> None:
    with store.session("pull m", resumable=True) as running:
        running.put(b"running")
        with store.session("pull m", resumable=True):
            pass
        assert store.has(Digest.of(b"running"))
        assert leases(store) == 1


def test_room_is_counted_without_what_is_there(store: Keeper) -> None:
    add(store, "m:latest", b"here")
    blobs = [Blob(digest=Digest.of(b"here"), size=4), Blob(digest=DIGEST, size=SIZE)]
    assert space.needed(store, blobs) == SIZE
    leave(store, (0, SIZE // 2))
    assert SIZE // 2 - 8192 <= space.needed(store, blobs) <= SIZE // 2 + 8192
    space.check_space(store, blobs)
    with pytest.raises(NoSpace, match=r"takes \d+ bytes, and the disk of"):
        space.check_space(store, [Blob(digest=Digest.of(b"huge"), size=1 << 60)])
    space.check_space(Store(store.root / "not" / "yet"), blobs)
