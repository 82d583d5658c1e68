"""The download engine with sources that follow a script, into a real store."""

from __future__ import annotations

import errno
import os
import random
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from registry.digest import Digest
from registry.errors import (
    BadContent,
    DigestMismatch,
    NoSpace,
    NotFound,
    SizeMismatch,
    SlmctlError,
    Unauthorized,
    Unreachable,
)
from registry.manifest import Descriptor
from registry.remotes.base import Blob, BlobSource, Changed, TryAgain
from registry.store.store import Store
from registry.transfer.download import Wanted, download
from registry.transfer.events import Finished, Moved, Present, Resumed, Retrying, TransferEvent
from registry.transfer.pace import Pace, Patience
from tests.processes import until
from tests.registry.transfer.sources import Answer, Request, Source, blob_of, cut

MIB = 1 << 20
QUICK = Patience(attempts=4, first_seconds=0.001, most_seconds=0.002)
PACE = Pace(connections=4, chunk_bytes=MIB, patience=QUICK)


def content(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


class Pull:
    """Downloads, and what was told of it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.events: list[TransferEvent] = []

    def __call__(self, *wanted: tuple[Blob, BlobSource] | Wanted, pace: Pace = PACE) -> None:
        items = [
            each if isinstance(each, Wanted) else Wanted(blob=each[0], sources=(each[1],)) for each in wanted
        ]
        with self.store.session("pull m", resumable=True) as session:
            download(session, items, pace, self.events.append)

    def told(self, kind: type) -> list[TransferEvent]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def reasons(self) -> list[str]:
        return [event.reason for event in self.events if isinstance(event, Retrying)]

    @property
    def counted(self) -> int:
        return sum(event.count for event in self.events if isinstance(event, Moved | Resumed))


@pytest.fixture
def pull(store: Store) -> Pull:
    return Pull(store)


def has(store: Store, data: bytes) -> bool:
    path = store.layout.blob(Digest.of(data))
    return path.exists() and path.read_bytes() == data and path.stat().st_mode & 0o777 == 0o444


def ingest(store: Store) -> list[str]:
    return sorted(path.name for path in store.layout.ingest.iterdir())


@pytest.mark.parametrize("size", [0, 1, MIB - 1, MIB, MIB + 1, 5 * MIB + 7])
def test_a_blob_of_any_size_comes_whole(store: Store, pull: Pull, size: int) -> None:
    data = content(size)
    source = Source().has(data)
    pull((blob_of(data), source))
    assert has(store, data)
    assert ingest(store) == []
    assert list(store.layout.leases.iterdir()) == []
    assert source.served == size
    assert bool(source.requests) == bool(size)
    assert pull.counted == size
    assert pull.told(Finished) == [Finished(blob=blob_of(data))]


def test_several_blobs_come_at_once_over_few_connections(store: Store, pull: Pull) -> None:
    contents = [content(random.Random(seed).randrange(3 * MIB), seed) for seed in range(20)]
    source = Source().has(*contents)
    barrier = threading.Barrier(PACE.connections)  # all connections are in use at once, or it breaks

    def meet(request: Request, answer: Answer) -> None:
        if request.number <= PACE.connections:
            barrier.wait(timeout=30)

    source.script = meet
    pull(*((blob_of(data), source) for data in contents))
    assert all(has(store, data) for data in contents)
    assert source.most_bodies <= PACE.connections
    assert source.served == sum(map(len, contents)) == pull.counted


def test_what_is_there_is_not_asked_for(store: Store, pull: Pull) -> None:
    data = content(2 * MIB)
    source = Source().has(data)
    pull((blob_of(data), source))
    asked = len(source.requests)
    pull((blob_of(data), source))
    assert len(source.requests) == asked
    assert pull.told(Present) == [Present(blob=blob_of(data))]


def test_a_blob_of_another_size_at_the_final_path_is_replaced(store: Store, pull: Pull) -> None:
    data = content(2 * MIB)
    store.prepare()
    store.layout.blob(Digest.of(data)).write_bytes(data[:100])
    pull((blob_of(data), Source().has(data)))
    assert has(store, data)


def test_duplicates_come_once_and_must_agree(store: Store, pull: Pull) -> None:
    data = content(100)
    source = Source().has(data)
    pull((blob_of(data), source), (blob_of(data), source))
    assert len(source.requests) == 1
    with pytest.raises(SizeMismatch, match="100 bytes, and also 101"):
        pull((blob_of(data), source), (Blob(digest=Digest.of(data), size=101), source))


def test_chunks_are_asked_for_in_order(pull: Pull) -> None:
    data = content(9 * MIB)
    source = Source().has(data)
    pull((blob_of(data), source))
    stops = [request.stop for request in source.requests]
    assert [request.start for request in source.requests] == [0, *stops[:-1]]
    assert stops[0] == MIB
    assert stops[-1] == len(data)


def test_a_connection_that_is_cut_again_and_again_costs_no_byte_twice(store: Store, pull: Pull) -> None:
    data = content(8 * MIB)
    source = Source(script=lambda _, answer: cut(answer, MIB // 3)).has(data)
    pull((blob_of(data), source))
    assert has(store, data)
    assert source.served == len(data)
    assert pull.counted == len(data)
    assert "cut" in pull.reasons[0]


def test_a_clean_end_that_comes_early_is_a_cut(store: Store, pull: Pull) -> None:
    data = content(3 * MIB)

    def short(request: Request, answer: Answer) -> None:
        answer.data = answer.data[: len(answer.data) // 2] if request.number % 2 else answer.data

    pull((blob_of(data), Source(script=short).has(data)))
    assert has(store, data)
    assert "ended its answer early" in pull.reasons[0]


def test_a_source_that_never_answers_is_given_up(store: Store, pull: Pull) -> None:
    data = content(3 * MIB)

    def refuse(request: Request, answer: Answer) -> None:
        raise TryAgain("example.com answered 503.")

    source = Source(script=refuse).has(data)
    with pytest.raises(Unreachable, match=r"example\.com answered 503 \(4 times\)\.$"):
        pull((blob_of(data), source))
    assert not has(store, data)
    assert len(source.requests) <= 4 * PACE.connections
    assert pull.told(Retrying)


def test_failures_that_fall_together_count_once(store: Store, pull: Pull) -> None:
    data = content(8 * MIB)
    barrier = threading.Barrier(4)

    def outage(request: Request, answer: Answer) -> None:
        if request.number <= 12:  # three times all four connections, where four failures are too many
            barrier.wait(timeout=30)
            raise TryAgain("example.com answered 502.")

    pull((blob_of(data), Source(script=outage).has(data)))
    assert has(store, data)


@pytest.mark.parametrize(
    ("after", "least"),
    [(0.05, 0.05), (0.0, 0.0), (-1.0, 0.0), (None, 0.0)],
    ids=["some", "0", "past", "none"],
)
def test_what_a_server_asks_for_is_waited(
    store: Store, pull: Pull, after: float | None, least: float
) -> None:
    data = content(100)

    def busy(request: Request, answer: Answer) -> None:
        if request.number == 1:
            raise TryAgain("example.com answered 429.", after=after)

    pull((blob_of(data), Source(script=busy).has(data)))
    assert has(store, data)
    (event,) = (event for event in pull.events if isinstance(event, Retrying))
    assert least <= event.seconds <= least + 1
    assert event.source == "example.com/m"


def test_a_server_that_asks_for_too_long_a_pause_is_given_up(pull: Pull) -> None:
    data = content(100)

    def busy(request: Request, answer: Answer) -> None:
        raise TryAgain("example.com answered 429.", after=1e9)

    with pytest.raises(Unreachable, match="it wants to be asked again in 1000000000 seconds"):
        pull((blob_of(data), Source(script=busy).has(data)))


@pytest.mark.parametrize("error", [NotFound, Unauthorized, Unreachable, BadContent, SizeMismatch])
def test_the_next_source_is_asked_when_one_cannot_give_it(
    store: Store, pull: Pull, error: type[SlmctlError]
) -> None:
    data = content(3 * MIB)

    def refuse(request: Request, answer: Answer) -> None:
        raise error("It will not do.")

    first = Source(script=refuse).has(data)
    second = Source(shown="mirror.example/m").has(data)
    pull(Wanted(blob=blob_of(data), sources=(first, second)))
    assert has(store, data)
    assert len(first.requests) <= PACE.connections
    with pytest.raises(error, match="It will not do"):
        pull(Wanted(blob=blob_of(content(3, 1)), sources=(Source(script=refuse).has(content(3, 1)),)))


def test_the_next_source_goes_on_where_the_first_was(store: Store, pull: Pull) -> None:
    data = content(4 * MIB)

    def dies(request: Request, answer: Answer) -> None:
        if request.start >= 2 * MIB:
            raise Unreachable("It is gone.")

    first, second = Source(script=dies).has(data), Source(shown="mirror").has(data)
    pull(
        Wanted(blob=blob_of(data), sources=(first, second)),
        pace=Pace(connections=1, chunk_bytes=MIB),
    )
    assert has(store, data)
    assert first.served + second.served == len(data)
    assert pull.reasons == ["It is gone."]


def test_wrong_bytes_are_never_visible_and_the_error_names_both_digests(store: Store, pull: Pull) -> None:
    data, wrong = content(3 * MIB), content(3 * MIB, 1)
    source = Source(contents={Digest.of(data): wrong})
    with pytest.raises(DigestMismatch) as caught:
        pull((blob_of(data), source))
    assert str(Digest.of(data)) in caught.value.message
    assert str(Digest.of(wrong)) in caught.value.message
    assert source.shown in caught.value.message
    assert list(store.layout.blobs.iterdir()) == []
    assert ingest(store) == []
    assert pull.counted == 0


def test_after_wrong_bytes_the_next_source_gives_all_of_them(store: Store, pull: Pull) -> None:
    data, wrong = content(3 * MIB), content(3 * MIB, 1)
    first = Source(contents={Digest.of(data): wrong})
    second = Source(shown="mirror").has(data)
    pull(Wanted(blob=blob_of(data), sources=(first, second)))
    assert has(store, data)
    assert second.served == len(data)
    assert pull.counted == len(data)


def test_one_wrong_bit_of_the_first_source_does_not_blame_the_second(store: Store, pull: Pull) -> None:
    """The second had only the rest to give: it is asked for all before it is given up."""
    data = content(4 * MIB)
    wrong = bytes([data[0] ^ 1]) + data[1:]

    def dies(request: Request, answer: Answer) -> None:
        if request.start >= 2 * MIB:
            raise Unreachable("It is gone.")

    first = Source(contents={Digest.of(data): wrong}, script=dies)
    second = Source(shown="mirror").has(data)
    pull(
        Wanted(blob=blob_of(data), sources=(first, second)),
        pace=Pace(connections=1, chunk_bytes=MIB),
    )
    assert has(store, data)
    assert second.served == 6 * MIB


def test_content_that_changes_between_parts_is_fetched_anew_once(store: Store, pull: Pull) -> None:
    data = content(4 * MIB)
    source = Source(validator='"1"').has(data)

    def flip(request: Request, answer: Answer) -> None:
        if request.start == 2 * MIB and source.validator == '"1"':
            source.validator = answer.validator = '"2"'

    source.script = flip
    pull((blob_of(data), source), pace=Pace(connections=1, chunk_bytes=MIB))
    assert has(store, data)
    assert source.served == 6 * MIB
    assert [request.start // MIB for request in source.requests] == [0, 1, 2, 0, 1, 2, 3]
    assert source.requests[1].validator == '"1"'
    assert pull.counted == len(data)


def test_content_that_changes_again_and_again_fails(store: Store, pull: Pull) -> None:
    data = content(12 * MIB)

    def flip(request: Request, answer: Answer) -> None:
        answer.validator = f'"{request.number}"'

    source = Source(script=flip).has(data)
    with pytest.raises(Changed):
        pull((blob_of(data), source))
    assert len(source.requests) <= 3 * PACE.connections


def _ignores_ranges(data: bytes) -> Callable[[Request, Answer], None]:
    def whole(request: Request, answer: Answer) -> None:
        answer.start = 0
        answer.data = data[: request.stop if request.start == 0 else None]

    return whole


def test_a_source_that_ignores_ranges_gives_one_stream(store: Store, pull: Pull) -> None:
    data = content(6 * MIB)
    source = Source(script=_ignores_ranges(data)).has(data)
    pull((blob_of(data), source))
    assert has(store, data)
    assert source.requests[-1].start == 0
    assert source.requests[-1].stop == len(data)
    asked_twice = [request for request in source.requests if request.stop == len(data) and not request.start]
    assert len(asked_twice) == 1
    assert source.served <= len(data) + PACE.connections * MIB
    assert pull.counted == len(data)


def test_what_ignored_ranges_once_is_asked_for_whole_blobs(store: Store, pull: Pull) -> None:
    """Several blobs at once, and one of which a part is here."""
    contents = [content(3 * MIB + seed, seed) for seed in range(5)]
    _leave_partial(store, contents[4], MIB)
    source = Source().has(*contents)

    def whole(request: Request, answer: Answer) -> None:
        data = source.contents[request.blob.digest]
        answer.start = 0
        answer.data = data[: request.stop if request.start == 0 else None]

    source.script = whole
    pull(*((blob_of(data), source) for data in contents))
    assert all(has(store, data) for data in contents)
    streams = [
        request for request in source.requests if (request.start, request.stop) == (0, request.blob.size)
    ]
    assert len(streams) == len(contents)
    assert len(source.requests) <= len(contents) + 2 * PACE.connections
    assert pull.counted == sum(map(len, contents))


def test_all_is_told_in_the_thread_that_asked(store: Store) -> None:
    data = content(3 * MIB)
    threads = []
    with store.session("pull m") as session:
        wanted = [Wanted(blob=blob_of(data), sources=(Source().has(data),))]
        download(session, wanted, PACE, lambda _: threads.append(threading.current_thread()))
    assert set(threads) == {threading.current_thread()}


def test_patience_ends_with_time_too(pull: Pull) -> None:
    data = content(100)

    def refuse(request: Request, answer: Answer) -> None:
        raise TryAgain("example.com answered 503.")

    source = Source(script=refuse).has(data)
    patience = Patience(attempts=10_000, total_seconds=0.1, first_seconds=0.02, most_seconds=0.02)
    with pytest.raises(Unreachable, match="503"):
        pull((blob_of(data), source), pace=Pace(connections=1, patience=patience))
    assert 1 < len(source.requests) < 10_000


def test_a_stream_that_is_cut_begins_anew_and_is_given_up_in_the_end(store: Store, pull: Pull) -> None:
    data = content(4 * MIB)
    whole = _ignores_ranges(data)
    cuts = [MIB, 3 * MIB]

    def cut_streams(request: Request, answer: Answer) -> None:
        whole(request, answer)
        if request.stop == len(data) and request.start == 0 and cuts:
            cut(answer, cuts.pop(0))

    source = Source(script=cut_streams).has(data)
    pull((blob_of(data), source))
    assert has(store, data)

    def always(request: Request, answer: Answer) -> None:
        whole(request, answer)
        cut(answer, min(len(answer.data), 3 * MIB))

    other = content(4 * MIB, 1)
    whole = _ignores_ranges(other)
    with pytest.raises(Unreachable, match="was cut"):
        pull((blob_of(other), Source(script=always).has(other)))


def test_another_part_than_was_asked_for_is_refused(pull: Pull) -> None:
    data = content(3 * MIB)

    def shifted(request: Request, answer: Answer) -> None:
        answer.start += 1

    with pytest.raises(BadContent, match="another part"):
        pull((blob_of(data), Source(script=shifted).has(data)))


def test_more_than_was_asked_for_is_refused(store: Store, pull: Pull) -> None:
    data = content(100)

    def more(request: Request, answer: Answer) -> None:
        answer.data += b"x"

    with pytest.raises(BadContent, match="more"):
        pull((blob_of(data), Source(script=more).has(data)))
    assert ingest(store) == []


def test_a_failed_pull_keeps_what_it_has_for_the_next(store: Store, pull: Pull) -> None:
    small, data = content(100, 1), content(6 * MIB)

    def dies(request: Request, answer: Answer) -> None:
        if request.start == 4 * MIB:
            until(lambda: has(store, small) or None)
            cut(answer, MIB // 2)
            answer.error = Unauthorized("Your token has expired.")

    first = Source(script=dies).has(small, data)
    one = Pace(connections=1, chunk_bytes=MIB, patience=QUICK)
    with pytest.raises(Unauthorized):
        pull((blob_of(small), first), (blob_of(data), first), pace=one)
    assert has(store, small)
    assert ingest(store) == [f"{Digest.of(data).hex}.journal", f"{Digest.of(data).hex}.partial"]
    assert len(list(store.layout.leases.iterdir())) == 1
    second = Source().has(small, data)
    pull((blob_of(small), second), (blob_of(data), second), pace=one)
    assert has(store, data)
    assert first.served + second.served == len(small) + len(data)
    assert ingest(store) == []
    assert list(store.layout.leases.iterdir()) == []


def test_a_partial_with_wrong_bytes_is_fetched_from_the_start(store: Store, pull: Pull) -> None:
    """As it may be after a power cut, whatever the journal says: the digest decides."""
    data = content(4 * MIB)
    store.prepare()
    _leave_partial(store, data, 3 * MIB)
    path = store.layout.ingest / f"{Digest.of(data).hex}.partial"
    with path.open("r+b") as stream:
        stream.write(b"\0" * 4096)
    source = Source().has(data)
    pull((blob_of(data), source))
    assert has(store, data)
    assert source.served == 5 * MIB
    assert pull.counted == len(data)


def test_a_state_that_is_noted_is_asked_for_when_it_goes_on(store: Store, pull: Pull) -> None:
    data = content(4 * MIB)
    _leave_partial(store, data, 2 * MIB, state=("example.com/m", '"old"'))
    source = Source(validator='"new"').has(data)
    pull((blob_of(data), source), pace=Pace(connections=1, chunk_bytes=MIB))
    assert has(store, data)
    assert source.requests[0].validator == '"old"'
    assert source.served == len(data)  # all of it again: what is there was of something else


def _leave_partial(store: Store, data: bytes, size: int, state: tuple[str, str] | None = None) -> None:
    with store.session("pull other") as session:
        session.expect([Digest.of(data)])
        part = session.partial(Digest.of(data), len(data))
        assert part is not None
        part.write(0, data[:size])
        if state is not None:
            part.note_state(*state)
        part.note(0, size)
        part.release()


def test_a_full_disk_ends_it_at_once(
    store: Store, pull: Pull, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    data = content(3 * MIB)
    source = Source().has(data)

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(NoSpace):
            pull((blob_of(data), source))
    assert len(source.requests) <= PACE.connections
    assert pull.reasons == []
    pull((blob_of(data), source))
    assert has(store, data)


def test_an_unforeseen_error_is_not_hidden(pull: Pull) -> None:
    data = content(10)

    def broken(request: Request, answer: Answer) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        pull((blob_of(data), Source(script=broken).has(data)))


def test_a_handler_that_raises_ends_it(store: Store) -> None:
    data = content(3 * MIB)

    def stop(event: TransferEvent) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), store.session("pull m", resumable=True) as session:
        download(session, [Wanted(blob=blob_of(data), sources=(Source().has(data),))], PACE, stop)


def test_a_rate_is_kept(store: Store, pull: Pull) -> None:
    """All connections together: what is waited for follows from the bytes, whatever the machine does."""
    import time

    data = content(2 * MIB)
    begin = time.monotonic()
    pull(
        (blob_of(data), Source().has(data)),
        pace=Pace(connections=4, chunk_bytes=MIB, limit_rate=4 * MIB, patience=QUICK),
    )
    assert time.monotonic() - begin >= 2 / 4 - 0.1


def test_a_session_that_is_not_resumable_leaves_no_blob(store: Store) -> None:
    data, missing = content(100), content(10, 1)

    def refuse(request: Request, answer: Answer) -> None:
        if request.blob == blob_of(missing):
            raise NotFound("It is not there.")

    source = Source(script=refuse).has(data, missing)
    wanted = [Wanted(blob=blob_of(each), sources=(source,)) for each in (data, missing)]
    one = Pace(connections=1, patience=QUICK)
    with pytest.raises(NotFound), store.session("create x") as session:
        download(session, wanted, one)
    assert not store.has(Digest.of(data))
    assert list(store.layout.leases.iterdir()) == []


def test_the_blob_can_be_read_when_it_returns(store: Store, pull: Pull) -> None:
    data = content(1000)
    pull((blob_of(data), Source().has(data)))
    descriptor = Descriptor(media_type="", digest=Digest.of(data), size=len(data))
    assert store.read_blob(descriptor) == data


def test_one_that_is_fast_stays_alone_and_asks_for_more_at_a_time(store: Store, pull: Pull) -> None:
    data = content(22 * MIB)
    source = Source().has(data)
    pull((blob_of(data), source), pace=Pace(connections=16, chunk_bytes=MIB))
    assert [request.start // MIB for request in source.requests] == [0, 1, 5, 21]
    assert source.most_bodies == 1
    assert has(store, data)


def test_what_a_long_request_has_brought_is_kept_when_it_is_cut(store: Store, pull: Pull) -> None:
    data = content(22 * MIB)

    def cut_the_third(request: Request, answer: Answer) -> None:
        if request.number == 3:
            cut(answer, 10 * MIB + 7)
        if request.number == 4:
            raise NotFound("It is gone.")

    pace = Pace(connections=16, chunk_bytes=MIB, patience=QUICK)
    source = Source(script=cut_the_third).has(data)
    with pytest.raises(NotFound):
        pull((blob_of(data), source), pace=pace)
    source.script = None
    pull((blob_of(data), source), pace=pace)
    assert has(store, data)
    assert source.served == len(data)
