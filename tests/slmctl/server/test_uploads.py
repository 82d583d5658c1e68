"""Blobs that came before the model that they are part of."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.requests import ClientDisconnect

from registry.digest import Digest
from registry.errors import DigestMismatch, NoSpace, NotFound, SizeMismatch
from registry.store import ingest
from registry.store.leases import find_leases
from registry.store.store import Store
from slmctl.server.uploads import Uploads

DATA = b"some of a model" * 1000
DIGEST = Digest.of(DATA)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    found = Store(tmp_path / "store")
    found.prepare()
    return found


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def pieces() -> Iterator[bytes]:
    for start in range(0, len(DATA), 1000):
        yield DATA[start : start + 1000]


def leftovers(store: Store) -> list[Path]:
    return [path for folder in ("ingest", "leases") for path in (store.root / folder).iterdir()]


@pytest.mark.parametrize("size", [len(DATA), None])
def test_what_came_stays_until_a_model_names_it_or_nobody_does(store: Store, size: int | None) -> None:
    clock = Clock()
    uploads = Uploads(kept_seconds=60.0, clock=clock)
    uploads.receive(store, DIGEST, size, pieces())
    assert store.has(DIGEST)
    assert [lease.held for lease in find_leases(store.layout.leases)] == [True]
    store.free([DIGEST])
    assert store.has(DIGEST)
    clock.now = 59.0
    uploads.give_up_old(store)
    assert store.has(DIGEST)
    uploads.keep(store, DIGEST)  # somebody asked for it again
    clock.now = 118.0
    uploads.give_up_old(store)
    assert store.has(DIGEST)
    clock.now = 119.0
    uploads.give_up_old(store)
    assert not store.has(DIGEST)
    assert leftovers(store) == []


@pytest.mark.parametrize("size", [len(DATA), None])
def test_other_bytes_are_not_taken_in(store: Store, size: int | None) -> None:
    other = Digest.of(b"other")
    with pytest.raises(DigestMismatch) as caught:
        Uploads().receive(store, other, size, pieces())
    assert isinstance(caught.value, ingest.OtherDigest)
    assert (caught.value.wanted, caught.value.found) == (other, DIGEST)
    assert not store.has(other)
    assert leftovers(store) == []


def test_another_number_of_bytes_than_was_said_is_not_taken_in(store: Store) -> None:
    for size in (len(DATA) - 1, len(DATA) + 1):
        with pytest.raises(SizeMismatch):
            Uploads().receive(store, DIGEST, size, pieces())
        assert not store.has(DIGEST)
    assert leftovers(store) == []


@pytest.mark.parametrize("size", [len(DATA), None])
def test_a_client_that_leaves_leaves_nothing(store: Store, size: int | None) -> None:
    def broken() -> Iterator[bytes]:
        yield DATA[:1000]
        raise ClientDisconnect

    with pytest.raises(ClientDisconnect):
        Uploads().receive(store, DIGEST, size, broken())
    assert leftovers(store) == []


def test_what_the_disk_has_no_room_for_is_told(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NoSpace):
        Uploads().receive(store, DIGEST, 1 << 60, pieces())

    def full(fd: int, data: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(ingest, "write_all", full)
    with pytest.raises(NoSpace):
        Uploads().receive(store, DIGEST, None, pieces())
    monkeypatch.undo()
    assert leftovers(store) == []


def test_two_who_send_the_same_are_both_right(store: Store) -> None:
    uploads = Uploads()
    threads = [
        threading.Thread(target=uploads.receive, args=(store, DIGEST, size, pieces()))
        for size in (None, len(DATA), None)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.has(DIGEST)
    uploads.named(store, [DIGEST])  # as if a model named it; none does, so it goes
    assert not store.has(DIGEST)
    assert leftovers(store) == []


def test_a_server_that_ends_leaves_the_rest_to_gc(store: Store) -> None:
    uploads = Uploads()
    uploads.receive(store, DIGEST, None, pieces())
    uploads.close()
    uploads.close()
    assert store.has(DIGEST)
    assert list(find_leases(store.layout.leases)) == []


def test_what_is_not_there_cannot_be_kept(store: Store) -> None:
    with pytest.raises(NotFound):
        Uploads().keep(store, DIGEST)
    assert leftovers(store) == []
