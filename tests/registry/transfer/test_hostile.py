"""Downloads over real HTTP from a registry that misbehaves: ../shared/reference/serving.md section 6, rows 1 to 5 and
7 to 9, as far as the transfer has to do with them."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from registry.digest import Digest
from registry.errors import BadContent, DigestMismatch, SlmctlError, Unreachable
from registry.names import parse
from registry.remotes.base import Blob, Changed
from registry.remotes.credentials import Keyring
from registry.remotes.http import HttpClient, HttpSettings
from registry.remotes.oci import OciRemote
from registry.remotes.registries import Registries
from registry.store.store import Store
from registry.transfer.download import Wanted, download
from registry.transfer.events import Retrying, TransferEvent
from registry.transfer.pace import Pace, Patience
from tests.fakes.wire import Request, Wire, reply
from tests.registry.transfer.blob_server import BlobServer, blob_server

MIB = 1 << 20
CHUNK = 256 << 10
CONNECTIONS = 3
PACE = Pace(
    connections=CONNECTIONS,
    chunk_bytes=CHUNK,
    patience=Patience(attempts=4, first_seconds=0.001, most_seconds=0.002),
)
DATA = random.Random(0).randbytes(2 * MIB + 12_345)
DIGEST = Digest.of(DATA)
BLOB = Blob(digest=DIGEST, size=len(DATA))


class Pull:
    """Downloads DATA from servers, the later ones being mirrors, and keeps what was told."""

    def __init__(self, store: Store, http: HttpClient) -> None:
        self.store = store
        self.http = http
        self.events: list[TransferEvent] = []

    def remote(self, server: BlobServer) -> OciRemote:
        registries = Registries(http=self.http, keyring=Keyring((), search_path="", helper_environment={}))
        return registries.oci(parse(server.name))

    def __call__(self, *servers: BlobServer, pace: Pace = PACE) -> None:
        wanted = Wanted(blob=BLOB, sources=tuple(self.remote(server) for server in servers))
        with self.store.session("pull m", resumable=True) as session:
            download(session, [wanted], pace, self.events.append)

    @property
    def is_whole(self) -> bool:
        path = self.store.layout.blob(DIGEST)
        return path.exists() and path.read_bytes() == DATA

    @property
    def retries(self) -> list[Retrying]:
        return [event for event in self.events if isinstance(event, Retrying)]


@pytest.fixture
def pull(tmp_path: Path) -> Iterator[Pull]:
    settings = HttpSettings(connect_timeout=5.0, stall_timeout=0.5, stall_bytes=1024)
    with HttpClient(settings) as http:
        yield Pull(Store(tmp_path / "store"), http)


@pytest.fixture
def server() -> Iterator[BlobServer]:
    with blob_server(DATA) as running:
        yield running


def span(request: Request) -> tuple[int, int]:
    """The range that was asked for, as offsets; all of it where none was."""
    text = request.headers.get("range", f"bytes=0-{len(DATA) - 1}").removeprefix("bytes=")
    start, _, last = text.partition("-")
    return int(start), int(last) + 1


def content_range(start: int, stop: int, size: int = len(DATA)) -> str:
    return f"bytes {start}-{stop - 1}/{size}"


@contextmanager
def liar(tampered: bytes) -> Iterator[BlobServer]:
    """A registry that has other bytes of the same length under the digest."""
    with blob_server() as running:
        running.contents = {DIGEST: tampered}
        yield running


def test_row_1_wrong_bytes(pull: Pull, server: BlobServer) -> None:
    wrong = bytes([DATA[0] ^ 1]) + DATA[1:]
    with liar(wrong) as other:
        with pytest.raises(DigestMismatch) as caught:
            pull(other)
        assert str(DIGEST) in caught.value.message
        assert str(Digest.of(wrong)) in caught.value.message
        assert list(pull.store.layout.blobs.iterdir()) == []
        assert list(pull.store.layout.ingest.iterdir()) == []
        pull(other, server)
        assert pull.is_whole
        assert server.served == len(DATA)


@pytest.mark.parametrize("how", ["close", "reset"])
def test_row_2_the_connection_ends_every_100_000_bytes(pull: Pull, server: BlobServer, how: str) -> None:
    cuts = 0
    lock = threading.Lock()

    def end(request: Request, wire: Wire) -> bool:
        nonlocal cuts
        start, stop = span(request)
        if stop - start <= 100_000:
            return False
        with lock:
            cuts += 1
        headers = {"Content-Range": content_range(start, stop)}
        wire.send(reply(206, b"", headers, length=stop - start))
        server.give(memoryview(DATA)[start : start + 100_000], wire)
        getattr(wire, how)()
        return True

    server.instead = end
    pull(server)
    assert pull.is_whole
    assert cuts >= len(DATA) // CHUNK
    assert server.served <= len(DATA) + cuts * CHUNK
    if how == "close":  # nothing that was sent is lost then
        assert server.served == len(DATA)


def test_row_3_ranges_are_ignored(pull: Pull, server: BlobServer) -> None:
    def whole(request: Request, wire: Wire) -> bool:
        wire.send(reply(200, b"", length=len(DATA)))
        server.give(memoryview(DATA), wire)
        return True

    server.instead = whole
    pull(server)
    assert pull.is_whole
    assert sum(span(request) == (0, len(DATA)) for request in server.requests) == 1


WRONG_RANGES: dict[str, Callable[[int, int], bytes]] = {
    "another start": lambda start, stop: reply(206, DATA[start:stop], {"Content-Range": content_range(start + 1, stop + 1)}),
    "another end": lambda start, stop: reply(206, DATA[start:stop], {"Content-Range": content_range(start, stop - 1)}),
    "another total": lambda start, stop: reply(206, DATA[start:stop], {"Content-Range": content_range(start, stop, len(DATA) + 1)}),
    "none": lambda start, stop: reply(206, DATA[start:stop]),
    "nonsense": lambda start, stop: reply(206, DATA[start:stop], {"Content-Range": "bytes all of them"}),
    "416": lambda _start, _stop: reply(416, b"", {"Content-Range": f"bytes */{len(DATA)}"}),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG_RANGES)
def test_row_3_wrong_ranges_are_never_spliced(pull: Pull, server: BlobServer, wrong: str) -> None:
    """From the second chunk on: the first answer is in order."""
    with blob_server(DATA) as mirror:

        def answer(request: Request, wire: Wire) -> bool:
            start, stop = span(request)
            if start == 0:
                return False
            wire.send(WRONG_RANGES[wrong](start, stop))
            return True

        server.instead = answer
        if wrong == "another end":  # a server may send less than was asked for
            pull(server)
        else:
            with pytest.raises(SlmctlError):
                pull(server)
            assert not pull.is_whole
            pull(server, mirror)
        assert pull.is_whole


def test_row_4_the_content_changes_between_parts(pull: Pull, server: BlobServer) -> None:
    changes = iter(['"1"', '"1"', '"2"'])

    def answer(request: Request, wire: Wire) -> bool:
        start, stop = span(request)
        tag = next(changes, '"2"')
        if request.headers.get("if-range", tag) != tag:
            wire.send(reply(200, b"", {"ETag": tag}, length=len(DATA)))
            server.give(memoryview(DATA), wire)
        else:
            headers = {"ETag": tag, "Content-Range": content_range(start, stop)}
            wire.send(reply(206, b"", headers, length=stop - start))
            server.give(memoryview(DATA)[start:stop], wire)
        return True

    server.instead = answer
    pull(server, pace=Pace(connections=1, chunk_bytes=CHUNK, patience=PACE.patience))
    assert pull.is_whole
    assert len(pull.retries) == 1
    starts = [span(request)[0] for request in server.requests]
    assert starts.count(0) == 2


def test_row_4_the_content_changes_all_the_time(pull: Pull, server: BlobServer) -> None:
    counted = iter(range(1000))

    def answer(request: Request, wire: Wire) -> bool:
        start, stop = span(request)
        headers = {"ETag": f'"{next(counted)}"', "Content-Range": content_range(start, stop)}
        wire.send(reply(206, DATA[start:stop], headers))
        return True

    server.instead = answer
    with pytest.raises(Changed):
        pull(server)
    assert not pull.is_whole
    assert len(server.requests) <= 4 * CONNECTIONS


LENGTHS: dict[str, Callable[[bytes, dict[str, str]], bytes]] = {
    "one more": lambda part, headers: reply(206, part, headers, length=len(part) + 1),
    "one less": lambda part, headers: reply(206, part, headers, length=len(part) - 1),
    "zero": lambda part, headers: reply(206, part, headers, length=0),
    "negative": lambda part, headers: reply(206, part, headers, length=-5),
    "two": lambda part, headers: reply(206, part, [*headers.items(), ("Content-Length", "7")]),
    "huge": lambda part, headers: reply(206, part, headers, length=1 << 62),
    "a byte too many": lambda part, headers: reply(206, part + b"x", headers, length=len(part) + 1),
}


@pytest.mark.parametrize("lie", LENGTHS)
def test_row_5_lies_about_the_length(pull: Pull, server: BlobServer, lie: str) -> None:
    """It ends, with an error or the right bytes, and the next source is asked."""

    def answer(request: Request, wire: Wire) -> bool:
        start, stop = span(request)
        wire.send(LENGTHS[lie](DATA[start:stop], {"Content-Range": content_range(start, stop)}))
        wire.close()
        return True

    server.instead = answer
    with pytest.raises((BadContent, Unreachable)):
        pull(server)
    assert not pull.is_whole
    with blob_server(DATA) as mirror:
        pull(server, mirror)
    assert pull.is_whole


def test_row_5_no_length_is_none_to_lie_about(pull: Pull, server: BlobServer) -> None:
    def answer(request: Request, wire: Wire) -> bool:
        start, stop = span(request)
        headers = {"Content-Range": content_range(start, stop), "Connection": "close"}
        wire.send(reply(206, DATA[start:stop], headers, length=None))
        wire.close()
        return True

    server.instead = answer
    pull(server)
    assert pull.is_whole


def test_row_7_the_token_expires_in_the_middle(pull: Pull, server: BlobServer) -> None:
    """Every token is good for three requests; none is asked for twice, and no byte is fetched twice."""
    issued = 0
    uses: dict[str, int] = {}
    lock = threading.Lock()

    def answer(request: Request, wire: Wire) -> bool:
        nonlocal issued
        if request.path == "/token":
            with lock:
                issued += 1
                token = f"t{issued}"
            wire.send(reply(200, f'{{"token":"{token}","expires_in":3600}}'.encode()))
            return True
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        with lock:
            uses[token] = uses.get(token, 0) + 1
            good = token and uses[token] <= 3
        if good:
            return False
        realm = f'Bearer realm="{server.url}/token",service="s",scope="repository:t/m:pull"'
        wire.send(reply(401, b"", {"WWW-Authenticate": realm}))
        return True

    server.instead = answer
    pull(server, pace=Pace(connections=1, chunk_bytes=CHUNK, patience=PACE.patience))
    assert pull.is_whole
    assert server.served == len(DATA)
    assert issued == -(-len(server.asked) // 3)


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_row_8_a_burst_of_refusals(pull: Pull, server: BlobServer, status: int) -> None:
    def answer(request: Request, wire: Wire) -> bool:
        if len(server.requests) > 2 * CONNECTIONS:
            return False
        wire.send(reply(status))
        return True

    server.instead = answer
    patience = replace(PACE.patience, attempts=2 * CONNECTIONS + 1)  # they need not fall together
    pull(server, pace=replace(PACE, patience=patience))
    assert pull.is_whole
    assert pull.retries
    assert all(str(status) in retry.reason for retry in pull.retries)


@pytest.mark.parametrize("value", ["0", "Thu, 01 Jan 1970 00:00:00 GMT", "soon", "-7", "1e9", "\u00b2"])
def test_row_8_retry_after_that_asks_for_nothing(pull: Pull, server: BlobServer, value: str) -> None:
    def answer(request: Request, wire: Wire) -> bool:
        if len(server.requests) > CONNECTIONS:
            return False
        wire.send(reply(503, b"", {"Retry-After": value}))
        return True

    server.instead = answer
    pull(server)
    assert pull.is_whole
    assert all(retry.seconds <= 1 for retry in pull.retries)


def test_row_8_retry_after_is_kept_by_all_connections(pull: Pull, server: BlobServer) -> None:
    times: list[float] = []

    def answer(request: Request, wire: Wire) -> bool:
        times.append(time.monotonic())
        if len(times) == 1:
            wire.send(reply(429, b"", {"Retry-After": "1"}))
            return True
        return False

    server.instead = answer
    pull(server, pace=Pace(connections=1, chunk_bytes=CHUNK, patience=PACE.patience))
    assert pull.is_whole
    assert times[1] - times[0] >= 1


def test_row_8_retry_after_beyond_all_patience(pull: Pull, server: BlobServer) -> None:
    def answer(request: Request, wire: Wire) -> bool:
        wire.send(reply(429, b"", {"Retry-After": "1000000000"}))
        return True

    server.instead = answer
    with pytest.raises(Unreachable, match="seconds"):
        pull(server)
    assert len(server.requests) <= CONNECTIONS


@pytest.mark.parametrize("at", [0, 1000, CHUNK - 10])
def test_row_9_a_stall_is_noticed_and_the_part_asked_for_again(
    pull: Pull, server: BlobServer, at: int
) -> None:
    stalled = threading.Event()

    def answer(request: Request, wire: Wire) -> bool:
        start, stop = span(request)
        if start != CHUNK or stalled.is_set():
            return False
        stalled.set()
        wire.send(reply(206, b"", {"Content-Range": content_range(start, stop)}, length=stop - start))
        server.give(memoryview(DATA)[start : start + at], wire)
        wire.hang()
        return True

    server.instead = answer
    pull(server)
    assert pull.is_whole
    assert server.served <= len(DATA) + CHUNK
    assert len(pull.retries) == 1


def test_row_9_a_byte_now_and_then_is_a_stall(pull: Pull, server: BlobServer) -> None:
    dribbled = threading.Event()

    def answer(request: Request, wire: Wire) -> bool:
        start, stop = span(request)
        if start != CHUNK or dribbled.is_set():
            return False
        dribbled.set()
        wire.send(reply(206, b"", {"Content-Range": content_range(start, stop)}, length=stop - start))
        wire.dribble(DATA[start:stop], 0.1)
        return True

    server.instead = answer
    pull(server)
    assert pull.is_whole
    assert len(pull.retries) == 1


def test_row_9_a_source_that_only_dribbles_is_given_up(pull: Pull, server: BlobServer) -> None:
    def answer(request: Request, wire: Wire) -> bool:
        start, stop = span(request)
        wire.send(reply(206, b"", {"Content-Range": content_range(start, stop)}, length=stop - start))
        wire.dribble(DATA[start:stop], 0.1)
        return True

    server.instead = answer
    with pytest.raises(Unreachable):
        pull(server)
