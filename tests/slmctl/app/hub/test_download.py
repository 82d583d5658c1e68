"""Whole repositories into a store: the hub as a source of downloads, well-behaved and hostile.

Rows 1, 3, 4, 7, 8 and 22 of serving.md section 6, as far as they concern the hub and its CDN.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from registry.digest import Digest
from registry.errors import BadContent, DigestMismatch, SlmctlError, Unauthorized
from registry.names import parse
from registry.remotes.http import HttpClient, HttpSettings
from registry.remotes.hub_refusals import HubAccess
from registry.remotes.huggingface import HuggingFaceRemote
from registry.store.store import Replace, Store
from registry.transfer.download import Wanted, download
from registry.transfer.pace import Pace, Patience
from slmctl.app.hub.build import build
from slmctl.app.hub.repository import HubRepository
from slmctl.app.package import Package
from slmctl.app.packaging import write_model
from tests.fakes.hub import FakeHub, serve_hub
from tests.fakes.wire import Request, reply

NAME = "hf.co/org/model:Q8_0"
QUICK = Pace(
    connections=4, chunk_bytes=64 << 10, patience=Patience(attempts=3, first_seconds=0.01, most_seconds=0.02)
)


@pytest.fixture(scope="module")
def weights(tiny_model: Path) -> bytes:
    return tiny_model.read_bytes() + bytes(3 << 20)  # engines accept more behind the last tensor


@pytest.fixture
def fake(weights: bytes) -> Iterator[FakeHub]:
    files = {"m-Q8_0.gguf": weights, "README.md": b"---\nlicense: mit\n---\n", "LICENSE": b"free"}
    with serve_hub({"org/model": files}) as served:
        served.private, served.tokens = {"org/model"}, {"hf_secret"}
        yield served


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def pull(store: Store, fake: FakeHub, pace: Pace = QUICK) -> Package:
    """What a pull does: build, download, manifest, name."""
    ref = parse(NAME)
    access = HubAccess(endpoint=fake.endpoint, token="hf_secret", token_from="HF_TOKEN")
    with HttpClient(HttpSettings(stall_timeout=5)) as http, store.session("pull") as session:
        remote = HuggingFaceRemote(http, access, ref.path)
        repository = HubRepository(remote, remote.resolve(ref))
        made = build(session, repository, repository.choose().variant)
        download(session, [Wanted(blob=blob, sources=(repository.source,)) for blob in made.wanted], pace)
        descriptor = write_model(session, [made.build])
        store.link(
            ref.full_name,
            descriptor,
            source=repository.listing.pinned,
            linked="2026-01-01T00:00:00Z",
            replace_rule=Replace.NOTHING,
        )
    return Package.open(store, ref)


def nothing_visible(store: Store, weights: bytes) -> bool:
    return not store.layout.blob(Digest.of(weights)).exists() and not store.names().entries


def test_a_repository_becomes_a_model(store: Store, fake: FakeHub, weights: bytes) -> None:
    package = pull(store, fake)
    (variant,) = package.variants
    assert (package.name, variant.id, variant.licenses, variant.local) == (NAME, "gguf-q8_0", ("mit",), True)
    assert store.layout.blob(variant.weights[0].digest).read_bytes() == weights
    assert package.source == f"hf://org/model@{fake.commit}:Q8_0"
    assert {request.headers["host"] for request in fake.requests} == {fake.hub.place}
    assert all(request.headers["authorization"] == "Bearer hf_secret" for request in fake.requests)
    assert not any(b"hf_secret" in request.raw_head for request in fake.cdn.requests)


def test_no_byte_of_the_weights_comes_twice(store: Store, fake: FakeHub, weights: bytes) -> None:
    pull(store, fake)
    ranges = [request.headers["range"].removeprefix("bytes=").split("-") for request in fake.cdn.requests]
    came = sorted((int(first), int(last) + 1) for first, last in ranges)
    assert [start for start, _ in came] == [0, *[stop for _, stop in came[:-1]]]
    assert came[-1][1] == len(weights)


def test_addresses_that_expire_on_the_way_cost_no_byte(store: Store, fake: FakeHub, weights: bytes) -> None:
    seen = 0

    def expires(request: Request) -> bytes | None:
        nonlocal seen
        if "Signature" in request.target:
            seen += 1
            if seen % 20 == 0:
                fake.signature = str(seen)
        return None

    fake.override = expires
    pull(store, fake, replace(QUICK, chunk_bytes=8 << 10))
    assert store.layout.blob(Digest.of(weights)).exists()
    signatures = {request.target for request in fake.cdn.requests}
    assert len(signatures) > 2
    resolves = [request for request in fake.requests if "m-Q8_0.gguf" in request.path]
    assert len(resolves) == len(signatures)  # whoever comes second waits for the first one's address


def test_other_bytes_of_the_same_length_are_never_visible(
    store: Store, fake: FakeHub, weights: bytes
) -> None:
    fake.served["m-Q8_0.gguf"] = weights[:-64] + bytes(64)[:63] + b"x"
    with pytest.raises(DigestMismatch) as caught:
        pull(store, fake)
    assert Digest.of(weights).hex in caught.value.message
    assert nothing_visible(store, weights)


def test_a_cdn_that_ignores_ranges_gives_one_stream(store: Store, fake: FakeHub, weights: bytes) -> None:
    fake.ranges = False
    pull(store, fake)
    assert store.layout.blob(Digest.of(weights)).read_bytes() == weights


def test_content_that_keeps_changing_ends(store: Store, fake: FakeHub, weights: bytes) -> None:
    count = 0

    def flips(request: Request) -> bytes | None:
        nonlocal count
        count += "Signature" in request.target
        fake.cdn_etag["m-Q8_0.gguf"] = f'"{count}"'
        return None

    fake.override = flips
    with pytest.raises(BadContent):
        pull(store, fake)
    assert nothing_visible(store, weights)
    assert count < 100


def test_without_etags_the_digest_alone_decides(store: Store, fake: FakeHub, weights: bytes) -> None:
    fake.cdn_etag["m-Q8_0.gguf"] = None
    pull(store, fake)
    assert store.layout.blob(Digest.of(weights)).exists()


def test_a_busy_cdn_is_asked_again(store: Store, fake: FakeHub, weights: bytes) -> None:
    answers = [reply(503), reply(429, b"", {"Retry-After": "0"}), reply(500)]
    fake.override = lambda request: answers.pop() if answers and "Signature" in request.target else None
    pull(store, fake)
    assert answers == []


def test_a_cdn_that_never_lets_us_in_ends(store: Store, fake: FakeHub, weights: bytes) -> None:
    fake.override = lambda request: reply(403, b"<html>no</html>") if "Signature" in request.target else None
    with pytest.raises(Unauthorized, match="refuses it twice"):
        pull(store, fake)
    assert nothing_visible(store, weights)
    assert len(fake.cdn.requests) == 2


def test_a_token_that_is_taken_away_on_the_way(store: Store, fake: FakeHub, weights: bytes) -> None:
    def revoked(request: Request) -> bytes | None:
        if "Signature" in request.target:
            fake.tokens, fake.signature = set(), "new"
        return None

    fake.override = revoked
    with pytest.raises(SlmctlError) as caught:
        pull(store, fake)
    assert isinstance(caught.value, Unauthorized)
    assert caught.value.message == "The hub does not know the token in HF_TOKEN."
    assert len(fake.requests) < 20
