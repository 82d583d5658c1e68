"""What every remote promises; see `registry.remotes.base`."""

from __future__ import annotations

import io
import threading
import uuid
from dataclasses import replace

import pytest

from registry.digest import Digest
from registry.errors import DigestMismatch, NotFound, SizeMismatch, UsageError
from registry.manifest import Descriptor, Index, Manifest
from registry.names import Source, parse
from registry.remotes.base import Artifact, Blob, Listing, PushRemote
from registry.remotes.huggingface import blob_of
from registry.remotes.tree import documents_of
from tests.conformance.remotes.places import Place
from tests.conformance.remotes.samples import digest_of, some_bytes


def artifact_of(place: Place) -> Artifact:
    artifact = place.remote.resolve(place.ref)
    assert isinstance(artifact, Artifact)
    return artifact


def blobs_of(place: Place) -> list[Descriptor]:
    found: dict[Digest, Descriptor] = {}
    for document in documents_of(place.remote, artifact_of(place)):
        if isinstance(document.value, Manifest):
            found.update((blob.digest, blob) for blob in document.value.blobs)
    return list(found.values())


def largest(place: Place) -> tuple[Blob, bytes]:
    found = place.remote.resolve(place.ref)
    if isinstance(found, Listing):
        blob = blob_of(max(found.files, key=lambda file: file.size))
    else:
        descriptor = max(blobs_of(place), key=lambda blob: blob.size)
        blob = Blob(digest=descriptor.digest, size=descriptor.size)
    return blob, place.sample.blobs[str(blob.digest)]


def pushing(place: Place, path: str | None = None) -> PushRemote:
    if place.repository is None:
        pytest.skip("nothing can be pushed there")
    return place.repository(path or f"pushed/{uuid.uuid4().hex}")


def test_a_name_gives_the_very_bytes(place: Place) -> None:
    artifact = artifact_of(place)
    raw, media_type = place.sample.documents[place.sample.root]
    assert artifact.document.raw == raw
    assert str(artifact.root.digest) == place.sample.root
    assert (artifact.root.size, artifact.root.media_type) == (len(raw), media_type)


def test_the_pinned_name_means_the_same(place: Place) -> None:
    artifact = artifact_of(place)
    pinned = parse(artifact.pinned)
    assert pinned.digest == artifact.root.digest or pinned.source is Source.FILE
    again = place.remote.resolve(pinned)
    assert isinstance(again, Artifact)
    assert (again.root, again.pinned) == (artifact.root, artifact.pinned)


def test_what_is_not_there_is_not_found(place: Place) -> None:
    with pytest.raises(NotFound) as caught:
        place.remote.resolve(place.missing)
    assert "none" in caught.value.message
    with pytest.raises(NotFound):
        place.remote.resolve(replace(place.ref, digest=Digest.of(b"nothing")))
    absent = Descriptor(media_type="x", digest=Digest.of(b"nothing"), size=7)
    with pytest.raises(NotFound):
        place.remote.read_blob(absent)


def test_all_documents_are_reached_from_the_name(place: Place) -> None:
    documents = documents_of(place.remote, artifact_of(place))
    found = {str(each.descriptor.digest): each.value.raw for each in documents}
    assert found == {digest: raw for digest, (raw, _) in place.sample.documents.items()}
    assert isinstance(documents[0].value, Index) == (len(documents) > 1)


def test_small_blobs_are_read_whole(place: Place) -> None:
    for descriptor in blobs_of(place):
        assert place.remote.read_blob(descriptor) == place.sample.blobs[str(descriptor.digest)]
    descriptor = max(blobs_of(place), key=lambda blob: blob.size)
    with pytest.raises(SizeMismatch):
        place.remote.read_blob(descriptor, limit=descriptor.size - 1)


def test_a_blob_is_opened_anywhere(any_place: Place) -> None:
    blob, data = largest(any_place)
    for start, stop in [(0, blob.size), (0, 1), (1, 2), (12345, 345678), (blob.size - 1, blob.size)]:
        with any_place.remote.open(blob, start, stop) as body:
            assert body.start in {0, start}
            assert b"".join(body) == data[body.start : stop]


def test_a_blob_goes_on_while_it_is_the_same(any_place: Place) -> None:
    blob, data = largest(any_place)
    with any_place.remote.open(blob, 0, 1000) as body:
        validator = body.validator
        first = b"".join(body)
    with any_place.remote.open(blob, 1000, blob.size, validator) as body:
        assert (body.start, first + b"".join(body)) == (1000, data)


def test_a_body_that_is_left_early_is_no_harm(any_place: Place) -> None:
    blob, data = largest(any_place)
    for _ in range(3):
        with any_place.remote.open(blob, 0, blob.size) as body:
            assert data.startswith(next(iter(body)))
    with any_place.remote.open(blob, 5, 10) as body:
        assert b"".join(body)[-5:] == data[5:10]


def test_several_threads_at_once(any_place: Place) -> None:
    blob, data = largest(any_place)
    found: dict[int, bytes] = {}

    def read(number: int) -> None:
        start = number * 10_000
        with any_place.remote.open(blob, start, start + 10_000) as body:
            found[number] = b"".join(body)[-10_000:]

    threads = [threading.Thread(target=read, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: data[number * 10_000 :][:10_000] for number in range(8)}


def test_tags(any_place: Place) -> None:
    if any_place.tags is None:
        with pytest.raises(UsageError) as caught:
            any_place.remote.tags()
        assert caught.value.hint
    else:
        assert list(any_place.remote.tags()) == any_place.tags


def test_push_and_pull_back(place: Place) -> None:
    remote = pushing(place)
    for text, data in place.sample.blobs.items():
        blob = Blob(digest=Digest.parse(text), size=len(data))
        told: list[int] = []
        assert not remote.has(blob)
        remote.upload(blob, lambda at, data=data: io.BytesIO(data[at:]), told.append)  # type: ignore[misc]
        assert sum(told) == len(data)
        assert remote.has(blob)
        assert remote.read_blob(Descriptor(media_type="", digest=blob.digest, size=blob.size)) == data
    for text, (raw, media_type) in reversed(list(place.sample.documents.items())):
        for reference in (text, *(["v1", "v2"] if text == place.sample.root else [])):
            assert str(remote.put_manifest(raw, media_type, reference)) == digest_of(raw)
            assert str(remote.put_manifest(raw, media_type, reference)) == digest_of(raw)  # again is no harm
    assert list(remote.tags()) == ["v1", "v2"]
    artifact = remote.resolve(replace(place.ref, tag="v2"))
    assert isinstance(artifact, Artifact)
    found = {str(each.descriptor.digest): each.value.raw for each in documents_of(remote, artifact)}
    assert found == {digest: raw for digest, (raw, _) in place.sample.documents.items()}


def test_a_blob_is_mounted_without_being_sent(place: Place) -> None:
    path = f"pushed/{uuid.uuid4().hex}"
    first, second = pushing(place, path), pushing(place)
    data = some_bytes(1000)
    blob = Blob(digest=Digest.of(data), size=len(data))
    assert not second.mount(blob, path)
    first.upload(blob, lambda at: io.BytesIO(data[at:]), lambda _: None)
    assert second.mount(blob, path)
    assert second.has(blob)
    assert second.read_blob(Descriptor(media_type="", digest=blob.digest, size=blob.size)) == data


def test_what_could_not_be_mounted_is_sent(place: Place) -> None:
    remote, data = pushing(place), some_bytes(1000, 7)
    blob = Blob(digest=Digest.of(data), size=len(data))
    assert not remote.mount(blob, "pushed/nothing")
    remote.upload(blob, lambda at: io.BytesIO(data[at:]), lambda _: None)
    assert remote.has(blob)


def test_an_empty_blob_and_one_of_several_chunks(place: Place) -> None:
    remote = pushing(place)
    for data in (b"", some_bytes((33 << 20) + 5)):
        blob = Blob(digest=Digest.of(data), size=len(data))
        told: list[int] = []
        remote.upload(blob, lambda at, data=data: io.BytesIO(data[at:]), told.append)  # type: ignore[misc]
        assert (sum(told), remote.has(blob)) == (len(data), True)
        with remote.open(blob, 0, blob.size) as body:
            assert Digest.of(b"".join(body)) == blob.digest


def test_other_bytes_than_promised_are_not_taken(place: Place) -> None:
    remote = pushing(place)
    blob = Blob(digest=Digest.of(b"right"), size=5)
    with pytest.raises(DigestMismatch):
        remote.upload(blob, lambda at: io.BytesIO(b"wrong"[at:]), lambda _: None)
    assert not remote.has(blob)
