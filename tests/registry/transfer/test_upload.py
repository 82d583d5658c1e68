"""Uploads to a remote that follows a script, and to a real docker-registry."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from registry.digest import Digest
from registry.errors import DigestMismatch, NotFound, Unreachable
from registry.manifest import Descriptor, Index, Manifest
from registry.names import ModelRef, parse
from registry.remotes.base import Artifact, Blob, Limits, Listing, OpenAt, PushRemote, TryAgain
from registry.remotes.credentials import Keyring
from registry.remotes.http import HttpClient, HttpSettings
from registry.remotes.registries import Registries
from registry.store.store import Store
from registry.transfer.download import Wanted, download
from registry.transfer.events import Finished, Moved, Present, Retrying, TransferEvent
from registry.transfer.pace import Pace, Patience
from registry.transfer.upload import TooLarge, check_limits, from_reader, upload
from tests.registries.programs import docker_registry
from tests.registry.transfer.sources import Source, blob_of

MIB = 1 << 20
PACE = Pace(patience=Patience(attempts=4, first_seconds=0.001, most_seconds=0.002))
CONTENTS = [random.Random(seed).randbytes(MIB + seed) for seed in range(6)]


@dataclass
class Registry(Source):
    """Takes blobs. `spoil` is called with each upload's blob before anything of it is read."""

    limits: Limits = field(default_factory=Limits)
    spoil: Callable[[Blob], None] | None = None
    mountable: dict[Digest, str] = field(default_factory=dict)
    log: list[tuple[str, Digest]] = field(default_factory=list)

    def has(self, blob: Blob) -> bool:  # type: ignore[override]
        self.log.append(("has", blob.digest))
        return blob.digest in self.contents

    def mount(self, blob: Blob, repository: str) -> bool:
        self.log.append((f"mount {repository}", blob.digest))
        return self.mountable.get(blob.digest) == repository

    def upload(self, blob: Blob, open_at: OpenAt, progress: Callable[[int], None]) -> None:
        self.log.append(("upload", blob.digest))
        if self.spoil is not None:
            self.spoil(blob)
        with open_at(0) as stream:
            head = stream.read(1000)
        progress(len(head))
        with open_at(len(head)) as stream:
            tail = stream.read()
        progress(len(tail))
        if Digest.of(head + tail) != blob.digest:
            raise DigestMismatch("Those are other bytes.")
        self.contents[blob.digest] = head + tail

    def resolve(self, ref: ModelRef) -> Artifact | Listing:
        raise NotFound("It only takes blobs.")

    def manifest(self, descriptor: Descriptor) -> Manifest | Index:
        raise NotFound("It only takes blobs.")

    def read_blob(self, descriptor: Descriptor, limit: int = 0) -> bytes:
        raise NotFound("It only takes blobs.")

    def tags(self) -> list[str]:
        return []

    def put_manifest(self, raw: bytes, media_type: str, reference: str) -> Digest:
        raise NotFound("It only takes blobs.")

    def uploads(self) -> list[Digest]:
        return [digest for what, digest in self.log if what == "upload"]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "store")
    with made.session("test") as session:
        for data in CONTENTS:
            session.put(data)
        yield made


BLOBS = [blob_of(data) for data in CONTENTS]


def test_all_blobs_are_there_afterwards(store: Store) -> None:
    remote = Registry()
    as_remote: PushRemote = remote
    events: list[TransferEvent] = []
    upload(from_reader(store), as_remote, [*BLOBS, BLOBS[0]], PACE, events.append)
    assert remote.contents == {Digest.of(data): data for data in CONTENTS}
    assert sorted(remote.uploads()) == sorted(blob.digest for blob in BLOBS)
    moved = dict.fromkeys(BLOBS, 0)
    for event in events:
        if isinstance(event, Moved):
            moved[event.blob] += event.count
    assert moved == {blob: blob.size for blob in BLOBS}
    assert sum(isinstance(event, Finished) for event in events) == len(BLOBS)


def test_several_are_sent_at_once(store: Store) -> None:
    barrier = threading.Barrier(3)
    left = [3]

    def meet(_: Blob) -> None:
        if left[0] > 0:
            left[0] -= 1
            barrier.wait(timeout=30)

    upload(from_reader(store), Registry(spoil=meet), BLOBS, PACE)


def test_what_is_there_or_can_be_mounted_is_not_sent(store: Store) -> None:
    remote = Registry(contents={BLOBS[0].digest: CONTENTS[0]}, mountable={BLOBS[1].digest: "t/base"})
    events: list[TransferEvent] = []
    mounts = {blob.digest: ["t/other", "t/base"] for blob in BLOBS[:3]}
    upload(from_reader(store), remote, BLOBS[:3], PACE, events.append, mounts=mounts)
    assert remote.uploads() == [BLOBS[2].digest]
    assert {event.blob for event in events if isinstance(event, Present)} == set(BLOBS[:2])
    assert ("mount t/other", BLOBS[0].digest) not in remote.log


def test_nothing_is_sent_that_would_be_refused(store: Store) -> None:
    remote = Registry(limits=Limits(layer_bytes=MIB + 4, manifest_bytes=10))
    with pytest.raises(TooLarge, match=rf"at most {MIB + 4} bytes, and one has {MIB + 5}"):
        upload(from_reader(store), remote, BLOBS, PACE)
    assert remote.log == []
    check_limits(remote, BLOBS[:5], [b"{}"])
    with pytest.raises(TooLarge, match="manifests of at most 10 bytes, and one has 11"):
        check_limits(remote, BLOBS[:5], [b"{}", b" " * 11])


def test_a_failure_that_may_pass_is_tried_again(store: Store) -> None:
    failures = [3]

    def spoil(_: Blob) -> None:
        if failures[0]:
            failures[0] -= 1
            raise TryAgain("The registry answered 503.", after=0.0)

    events: list[TransferEvent] = []
    remote = Registry(spoil=spoil)
    upload(from_reader(store), remote, BLOBS[:1], PACE, events.append)
    assert BLOBS[0].digest in remote.contents
    assert [event.reason for event in events if isinstance(event, Retrying)] == [
        "The registry answered 503."
    ] * 3


def test_it_is_given_up_in_the_end(store: Store) -> None:
    def spoil(_: Blob) -> None:
        raise TryAgain("The registry answered 503.")

    remote = Registry(spoil=spoil)
    with pytest.raises(Unreachable, match="503"):
        upload(from_reader(store), remote, BLOBS[:1], PACE)
    assert len(remote.uploads()) == 4


def test_the_first_error_ends_it(store: Store) -> None:
    with pytest.raises(NotFound, match="missing"):
        upload(from_reader(store), Registry(), [*BLOBS, blob_of(b"not here")], PACE)


def test_a_real_registry_takes_them_and_gives_them_back(store: Store, tmp_path: Path) -> None:
    with docker_registry(tmp_path) as registry, HttpClient(HttpSettings()) as http:
        registries = Registries(http=http, keyring=Keyring((), search_path="", helper_environment={}))
        remote = registries.oci(parse(f"http://{registry.host}/t/m"))
        upload(from_reader(store), remote, BLOBS, PACE)
        again: list[TransferEvent] = []
        upload(from_reader(store), remote, BLOBS, PACE, again.append)
        assert {type(event) for event in again} == {Present}
        here = Store(tmp_path / "here")
        with here.session("pull") as session:
            download(session, [Wanted(blob=blob, sources=(remote,)) for blob in BLOBS])
            for blob, data in zip(BLOBS, CONTENTS, strict=True):
                assert here.layout.blob(blob.digest).read_bytes() == data
