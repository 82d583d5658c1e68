"""Names, tags and digests are checked before an address is built of them: serving.md section 6 row 11."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from registry.errors import (
    InvalidReference,
    UsageError,
)
from registry.names import ModelRef, Source, parse
from registry.remotes.http import HttpClient
from registry.remotes.ollama import ollama_repository
from registry.remotes.repository import checked_tag, repository_of
from tests.fakes.registry import fake_registry
from tests.registry.remotes.made import MANIFEST, manifest
from tests.registry.remotes.rigs import PATH, client_in, remote_at


@pytest.fixture
def http() -> Iterator[HttpClient]:
    with client_in() as client:
        yield client


# --- row 11: names, tags and digests are checked before an address is built


BAD_TAGS = [
    "x" * 129,
    ".dot",
    "-dash",
    "a/b",
    "a b",
    "../v1",
    "v1?x=y",
    "v1#x",
    "\uff561",
    "a%2fb",
    "",
    "v\n",
    "v:1",
    "é",
]


@pytest.mark.parametrize("tag", BAD_TAGS)
def test_what_is_no_tag_is_never_asked_for(http: HttpClient, tag: str) -> None:
    with fake_registry() as fake:
        ref = ModelRef(source=Source.OCI, host=fake.server.place, path=PATH, tag=tag, plain_http=True)
        with pytest.raises(UsageError):
            checked_tag(tag)
        if tag:  # an empty one is the default
            with pytest.raises(UsageError):
                remote_at(fake, http).resolve(ref)
        with pytest.raises(UsageError):
            remote_at(fake, http).put_manifest(manifest(), MANIFEST, tag)
        assert fake.requests == []


BAD_PATHS = [
    "Team/model", "team//model", "/team", "team/", "../x", "team/../x", "te am/x", "team/model%2f", "team/mödel", "t\u0435am/x",
    "a/" * 127 + "aaa", "team/.x", "team/x.", "a___b", "a..b", "team\\x", "team/x\n", "", "team/x?y", "team/x#y", "_a",
]  # fmt: skip


@pytest.mark.parametrize("path", BAD_PATHS)
def test_what_is_no_repository_has_no_address(path: str) -> None:
    with pytest.raises(InvalidReference):
        repository_of(ModelRef(source=Source.OCI, host="127.0.0.1:1", path=path), plain_http=True)


@pytest.mark.parametrize(
    "host", ["a b", "a/b", "a@b", "a\\b", "[::1", "a:99999", "a:x", "-a", "xn--", "1.2.3", "", "ä"]
)
def test_what_is_no_host_has_no_address(host: str) -> None:
    with pytest.raises(InvalidReference):
        repository_of(ModelRef(source=Source.OCI, host=host, path="a/b"), plain_http=True)


def test_an_upper_case_name_says_how_it_would_be_right() -> None:
    with pytest.raises(InvalidReference) as caught:
        repository_of(parse("ghcr.io/Org/Model:v1"), plain_http=False)
    assert caught.value.hint == "Write it in lower case: org/model."


@pytest.mark.parametrize(
    ("text", "url", "shown"),
    [
        ("docker.io/smollm:v1", "https://registry-1.docker.io/v2/library/smollm", "docker.io/smollm"),
        ("docker.io/ai/smollm:v1", "https://registry-1.docker.io/v2/ai/smollm", "docker.io/ai/smollm"),
        ("ghcr.io/a/b/c:v1", "https://ghcr.io/v2/a/b/c", "ghcr.io/a/b/c"),
        ("GHCR.io/a/b:v1", "https://ghcr.io/v2/a/b", "GHCR.io/a/b"),
        ("oci://a.example:443/b/c", "https://a.example/v2/b/c", "a.example:443/b/c"),
    ],
)
def test_where_a_repository_is(text: str, url: str, shown: str) -> None:
    repository = repository_of(parse(text), plain_http=False)
    assert (repository.manifest("v1"), repository.shown) == (f"{url}/manifests/v1", shown)


def test_ollamas_names_are_more(http: HttpClient) -> None:
    assert ollama_repository(parse("ollama://MaziyarPanahi/Phi-4:q4")).path == "MaziyarPanahi/Phi-4"
    assert ollama_repository(parse("ollama://qwen3")).path == "library/qwen3"
    for path in ("a/b/c", "a/../b", "a/b%2f", "a/\uff42", "a/b\n"):
        with pytest.raises(InvalidReference):
            ollama_repository(ModelRef(source=Source.OLLAMA, host="registry.ollama.ai", path=path))
