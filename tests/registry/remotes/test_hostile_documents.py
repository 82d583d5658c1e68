"""Registries that lie about documents: serving.md section 6 rows 10, 12 and 13, section 5C on digests and manifests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256, sha512

import pytest

from registry.digest import Digest
from registry.errors import (
    BadContent,
    DigestMismatch,
    MalformedFile,
    SizeMismatch,
)
from registry.manifest import MAX_MANIFEST_BYTES, Descriptor, Index
from registry.remotes import tree
from registry.remotes.base import Artifact
from registry.remotes.http import HttpClient
from registry.remotes.tree import MAX_DOCUMENTS, documents_of
from tests.fakes.registry import INDEX, FakeRegistry, Trick, fake_registry
from tests.fakes.wire import reply
from tests.registry.remotes.made import DATA, MANIFEST, RAW, at, described, index, manifest
from tests.registry.remotes.rigs import PATH, asked, client_in, descriptor_of, name_at, remote_at


@pytest.fixture
def http() -> Iterator[HttpClient]:
    with client_in() as client:
        yield client


def resolve(http: HttpClient, *tricks: Trick, name: str = f"{PATH}:v1") -> Artifact:
    with fake_registry(*tricks) as fake:
        return remote_at(fake, http).resolve(name_at(fake, name))


# --- row 10: manifests that are too large, or not what they seem


def padded(size: int) -> bytes:
    raw = manifest(annotations={"pad": ""})
    return raw.replace(b'"pad": ""', b'"pad": "' + b"x" * (size - len(raw)) + b'"')


def test_a_manifest_of_more_than_four_mebibytes_is_taken(http: HttpClient) -> None:
    raw = padded(4_300_000)
    with fake_registry() as fake:
        fake.put(PATH, raw, MANIFEST, "v1")
        assert remote_at(fake, http).resolve(name_at(fake)).document.raw == raw


def test_a_manifest_beyond_the_limit_is_refused_unread(http: HttpClient) -> None:
    """It says 5 GB; nothing of it is sent, and nothing waited for."""
    head = reply(200, b"", {"Content-Type": MANIFEST}, length=5 << 30)
    with pytest.raises(SizeMismatch):
        resolve(http, at("/manifests/v1", head))


def test_a_manifest_without_a_length_is_read_to_the_limit_only(http: HttpClient) -> None:
    body = reply(200, padded(MAX_MANIFEST_BYTES + 1), {"Content-Type": MANIFEST}, length=None)
    with pytest.raises(SizeMismatch):
        resolve(http, at("/manifests/v1", body))


HOSTILE_MANIFESTS: dict[str, bytes] = {
    "30,000 layers": manifest(layers=[described(b"x")] * 30_000),
    "depth 100,000": b'{"schemaVersion": 2, "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "a key twice": manifest().replace(b'"layers"', b'"config": {}, "layers"'),
    "trailing data": manifest() + b"{}",
    "not JSON": b"Please log in to the hotel's network",
    "empty": b"",
    "schema 1": b'{"schemaVersion": 1, "name": "x", "fsLayers": []}',
    "a list": b"[]",
    "layers and manifests": manifest(manifests=[]),
    "no config": manifest(config=None),
    "no layers": json.dumps({"schemaVersion": 2, "config": described(b"{}")}).encode(),
    "layers that are text": manifest(layers="x"),
    "a negative size": manifest(layers=[{**described(b"x"), "size": -1}]),
    "a size that is true": manifest(layers=[{**described(b"x"), "size": True}]),
    "a size of 2**63": manifest(layers=[{**described(b"x"), "size": 1 << 63}]),
    "annotations that are numbers": manifest(annotations={"a": 1}),
    "a manifest that is called an index": manifest(mediaType=INDEX),
    "NUL": manifest().replace(b"{", b"\0{", 1),
}


@pytest.mark.parametrize("raw", HOSTILE_MANIFESTS.values(), ids=HOSTILE_MANIFESTS)
def test_a_document_that_breaks_the_rules_is_refused(http: HttpClient, raw: bytes) -> None:
    with pytest.raises(BadContent):
        resolve(http, at("/manifests/v1", reply(200, raw, {"Content-Type": MANIFEST})))


HOSTILE_DIGESTS = [
    "../../../../etc/x", f"sha256-{'a' * 64}", f"sha256:{'A' * 64}", f"sha256:{'a' * 63}", f"sha256:{'a' * 65}",
    "sha256:%2e%2e", f"md5:{'a' * 32}", "sha256:" + "\u0661" * 64, f"sha256:{'a' * 64}/..", f"sha256:{'a' * 64}\n", "", None, 5,
]  # fmt: skip


@pytest.mark.parametrize("digest", HOSTILE_DIGESTS)
@pytest.mark.parametrize("place", ["config", "layer", "index"])
def test_a_digest_that_is_none_is_refused_wherever_it_stands(
    http: HttpClient, digest: object, place: str
) -> None:
    bad = {"mediaType": MANIFEST, "digest": digest, "size": 5}
    raw = {
        "config": manifest(config=bad),
        "layer": manifest(layers=[bad]),
        "index": json.dumps({"schemaVersion": 2, "manifests": [bad]}).encode(),
    }[place]
    with fake_registry(at("/manifests/v1", reply(200, raw))) as fake:
        with pytest.raises(MalformedFile):
            remote_at(fake, http).resolve(name_at(fake))
        assert asked(fake.requests) == [f"GET /v2/{PATH}/manifests/v1"]


@pytest.mark.parametrize(
    ("content_type", "media_type"),
    [
        (INDEX, MANIFEST),
        ("application/vnd.docker.distribution.manifest.v2+json", MANIFEST),
        ("application/vnd.docker.distribution.manifest.list.v2+json", MANIFEST),
        (f"{INDEX}; charset=utf-8", MANIFEST),
    ],
)
def test_a_document_that_its_header_calls_something_else_is_refused(
    http: HttpClient, content_type: str, media_type: str
) -> None:
    raw = manifest(mediaType=media_type)
    with pytest.raises(MalformedFile):
        resolve(http, at("/manifests/v1", reply(200, raw, {"Content-Type": content_type})))


@pytest.mark.parametrize("content_type", ["text/plain; charset=utf-8", "application/json", "", MANIFEST])
def test_a_header_that_says_nothing_is_no_contradiction(http: HttpClient, content_type: str) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    assert resolve(http, at("/manifests/v1", reply(200, manifest(), headers))).root.media_type == MANIFEST


def test_foreign_addresses_in_a_manifest_are_not_asked(http: HttpClient) -> None:
    with fake_registry() as evil, fake_registry() as fake:
        layer = {**described(DATA), "urls": [f"{evil.server.url}/x", "file:///etc/passwd"]}
        fake.put(PATH, manifest(layers=[layer]), MANIFEST, "v1")
        fake.put_blob(PATH, DATA)
        remote = remote_at(fake, http)
        document = remote.resolve(name_at(fake)).document
        assert not isinstance(document, Index)
        assert remote.read_blob(document.layers[0]) == DATA
        assert evil.requests == []


# --- row 12: what the registry says about a digest


SHA256, SHA512 = sha256(RAW).hexdigest(), sha512(RAW).hexdigest()


def with_digest(text: str | None) -> bytes:
    headers = {"Content-Type": MANIFEST, **({} if text is None else {"Docker-Content-Digest": text})}
    return reply(200, RAW, headers)


@pytest.mark.parametrize("said", [None, f"sha256:{SHA256}", f"sha512:{SHA512}", f"blake3:{'0' * 64}"])
def test_our_own_digest_counts(http: HttpClient, said: str | None) -> None:
    assert resolve(http, at("/manifests/v1", with_digest(said))).root.digest.hex == SHA256


@pytest.mark.parametrize("said", [f"sha256:{'0' * 64}", f"sha512:{'0' * 128}"])
def test_a_wrong_digest_in_the_header_is_refused(http: HttpClient, said: str) -> None:
    with pytest.raises(DigestMismatch, match="said that it is"):
        resolve(http, at("/manifests/v1", with_digest(said)))


@pytest.mark.parametrize(
    "said",
    ["../../../etc/x", f"md5:{'0' * 32}", "sha256:", f"sha256:{SHA256.upper()}", f"sha256-{SHA256}", "x" * 5000,
     f"sha256:{SHA256[:-1]}", f"sha512:{SHA256}", "sha256:%2e%2e"],
)  # fmt: skip
def test_a_digest_of_no_registered_kind_is_refused(http: HttpClient, said: str) -> None:
    with pytest.raises(MalformedFile):
        resolve(http, at("/manifests/v1", with_digest(said)))


def test_another_manifest_than_the_pinned_one_is_refused(http: HttpClient) -> None:
    """Even where its header has the digest that was asked for."""
    pinned = Digest.of(b"what was meant")
    with pytest.raises(DigestMismatch) as caught:
        resolve(http, at(str(pinned), with_digest(str(pinned))), name=f"{PATH}@{pinned}")
    assert str(pinned) in caught.value.message
    assert SHA256 in caught.value.message


def test_other_bytes_than_the_blob_are_refused(http: HttpClient) -> None:
    with fake_registry(at(str(Digest.of(DATA)), reply(200, bytes(len(DATA))))) as fake:
        with pytest.raises(DigestMismatch) as caught:
            remote_at(fake, http).read_blob(descriptor_of(DATA))
        assert str(Digest.of(DATA)) in caught.value.message
        assert str(Digest.of(bytes(len(DATA)))) in caught.value.message


def test_a_manifest_of_another_size_than_its_index_says_is_refused(http: HttpClient) -> None:
    with fake_registry() as fake:
        fake.put(PATH, RAW, MANIFEST)
        wrong = Descriptor(media_type=MANIFEST, digest=Digest.of(RAW), size=len(RAW) + 1)
        with pytest.raises(SizeMismatch):
            remote_at(fake, http).manifest(wrong)
        huge = Descriptor(media_type=MANIFEST, digest=Digest.of(RAW), size=1 << 40)
        before = len(fake.requests)
        with pytest.raises(SizeMismatch):
            remote_at(fake, http).manifest(huge)
        assert len(fake.requests) == before


# --- row 13: indexes in indexes


def put_nested(fake: FakeRegistry, depth: int) -> None:
    raw, media_type = manifest(), MANIFEST
    for _ in range(depth):
        fake.put(PATH, raw, media_type)
        raw, media_type = index(raw, media_type=media_type), INDEX
    fake.put(PATH, raw, media_type, "v1")


@pytest.mark.parametrize("depth", [0, 1, 4])
def test_indexes_may_lie_four_deep(http: HttpClient, depth: int) -> None:
    with fake_registry() as fake:
        put_nested(fake, depth)
        remote = remote_at(fake, http)
        assert len(documents_of(remote, remote.resolve(name_at(fake)))) == depth + 1


@pytest.mark.parametrize("depth", [5, 50])
def test_deeper_indexes_are_refused_before_they_are_asked_for(http: HttpClient, depth: int) -> None:
    with fake_registry() as fake:
        put_nested(fake, depth)
        remote = remote_at(fake, http)
        with pytest.raises(MalformedFile, match="more than 4 deep"):
            documents_of(remote, remote.resolve(name_at(fake)))
        assert len(fake.requests) == 5


def test_what_is_named_a_thousand_times_is_asked_for_once(http: HttpClient) -> None:
    with fake_registry() as fake:
        fake.put(PATH, RAW, MANIFEST)
        fake.put(PATH, index(*[RAW] * 1000), INDEX, "v1")
        remote = remote_at(fake, http)
        assert len(documents_of(remote, remote.resolve(name_at(fake)))) == 2
        assert len(fake.requests) == 2


def test_an_index_that_names_itself_by_a_forged_digest_ends(http: HttpClient) -> None:
    """A true loop would need a digest that contains itself; a forged one gives other bytes than it names."""
    claimed = Digest.of(b"the index itself")
    entry = {"mediaType": INDEX, "digest": str(claimed), "size": 0}
    raw = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}).encode()
    with fake_registry(at("", reply(200, raw, {"Content-Type": INDEX}))) as fake:
        remote = remote_at(fake, http)
        with pytest.raises(DigestMismatch):
            documents_of(remote, remote.resolve(name_at(fake)))
        assert len(fake.requests) == 2


def test_an_index_of_a_thousand_builds_is_refused(http: HttpClient) -> None:
    builds = [manifest(annotations={"n": str(number)}) for number in range(MAX_DOCUMENTS)]
    with fake_registry() as fake:
        for build in builds:
            fake.put(PATH, build, MANIFEST)
        fake.put(PATH, index(*builds), INDEX, "v1")
        remote = remote_at(fake, http)
        with pytest.raises(MalformedFile, match=f"more than {MAX_DOCUMENTS}"):
            documents_of(remote, remote.resolve(name_at(fake)))


def test_an_index_of_large_manifests_is_refused_before_they_are_asked_for(
    http: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is as large as it may be, and all together would fill the memory."""
    builds = [manifest(annotations={"n": str(number)}) for number in range(10)]
    monkeypatch.setattr(tree, "MAX_BYTES", 6 * len(builds[0]))
    with fake_registry() as fake:
        for build in builds:
            fake.put(PATH, build, MANIFEST)
        fake.put(PATH, index(*builds), INDEX, "v1")
        remote = remote_at(fake, http)
        artifact = remote.resolve(name_at(fake))
        seen = len(fake.requests)
        with pytest.raises(MalformedFile, match="its manifests have more than"):
            documents_of(remote, artifact)
        assert len(fake.requests) - seen < 6
