"""Parts of files: what an answer must be to be taken for the part that was asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from registry.errors import BadContent, SizeMismatch
from registry.remotes.base import Changed, TryAgain
from registry.remotes.http import HttpClient, HttpSettings
from registry.remotes.network import NOTHING
from registry.remotes.ranges import RangedBody, range_headers, ranged_body
from tests.fakes.wire import reply, serve

DATA = bytes(range(200))
SIZE = len(DATA)


@pytest.fixture(scope="module")
def http() -> Iterator[HttpClient]:
    with HttpClient(HttpSettings(stall_timeout=2)) as client:
        yield client


def taken(
    http: HttpClient, answer: bytes, start: int, stop: int, validator: str | None = None
) -> tuple[int, bytes]:
    def body_of(url: str) -> RangedBody:
        given = http.send("GET", url)
        try:
            return ranged_body(
                given, start=start, stop=stop, size=SIZE, validator=validator, shown="The file"
            )
        except BaseException:
            given.close()
            raise

    def script(_: object, wire: object) -> None:
        wire.send(answer)  # type: ignore[attr-defined]
        wire.close()  # type: ignore[attr-defined]

    with serve(script) as server, body_of(f"{server.url}/x") as body:
        return body.start, b"".join(body)


def part(
    first: int,
    last: int,
    total: object = SIZE,
    data: bytes | None = None,
    headers: Mapping[str, str] = NOTHING,
) -> bytes:
    described = {"Content-Range": f"bytes {first}-{last}/{total}", **headers}
    return reply(206, DATA[first : last + 1] if data is None else data, described)


@pytest.mark.parametrize(
    ("answer", "start", "stop", "expected"),
    [
        (part(10, 19), 10, 20, (10, DATA[10:20])),
        (part(10, 19, "*"), 10, 20, (10, DATA[10:20])),
        (reply(200, DATA), 10, 20, (0, DATA[:20])),
        (reply(200, DATA), 0, SIZE, (0, DATA)),
        (reply(200, DATA, length=None), 0, SIZE, (0, DATA)),
        (reply(200, DATA, {"Content-Encoding": "identity"}), 0, 5, (0, DATA[:5])),
        (part(0, 0), 0, 1, (0, DATA[:1])),
    ],
)
def test_what_was_asked_for_is_taken(
    http: HttpClient, answer: bytes, start: int, stop: int, expected: tuple[int, bytes]
) -> None:
    assert taken(http, answer, start, stop) == expected


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (part(10, 19, SIZE + 1), SizeMismatch),
        (part(10, 19, 0), SizeMismatch),
        (part(11, 19), BadContent),
        (part(9, 18), BadContent),
        (part(10, 20), BadContent),
        (part(10, 9), BadContent),
        (reply(206, DATA[10:20]), BadContent),
        (reply(206, DATA[10:20], {"Content-Range": "bytes 10-19"}), BadContent),
        (reply(206, DATA[10:20], {"Content-Range": "bytes */200"}), BadContent),
        (reply(206, DATA[10:20], {"Content-Range": "lines 10-19/200"}), BadContent),
        (reply(206, b"", {"Content-Type": "multipart/byteranges; boundary=x"}), BadContent),
        (part(10, 19, data=DATA[10:21]), SizeMismatch),
        (part(10, 19, data=DATA[10:15]), TryAgain),
        (part(10, 14), TryAgain),
        (reply(200, DATA + b"x"), SizeMismatch),
        (reply(200, DATA[:-1]), SizeMismatch),
        (reply(200, b"version https://git-lfs.github.com/spec/v1\n"), SizeMismatch),
        (reply(200, DATA, {"Content-Encoding": "gzip"}), BadContent),
        (part(10, 19, headers={"Content-Encoding": "br"}), BadContent),
    ],
)
def test_what_was_not_asked_for_is_refused(http: HttpClient, answer: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        taken(http, answer, 10, 20)


@pytest.mark.parametrize(
    ("etag", "ok"),
    [('"1"', True), ('"2"', False), ('W/"2"', True), ("../x", True), (None, True)],
)
@pytest.mark.parametrize("status", [200, 206])
def test_a_strong_etag_tells_that_it_changed(
    http: HttpClient, etag: str | None, ok: bool, status: int
) -> None:
    headers = {} if etag is None else {"ETag": etag}
    answer = part(10, 19, headers=headers) if status == 206 else reply(200, DATA, headers)
    if ok:
        assert taken(http, answer, 10, 20, '"1"')[1].endswith(DATA[10:20])
    else:
        with pytest.raises(Changed):
            taken(http, answer, 10, 20, '"1"')


def test_what_is_asked() -> None:
    assert range_headers(0, 200, 200, '"1"') == {"Accept-Encoding": "identity"}
    assert range_headers(10, 20, 200, None)["Range"] == "bytes=10-19"
    assert range_headers(10, 200, 200, '"1"')["If-Range"] == '"1"'
    for start, stop in ((-1, 5), (5, 4), (0, 201)):
        with pytest.raises(ValueError, match="cannot be asked for"):
            range_headers(start, stop, 200, None)
