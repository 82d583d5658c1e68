"""Registries that lie about blobs: serving.md section 6 rows 3, 4 and 6 as far as they are a registry's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from registry.digest import Digest
from registry.errors import (
    BadContent,
    SizeMismatch,
    Unauthorized,
)
from registry.remotes.base import Blob, Changed, TryAgain
from registry.remotes.http import HttpClient
from tests.fakes.registry import FakeRegistry, Trick, error, fake_registry, ranged
from tests.fakes.wire import Request, reply
from tests.registry.remotes.made import BLOB, DATA, at
from tests.registry.remotes.rigs import PATH, blob_of, client_in, remote_at


@pytest.fixture
def http() -> Iterator[HttpClient]:
    with client_in() as client:
        yield client


# --- blobs: rows 3, 4 and 6 as far as they are a registry's


def opened(
    fake: FakeRegistry, http: HttpClient, start: int, stop: int, validator: str | None = None
) -> tuple[int, bytes]:
    with remote_at(fake, http).open(blob_of(DATA), start, stop, validator) as body:
        return body.start, b"".join(body)


def test_a_range_that_is_ignored_starts_at_nothing_and_gives_no_more_than_asked(http: HttpClient) -> None:
    with fake_registry(at(BLOB, reply(200, DATA))) as fake:
        assert opened(fake, http, 1000, 2000) == (0, DATA[:2000])


@pytest.mark.parametrize(
    "span",
    ["bytes 0-999/102400", "bytes 1001-2000/102400", "bytes 1000-2000/102400", "bytes 1000-1999/102401",
     "bytes 1000-1999/5", "bytes */102400", "", "bytes 1000-", "items 1000-1999/102400", "bytes 1999-1000/102400",
     "bytes 1000-1999/" + "9" * 30],
)  # fmt: skip
def test_a_wrong_content_range_is_never_spliced(http: HttpClient, span: str) -> None:
    headers = {"Content-Range": span} if span else {}
    with fake_registry(at(BLOB, reply(206, DATA[1000:2000], headers))) as fake, pytest.raises(BadContent):
        opened(fake, http, 1000, 2000)


def test_a_part_of_the_part_is_an_early_end(http: HttpClient) -> None:
    span = {"Content-Range": f"bytes 1000-1499/{len(DATA)}"}
    with fake_registry(at(BLOB, reply(206, DATA[1000:1500], span))) as fake, pytest.raises(TryAgain):
        opened(fake, http, 1000, 2000)


@pytest.mark.parametrize("body", [DATA[:-1], DATA + b"x", b"<html>a captive portal</html>"])
def test_a_whole_of_another_size_is_refused_before_its_first_byte(http: HttpClient, body: bytes) -> None:
    with fake_registry(at(BLOB, reply(200, body))) as fake, pytest.raises(SizeMismatch):
        remote_at(fake, http).open(blob_of(DATA), 0, len(DATA))


def test_an_endless_whole_ends_at_the_size(http: HttpClient) -> None:
    endless = reply(200, DATA + b"x" * 100_000, length=None)
    with fake_registry(at(BLOB, endless)) as fake, pytest.raises(SizeMismatch):
        opened(fake, http, 0, len(DATA))


def test_too_few_bytes_by_the_manifest_are_a_wrong_size(http: HttpClient) -> None:
    short = Blob(digest=Digest.of(DATA), size=len(DATA) * 2)
    with fake_registry() as fake:
        fake.put_blob(PATH, DATA)
        with pytest.raises(SizeMismatch):
            remote_at(fake, http).open(short, len(DATA), len(DATA) * 2)
        with pytest.raises(SizeMismatch):
            remote_at(fake, http).open(short, 5, 10)


def test_an_encoding_that_nobody_asked_for_is_refused(http: HttpClient) -> None:
    answer = reply(200, DATA, {"Content-Encoding": "gzip"})
    with fake_registry(at(BLOB, answer)) as fake, pytest.raises(BadContent):
        opened(fake, http, 0, len(DATA))
    assert fake.requests[0].headers["accept-encoding"] == "identity"


def test_content_that_changes_between_parts_is_noticed(http: HttpClient) -> None:
    """Whether the server honours If-Range (and gives the whole) or not (and gives the part of something else)."""
    for honest in (True, False):
        states = iter(['"first"', '"second"'])

        def flip(request: Request, states: Iterator[str] = states, honest: bool = honest) -> bytes | None:
            if not request.path.endswith(BLOB):
                return None
            state = next(states)
            asked_for = request if honest else Request(
                method="GET", target=request.target, raw_head=b"", body=b"", connection=0,
                headers={"range": request.headers["range"]},
            )  # fmt: skip
            return ranged(asked_for, DATA, state)

        with fake_registry(flip) as fake:
            remote = remote_at(fake, http)
            with remote.open(blob_of(DATA), 0, 1000) as body:
                validator = body.validator
                assert b"".join(body) == DATA[:1000]
            assert validator == '"first"'
            with pytest.raises(Changed):
                remote.open(blob_of(DATA), 1000, 2000, validator)


@pytest.mark.parametrize("etag", ['W/"x"', "unquoted", "", '"a\tb"', '"' + "x" * 600 + '"'])
def test_a_weak_or_strange_etag_says_nothing(http: HttpClient, etag: str) -> None:
    with (
        fake_registry(at(BLOB, reply(200, DATA, {"ETag": etag}))) as fake,
        remote_at(fake, http).open(blob_of(DATA), 0, len(DATA)) as body,
    ):
        assert body.validator is None


def test_412_is_a_change(http: HttpClient) -> None:
    with fake_registry(at(BLOB, reply(412))) as fake, pytest.raises(Changed):
        opened(fake, http, 5, 10, '"x"')


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_what_may_pass_says_how_long_to_wait(http: HttpClient, status: int) -> None:
    answer = reply(status, b"", {"Retry-After": "7"})
    with fake_registry(at(BLOB, answer)) as fake, pytest.raises(TryAgain) as caught:
        opened(fake, http, 5, 10)
    assert caught.value.after == 7
    assert len(fake.requests) == 1  # blobs are the transfer's to try again


class Store:
    """A store of blobs whose signed addresses expire."""

    def __init__(self) -> None:
        self.valid: set[str] = set()
        self.given = 0

    def redirect(self, url: str, *, valid: bool = True) -> Trick:
        def trick(request: Request) -> bytes | None:
            if not request.path.endswith(BLOB):
                return None
            self.given += 1
            if valid:
                self.valid.add(f"/signed/{self.given}")
            return reply(307, b"", {"Location": f"{url}/signed/{self.given}"})

        return trick

    def serve(self, request: Request) -> bytes | None:
        return ranged(request, DATA) if request.path in self.valid else error(403, "EXPIRED")


def test_a_signed_address_is_used_until_it_expires_and_the_registry_is_then_asked_once(
    http: HttpClient,
) -> None:
    store = Store()
    with fake_registry(store.serve) as cdn, fake_registry() as fake:
        fake.tricks.append(store.redirect(cdn.server.url))
        remote = remote_at(fake, http)
        whole = b""
        for start in range(0, 5000, 1000):
            if start == 3000:
                store.valid.clear()
            with remote.open(blob_of(DATA), start, start + 1000) as body:
                assert body.start == start
                whole += b"".join(body)
        assert whole == DATA[:5000]
        assert len(fake.requests) == 2
        assert [request.path for request in cdn.requests] == ["/signed/1"] * 4 + ["/signed/2"] * 2
        assert [request.headers["range"] for request in cdn.requests][3:5] == ["bytes=3000-3999"] * 2


def test_an_address_that_is_always_expired_is_no_loop(http: HttpClient) -> None:
    store = Store()
    with fake_registry(store.serve) as cdn, fake_registry() as fake:
        fake.tricks.append(store.redirect(cdn.server.url, valid=False))
        with pytest.raises(Unauthorized, match="refuses it twice"):
            opened(fake, http, 5, 10)
        assert (len(fake.requests), len(cdn.requests)) == (2, 2)
