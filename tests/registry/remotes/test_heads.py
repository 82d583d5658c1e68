"""Beginnings that are known, and the streams that read them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import pytest

from registry.digest import Digest
from registry.errors import MalformedFile
from registry.remotes.base import Blob, Changed, TryAgain
from registry.remotes.heads import MAX_HEADS_BYTES, Heads
from registry.remotes.peeking import Peek
from registry.remotes.retry import Patience

DATA = bytes(range(256)) * 40_000
BLOB = Blob(digest=Digest.of(DATA), size=len(DATA))
HEAD = DATA[:1000]


@dataclass
class Part:
    """A body as a source gives it."""

    start: int
    data: bytes
    validator: str | None
    closed: list[int]

    def __iter__(self) -> Iterator[bytes]:
        for at in range(0, len(self.data), 4096):
            yield self.data[at : at + 4096]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closed.append(self.start)


@dataclass
class Source:
    """A place with one blob, which notes what it was asked for."""

    shown: str = "a place"
    validator: str | None = '"1"'
    ranges: bool = True
    failures: int = 0
    asked: list[tuple[int, int]] = field(default_factory=list)
    closed: list[int] = field(default_factory=list)

    def open(self, blob: Blob, start: int, stop: int, validator: str | None = None) -> Part:
        self.asked.append((start, stop))
        if self.failures:
            self.failures -= 1
            raise TryAgain("not now")
        if validator is not None and validator != self.validator:
            raise Changed("something else")
        begin = start if self.ranges else 0
        return Part(begin, DATA[begin:stop], self.validator, self.closed)


def known(source: Source) -> Heads:
    heads = Heads(source)
    heads.keep(BLOB, HEAD, '"1"')
    return heads


def read(heads: Heads, start: int, stop: int, validator: str | None = None) -> tuple[int, bytes, str | None]:
    with heads.open(BLOB, start, stop, validator) as body:
        return body.start, b"".join(body), body.validator


def test_what_is_known_is_not_asked_for() -> None:
    source = Source()
    heads = known(source)
    assert read(heads, 0, 400) == (0, DATA[:400], '"1"')
    assert read(heads, 400, 5000, '"1"') == (400, DATA[400:5000], '"1"')
    assert read(heads, 5000, 6000) == (5000, DATA[5000:6000], '"1"')
    assert source.asked == [(1000, 5000), (5000, 6000)]
    assert source.closed == [1000, 5000]
    assert heads.shown == "a place"


def test_who_asks_twice_gets_it_from_the_source() -> None:
    source = Source()
    heads = known(source)
    assert read(heads, 0, 400)[1] == read(heads, 0, 400)[1] == DATA[:400]
    assert read(heads, 400, 800)[1] == DATA[400:800]
    assert source.asked == [(0, 400), (400, 800)]


def test_another_state_of_the_content_is_asked_for() -> None:
    source = Source(validator='"2"')
    heads = known(source)
    with pytest.raises(Changed):
        heads.open(BLOB, 0, 5000)
    assert read(heads, 0, 5000) == (0, DATA[:5000], '"2"')
    source = Source(validator='"2"')
    assert read(known(source), 0, 400, '"2"') == (0, DATA[:400], '"2"')
    assert source.asked == [(0, 400)]


def test_a_source_without_ranges_gives_it_all() -> None:
    source = Source(ranges=False)
    assert read(known(source), 0, 5000) == (0, DATA[:5000], '"1"')
    assert source.asked == [(1000, 5000)]


def test_what_fails_may_be_asked_again() -> None:
    source = Source(failures=1)
    heads = known(source)
    with pytest.raises(TryAgain):
        heads.open(BLOB, 0, 5000)
    assert read(heads, 0, 5000)[1] == DATA[:5000]


def test_there_is_an_end_to_what_is_remembered() -> None:
    source = Source()
    heads = Heads(source)
    other = Blob(digest=Digest.of(b"other"), size=MAX_HEADS_BYTES)
    heads.keep(other, bytes(MAX_HEADS_BYTES - 999), None)
    heads.keep(BLOB, HEAD, None)
    assert read(heads, 0, 10)[1] == DATA[:10]
    assert source.asked == [(0, 10)]


def test_a_header_is_read_by_ranges_that_grow() -> None:
    source = Source()
    stream = Peek(source, BLOB, first_bytes=1000)
    assert stream.read(500) == DATA[:500]
    assert stream.read(1000) == DATA[500:1000]  # as much as is there, like any raw stream
    assert stream.read(1000) == DATA[1000:2000]
    assert source.asked == [(0, 1000), (1000, 3000)]
    assert (stream.fetched_bytes, stream.requests, stream.head) == (3000, 2, DATA[:3000])
    stream.seek(9000)
    assert stream.read(10) == DATA[9000:9010]
    assert source.asked[2:] == [(9000, 13000)]
    assert stream.head == DATA[:3000]
    stream.seek(-5, 2)
    assert (stream.read(100), stream.read(100)) == (DATA[-5:], b"")


def test_a_header_survives_what_passes_and_ignored_ranges() -> None:
    patience = Patience(attempts=3, sleep=lambda _: None)
    stream = Peek(Source(failures=2), BLOB, first_bytes=1000, patience=patience)
    assert stream.read(1000) == DATA[:1000]
    stream = Peek(Source(ranges=False), BLOB, first_bytes=1000)
    stream.seek(5000)
    assert stream.read(10) == DATA[5000:5010]


def test_a_header_that_changes_meanwhile_is_refused() -> None:
    source = Source()
    stream = Peek(source, BLOB, first_bytes=10)
    stream.read(10)
    source.validator = '"2"'
    with pytest.raises(Changed):
        stream.read(10)


def test_a_header_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.remotes.peeking._LIMIT_BYTES", 10_000)
    stream = Peek(Source(), BLOB, first_bytes=5000)
    with pytest.raises(MalformedFile, match="no end"):
        list(iter(lambda: stream.read(5000), b""))
    assert stream.fetched_bytes < 30_000
