"""Mirrors that lie, lack and disagree: serving.md section 6 row 20."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from registry.digest import Digest
from registry.errors import (
    NotFound,
)
from registry.names import parse
from registry.remotes.documents import ACCEPTED
from registry.remotes.http import HttpClient
from registry.remotes.mirrors import Disagreement, MirroredRemote
from tests.fakes.registry import FakeRegistry, fake_registry
from tests.fakes.wire import reply
from tests.registry.remotes.made import DATA, MANIFEST, RAW, at, manifest
from tests.registry.remotes.rigs import PATH, client_in, descriptor_of, name_at, remote_at


@pytest.fixture
def http() -> Iterator[HttpClient]:
    with client_in() as client:
        yield client


# --- row 20: mirrors


def mirrored(http: HttpClient, *fakes: FakeRegistry) -> tuple[MirroredRemote, list[Disagreement]]:
    told: list[Disagreement] = []
    *mirrors, origin = (remote_at(fake, http) for fake in fakes)
    return MirroredRemote(mirrors, origin, told.append), told


def test_mirrors_that_disagree_on_a_tag_are_told_and_the_first_counts(http: HttpClient) -> None:
    other = manifest(annotations={"other": "yes"})
    with fake_registry() as first, fake_registry() as second, fake_registry() as origin:
        first.put(PATH, RAW, MANIFEST, "v1")
        second.put(PATH, other, MANIFEST, "v1")
        remote, told = mirrored(http, first, second, origin)
        artifact = remote.resolve(name_at(origin))
        assert artifact.root.digest == Digest.of(RAW)
        assert artifact.pinned == f"{name_at(origin)}@{Digest.of(RAW)}"
        (disagreement,) = told
        assert [digest for _, digest in disagreement.answers] == [Digest.of(RAW), Digest.of(other)]
        assert Digest.of(other).short in str(disagreement)
        assert origin.requests == []
        pinned = parse(f"{name_at(origin)}@{Digest.of(other)}")  # what was pinned is found where it is
        assert remote.resolve(pinned).root.digest == Digest.of(other)
        assert len(told) == 1


def test_mirrors_that_agree_are_not_told(http: HttpClient) -> None:
    with fake_registry() as first, fake_registry() as second, fake_registry() as origin:
        for fake in (first, second):
            fake.put(PATH, RAW, MANIFEST, "v1")
        remote, told = mirrored(http, first, second, origin)
        remote.resolve(name_at(origin))
        assert told == []


def test_a_mirror_that_lies_about_a_digest_is_passed_over(http: HttpClient) -> None:
    pinned = Digest.of(RAW)
    with fake_registry(at(str(pinned), reply(200, b"{}"))) as liar, fake_registry() as origin:
        origin.put(PATH, RAW, MANIFEST)
        origin.put_blob(PATH, DATA)
        remote, _ = mirrored(http, liar, origin)
        assert remote.resolve(parse(f"{name_at(origin)}@{pinned}")).document.raw == RAW
        assert remote.read_blob(descriptor_of(DATA)) == DATA
        assert [source.shown for source in remote.sources] == [
            f"{each.server.place}/{PATH}" for each in (liar, origin)
        ]


def test_what_no_mirror_has_is_asked_of_the_registry_itself(http: HttpClient) -> None:
    with fake_registry() as mirror, fake_registry() as origin:
        origin.put(PATH, RAW, MANIFEST, "v1")
        remote, told = mirrored(http, mirror, origin)
        assert remote.resolve(name_at(origin)).root.digest == Digest.of(RAW)
        assert remote.tags() == ["v1"]
        with pytest.raises(NotFound, match=origin.server.place):
            remote.resolve(name_at(origin, f"{PATH}:none"))
        assert told == []


def test_documents_are_asked_for_in_all_their_formats(http: HttpClient) -> None:
    with fake_registry() as fake:
        fake.put(PATH, RAW, MANIFEST, "v1")
        remote_at(fake, http).resolve(name_at(fake))
        assert fake.requests[0].headers["accept"] == ACCEPTED
