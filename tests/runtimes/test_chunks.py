"""Chunks, held against h11, which writes and reads them too."""

from __future__ import annotations

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtimes.chunks import ChunkParser

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def written(pieces: list[bytes]) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def read(data: bytes, cuts: list[int]) -> tuple[bytes, bool]:
    parser, body, at = ChunkParser(), b"", 0
    for cut in [*sorted(cuts), len(data)]:
        body += parser.feed(data[at:cut])
        at = max(at, cut)
    return body, parser.ended


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=6), st.lists(st.integers(0, 300), max_size=12))
def test_any_body_in_pieces_of_any_size(pieces: list[bytes], cuts: list[int]) -> None:
    assert read(written(pieces), cuts) == (b"".join(pieces), True)


@given(st.lists(st.binary(min_size=1, max_size=9), max_size=3), st.data())
def test_a_body_that_is_cut_has_not_ended(pieces: list[bytes], data: st.DataObject) -> None:
    whole = written(pieces)
    end = data.draw(st.integers(0, len(whole) - 1))
    body, ended = read(whole[:end], [])
    assert not ended
    assert b"".join(pieces).startswith(body)


@given(
    st.lists(st.sampled_from([b"0", b"3", b"a", b"A", b";", b"x", b" ", b"\r", b"\n", b"\r\n"]), max_size=12)
)
def test_what_h11_takes_is_taken_so_and_nothing_else(parts: list[bytes]) -> None:
    data = b"".join(parts)
    theirs, ours = by_h11(data), by_us(data)
    if theirs is not None:
        assert ours == theirs


def by_us(data: bytes) -> tuple[bytes, bool] | None:
    try:
        return read(data, [])
    except h11.RemoteProtocolError:
        return None


def by_h11(data: bytes) -> tuple[bytes, bool] | None:
    connection, body = h11.Connection(h11.CLIENT), b""
    connection.send(h11.Request(method="GET", target="/", headers=[("Host", "x"), ("Connection", "close")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(HEAD + data)
    try:
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA or type(event) is h11.EndOfMessage:
                return body, event is not h11.NEED_DATA
            if type(event) is h11.Data:
                body += event.data
    except h11.RemoteProtocolError:
        return None


def test_extensions_and_trailers_are_passed_over() -> None:
    assert read(b"3;a=b\r\nabc\r\n0\r\nx: y\r\n\r\n", []) == (b"abc", True)


@pytest.mark.parametrize("bad", [b"x\r\n", b"-1\r\n", b"\r\n", b"1\r\nab", b"1" * 17 + b"\r\n", b"1" * 5000])
def test_what_are_no_chunks_is_refused(bad: bytes) -> None:
    with pytest.raises(h11.RemoteProtocolError):
        ChunkParser().feed(bad)
