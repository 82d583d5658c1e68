"""The client of the load tests tells apart what becomes of a request, against answers that are written by hand."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from tests.load.lanes import ABORTS, Address, Asked, Lane, ask
from tests.load.wire import AnswerReader, Broken

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
TOKEN = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"completion_tokens":2}}\n\n'
DONE = b"data: [DONE]\n\n"
FAILED = b'data: {"error":{"message":"no"}}\n\n'


def chunked(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)


WHOLE = HEAD + chunked(TOKEN, TOKEN + USAGE, DONE) + b"0\r\n\r\n"


@contextmanager
def answering(*answers: bytes) -> Iterator[Address]:
    """A server that gives each connection the next answer, and closes it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            for answer in answers:
                connection, _ = listening.accept()
                with connection:
                    connection.settimeout(10)
                    try:
                        seen = b""
                        while b"{}" not in seen and (piece := connection.recv(65536)):
                            seen += piece
                        connection.sendall(answer)
                    except OSError:
                        continue

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[:2]
        thread.join(10)


def outcomes(*answers: bytes, aborts: Sequence[str] = ()) -> list[Asked]:
    with answering(*answers) as address:
        lane = Lane(
            name="x", address=address, bodies=["{}"], requests=len(answers), aborts=tuple(aborts), silence=10
        )
        return ask(lane)["x"]


def test_what_becomes_of_a_request_is_told_apart() -> None:
    refusal = b'{"error":{"message":"busy"}}'
    refused = b"HTTP/1.1 503 Busy\r\nContent-Length: %d\r\n\r\n%s" % (len(refusal), refusal)
    found = outcomes(
        WHOLE,
        WHOLE[:-3],
        HEAD + chunked(TOKEN) + b"0\r\n\r\n",
        HEAD + chunked(TOKEN, FAILED) + b"0\r\n\r\n",
        HEAD + chunked(TOKEN, b"data: {\n\n", DONE) + b"0\r\n\r\n",
        refused,
        b"HTTP/1.1 500 No\r\nContent-Length: 4\r\n\r\noops",
        b"",
        b"hello\r\n\r\n",
    )
    assert [each.outcome for each in found] == [
        "whole", "broken", "broken", "error", "broken", "error", "broken", "refused", "broken",
    ]  # fmt: skip
    assert (found[0].pieces, found[0].generated) == (2, 2)
    assert found[0].first is not None
    assert found[3].said == {"error": {"message": "no"}}
    assert found[5].status == 503


def test_a_client_goes_away_at_the_stage_that_was_asked_for() -> None:
    found = outcomes(*[WHOLE[:-5]] * 6 + [HEAD + chunked(TOKEN, TOKEN, TOKEN, TOKEN)], aborts=ABORTS)
    assert {each.said for each in found} == set(ABORTS)
    assert {each.outcome for each in found} == {"aborted"}


@pytest.mark.parametrize("size", [1, 2, 3, 7, 10_000])
def test_an_answer_is_read_in_pieces_of_any_size(size: int) -> None:
    reader, body = AnswerReader(), b""
    for at in range(0, len(WHOLE), size):
        assert not reader.whole
        body += reader.feed(WHOLE[at : at + size])
    assert reader.whole
    assert reader.stays
    assert body == TOKEN + TOKEN + USAGE + DONE


@pytest.mark.parametrize("end", range(0, len(WHOLE), 5))
def test_an_answer_that_is_cut_is_not_whole(end: int) -> None:
    reader = AnswerReader()
    reader.feed(WHOLE[:end])
    with pytest.raises(Broken):
        reader.close()


def test_bytes_behind_an_answer_break_it() -> None:
    with pytest.raises(Broken):
        AnswerReader().feed(WHOLE + b"x")
