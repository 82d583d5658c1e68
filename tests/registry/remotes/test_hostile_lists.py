"""Lists of tags and of referrers without end, and elsewhere: serving.md section 6 row 15."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from registry.digest import Digest
from registry.errors import (
    BadContent,
    MalformedFile,
)
from registry.remotes.http import HttpClient
from registry.remotes.pages import MAX_PAGES
from tests.fakes.registry import FakeRegistry, Trick, fake_registry
from tests.fakes.wire import Request, reply
from tests.registry.remotes.made import BLOB, DATA, MANIFEST, RAW, at, described, manifest
from tests.registry.remotes.rigs import PATH, asked, client_in, remote_at


@pytest.fixture
def http() -> Iterator[HttpClient]:
    with client_in() as client:
        yield client


# --- tags and referrers: row 15


def paged(link: str) -> Trick:
    return lambda request: (
        reply(200, b'{"tags": ["a"]}', {"Link": link}) if "tags/list" in request.path else None
    )


def test_tags_come_in_pages(http: HttpClient) -> None:
    with fake_registry() as fake:
        fake.page = 3
        for number in range(10):
            fake.put(PATH, RAW, MANIFEST, f"v{number}")
        assert remote_at(fake, http).tags() == [f"v{number}" for number in range(10)]
        assert len(fake.requests) == 4


def test_pages_without_an_end_are_refused(http: HttpClient) -> None:
    numbers = iter(range(10_000))

    def endless(request: Request) -> bytes:
        return reply(200, b'{"tags": []}', {"Link": f'<{request.path}?n={next(numbers)}>; rel="next"'})

    with fake_registry(endless) as fake, pytest.raises(BadContent, match="without an end"):
        remote_at(fake, http).tags()
    assert len(fake.requests) == MAX_PAGES


def test_pages_in_a_circle_are_refused(http: HttpClient) -> None:
    with fake_registry(paged('</v2/x/tags/list?a>; rel="next"')) as fake, pytest.raises(BadContent):
        remote_at(fake, http).tags()
    assert len(fake.requests) == 2


@pytest.mark.parametrize(
    "form",
    ["<http://{0}/v2/x/tags/list>; rel=next", '<//{0}/x>; rel="next"', '<http://{0}/x>; a=b; rel="next"'],
)
def test_a_next_page_at_another_origin_is_not_asked(http: HttpClient, form: str) -> None:
    with fake_registry() as evil:
        with fake_registry(paged(form.format(evil.server.place))) as fake, pytest.raises(BadContent):
            remote_at(fake, http).tags()
        assert evil.requests == []


@pytest.mark.parametrize("tags", [["a", "../b"], ["a", 5], "a", {"a": 1}, ["x" * 129], ["a\nb"], ["\x1b[2J"]])
def test_what_is_no_tag_in_a_list_is_refused(http: HttpClient, tags: object) -> None:
    listed = reply(200, json.dumps({"tags": tags}).encode())
    with fake_registry(at("tags/list", listed)) as fake, pytest.raises(BadContent):
        remote_at(fake, http).tags()


@pytest.mark.parametrize("body", [b'{"name": "x", "tags": null}', b'{"tags": []}', b'{"name": "x"}'])
def test_no_tags_are_no_tags(http: HttpClient, body: bytes) -> None:
    with fake_registry(at("tags/list", reply(200, body))) as fake:
        assert remote_at(fake, http).tags() == []


def attach(fake: FakeRegistry, subject: bytes, kind: str) -> bytes:
    raw = manifest(artifactType=kind, layers=[], subject=described(subject, MANIFEST))
    fake.put(PATH, raw, MANIFEST)
    return raw


def test_referrers_are_filtered_here_whatever_the_registry_did(http: HttpClient) -> None:
    with fake_registry() as fake:
        fake.put(PATH, RAW, MANIFEST, "v1")
        wanted, other = attach(fake, RAW, "a/wanted"), attach(fake, RAW, "a/other")
        remote = remote_at(fake, http)
        assert {each.digest for each in remote.referrers(Digest.of(RAW))} == {
            Digest.of(wanted),
            Digest.of(other),
        }
        assert [each.digest for each in remote.referrers(Digest.of(RAW), "a/wanted")] == [Digest.of(wanted)]


def test_referrers_by_the_tag_where_there_is_no_api(http: HttpClient) -> None:
    with fake_registry() as fake:
        fake.has_referrers = False
        fake.put(PATH, RAW, MANIFEST, "v1")
        remote = remote_at(fake, http)
        assert remote.referrers(Digest.of(RAW)) == ()
        pushed = []
        for kind in ("a/first", "a/second"):
            raw = manifest(artifactType=kind, layers=[], subject=described(RAW, MANIFEST))
            for _ in range(2):  # again is no harm
                remote.put_manifest(raw, MANIFEST, str(Digest.of(raw)))
            pushed.append(Digest.of(raw))
        assert [each.digest for each in remote.referrers(Digest.of(RAW))] == pushed
        (found,) = remote.referrers(Digest.of(RAW), "a/second")
        assert (found.digest, found.artifact_type) == (pushed[1], "a/second")
        assert (PATH, f"sha256-{Digest.of(RAW).hex}") in fake.manifests


def test_a_registry_that_enters_referrers_itself_is_left_to_it(http: HttpClient) -> None:
    with fake_registry() as fake:
        raw = manifest(artifactType="a/b", layers=[], subject=described(RAW, MANIFEST))
        remote_at(fake, http).put_manifest(raw, MANIFEST, str(Digest.of(raw)))
        assert asked(fake.requests) == [f"PUT /v2/{PATH}/manifests/{Digest.of(raw)}"]


@pytest.mark.parametrize(
    "raw", [RAW, b"{}", b"x", b'{"schemaVersion": 2, "manifests": [{"digest": "../x"}]}']
)
def test_a_list_of_referrers_that_is_none_is_refused(http: HttpClient, raw: bytes) -> None:
    with fake_registry(at(BLOB, reply(200, raw))) as fake, pytest.raises(BadContent):
        remote_at(fake, http).referrers(Digest.of(DATA))


def test_a_million_referrers_are_refused(http: HttpClient) -> None:
    entries = [
        {"mediaType": MANIFEST, "digest": f"sha256:{number:064x}", "size": 1} for number in range(12_000)
    ]
    raw = json.dumps({"schemaVersion": 2, "manifests": entries}).encode()
    with fake_registry(at(BLOB, reply(200, raw))) as fake, pytest.raises(MalformedFile):
        remote_at(fake, http).referrers(Digest.of(DATA))


def test_referrers_pages_at_another_origin_or_without_end_are_refused(http: HttpClient) -> None:
    raw = b'{"schemaVersion": 2, "manifests": []}'
    with fake_registry() as evil:
        link = {"Link": f'<{evil.server.url}/x>; rel="next"'}
        with fake_registry(at(BLOB, reply(200, raw, link))) as fake, pytest.raises(BadContent):
            remote_at(fake, http).referrers(Digest.of(DATA))
        assert evil.requests == []
    numbers = iter(range(10_000))

    def endless(request: Request) -> bytes:
        return reply(200, raw, {"Link": f'<{request.path}?n={next(numbers)}>; rel="next"'})

    with fake_registry(endless) as fake, pytest.raises(BadContent, match="without an end"):
        remote_at(fake, http).referrers(Digest.of(DATA))
    assert len(fake.requests) == MAX_PAGES
