from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtimes.errors import EngineSpokeNonsense
from runtimes.sse import ServerSentEvent, SseParser


def parse(*pieces: bytes) -> list[ServerSentEvent]:
    parser = SseParser()
    return [event for piece in pieces for event in parser.feed(piece)]


@pytest.mark.parametrize(
    ("stream", "data"),
    [
        (b"data: one\n\ndata: two\n\n", ["one", "two"]),
        (b"data:one\r\n\r\ndata: two\r\n\r\n", ["one", "two"]),
        (b"data: one\r\rdata: two\r\r", ["one", "two"]),
        (b"data: a\ndata: b\n\n", ["a\nb"]),
        (b"data:  two blanks\n\n", [" two blanks"]),
        (b": ping\n\ndata: x\n\n", ["x"]),
        (b"data\n\n", [""]),
        (b"id: 7\nretry: 5\ndata: x\n\n", ["x"]),
        (b"\xef\xbb\xbfdata: x\n\n", ["x"]),
        (b"data: cut off by the end\n", []),
        (b"", []),
    ],
)
def test_events(stream: bytes, data: list[str]) -> None:
    assert [event.data for event in parse(stream)] == data


def test_the_name_of_an_event() -> None:
    assert parse(b"event: error\ndata: x\n\ndata: y\n\n") == [
        ServerSentEvent("error", "x"),
        ServerSentEvent("message", "y"),
    ]


@given(
    data=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n")), min_size=1),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    cuts=st.lists(st.integers(0, 300)),
)
def test_pieces_of_any_size_give_the_same_events(data: list[str], end: str, cuts: list[int]) -> None:
    stream = "".join(f"data: {text}{end}{end}" for text in data).encode()
    places = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    pieces = [stream[start:stop] for start, stop in itertools.pairwise(places)]
    assert [event.data for event in parse(*pieces)] == data
    assert parse(*(bytes([byte]) for byte in stream)) == parse(stream)


@given(st.lists(st.binary()))
def test_any_bytes_are_read_without_an_error(pieces: list[bytes]) -> None:
    assert parse(*pieces) == parse(b"".join(pieces))


@pytest.mark.parametrize("filler", [b"data: x\n", b"data: xxxxxxxxx", b"data", b"event: x\n"])
def test_an_event_without_end_is_refused(filler: bytes) -> None:
    parser = SseParser(limit_bytes=1000)
    with pytest.raises(EngineSpokeNonsense):
        parser.feed(b"data: begin\n" + filler * 500)
    parser = SseParser(limit_bytes=1000)
    with pytest.raises(EngineSpokeNonsense):
        list(map(parser.feed, [b"data: begin\n", *[filler] * 500]))


def test_comments_may_go_on_for_ever() -> None:
    parser = SseParser(limit_bytes=100)
    for _ in range(1000):
        assert parser.feed(b": ping\n\n: ping\n") == []
    assert [event.data for event in parser.feed(b"data: x\n\n")] == ["x"]
