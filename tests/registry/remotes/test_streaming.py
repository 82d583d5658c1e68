"""Blobs that pass from one remote to another."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest

from registry.errors import DigestMismatch
from registry.remotes.base import TryAgain
from registry.remotes.http import HttpClient
from registry.remotes.streaming import StreamedBlob
from tests.fakes.registry import FakeRegistry, fake_registry, ranged
from tests.fakes.wire import Request, reply
from tests.registry.remotes.made import BLOB, DATA, at
from tests.registry.remotes.rigs import PATH, blob_of, client_in, remote_at

PART = 10_000


@pytest.fixture
def http() -> Iterator[HttpClient]:
    with client_in() as client:
        yield client


def streamed(fake: FakeRegistry, http: HttpClient) -> StreamedBlob:
    return StreamedBlob(remote_at(fake, http), blob_of(DATA), part_bytes=PART)


def test_it_can_be_read_from_any_offset_and_again(http: HttpClient) -> None:
    with fake_registry() as fake:
        fake.put_blob(PATH, DATA)
        blob = streamed(fake, http)
        for offset in (0, PART - 1, PART, 1, len(DATA) - 1, len(DATA), 0):
            with blob.open_at(offset) as stream:
                assert stream.read() == DATA[offset:]


def test_who_reads_a_little_is_sent_a_little(http: HttpClient) -> None:
    with fake_registry() as fake:
        fake.put_blob(PATH, DATA)
        with streamed(fake, http).open_at(500) as stream:
            assert stream.read(100) == DATA[500:600]
        (request,) = fake.requests
        assert request.headers["range"] == f"bytes=500-{500 + PART - 1}"


def test_a_registry_that_knows_no_ranges_is_asked_once(http: HttpClient) -> None:
    with fake_registry(at(BLOB, reply(200, DATA))) as fake:
        with streamed(fake, http).open_at(500) as stream:
            assert stream.read() == DATA[500:]
        assert len(fake.requests) == 2  # what lies behind the first part is asked for in one piece


@pytest.mark.parametrize("place", [0, PART, len(DATA) - 1])
def test_other_bytes_are_never_given_to_their_end(http: HttpClient, place: int) -> None:
    other = DATA[:place] + bytes([DATA[place] ^ 1]) + DATA[place + 1 :]

    def lie(request: Request) -> bytes | None:
        return ranged(request, other) if request.path.endswith(BLOB) else None

    with fake_registry(lie) as fake, streamed(fake, http).open_at(0) as stream:
        got: list[bytes] = []
        with pytest.raises(DigestMismatch):
            got.extend(iter(partial(stream.read, 1000), b""))
        assert len(b"".join(got)) < len(DATA)


def test_bytes_that_are_read_again_after_a_failure_are_hashed_once(http: HttpClient) -> None:
    """As an upload does it, which the target's registry has less of than was sent."""
    cut: list[Request] = []

    def fail(request: Request) -> bytes | None:
        if request.headers.get("range", "").startswith(f"bytes={2 * PART}-") and len(cut) < 2:
            cut.append(request)
            return b""
        return None

    with fake_registry(fail) as fake:
        fake.put_blob(PATH, DATA)
        blob = streamed(fake, http)
        with pytest.raises(TryAgain), blob.open_at(0) as stream:
            stream.read()
        with blob.open_at(PART // 2) as stream:
            assert stream.read() == DATA[PART // 2 :]
        assert len(cut) == 2  # a connection that was left idle is replaced once, without a word
