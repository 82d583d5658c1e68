"""The places that the suite is run on. To add one, add a function to PLACES that fills it and gives its remote."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from registry.names import ModelRef, Source, parse
from registry.remotes.base import PushRemote, Remote
from registry.remotes.connection import Connection
from registry.remotes.local import open_local
from registry.remotes.ollama import OllamaRemote, ollama_repository
from tests.conformance.remotes.samples import Sample, index_of_two, layout_of, ollama_model
from tests.fakes.registry import FakeRegistry, fake_registry
from tests.fakes.wire import Request, reply
from tests.registries.author import has_manifest, put_blob, put_manifest
from tests.registries.fixtures import LOGIN, Tokens, client_of, name_in, registries_of
from tests.registries.programs import Registry


@dataclass(frozen=True, kw_only=True)
class Place:
    """A remote, the name in it that `sample` is behind, and a name that nothing is behind.

    `tags` is what it lists, None where it has no list. `repository` gives the remote of another repository
    there, to push to; None where nothing can be pushed.
    """

    remote: Remote
    ref: ModelRef
    missing: ModelRef
    sample: Sample
    tags: list[str] | None = None
    repository: Callable[[str], PushRemote] | None = None


def fill(registry: Registry, path: str, sample: Sample, tag: str) -> None:
    """Put a sample into a real registry, by somebody else's hand; once is enough for all tests."""
    if has_manifest(registry.url, path, tag):
        return
    for data in sample.blobs.values():
        put_blob(registry.url, path, data)
    for digest, (raw, media_type) in sample.documents.items():
        if digest != sample.root:
            put_manifest(registry.url, path, raw, media_type)
    raw, media_type = sample.documents[sample.root]
    put_manifest(registry.url, path, raw, media_type, tag)


def fill_fake(fake: FakeRegistry, path: str, sample: Sample, tag: str) -> None:
    for data in sample.blobs.values():
        fake.put_blob(path, data)
    for digest, (raw, media_type) in sample.documents.items():
        fake.put(path, raw, media_type, tag if digest == sample.root else None)


def _oci(request: pytest.FixtureRequest, registry: Registry, *, tokens: Tokens | None = None) -> Place:
    plain: Registry = request.getfixturevalue("plain_registry")
    sample = index_of_two()
    fill(plain, "team/sample", sample, "v1")
    http = client_of(registry)
    request.addfinalizer(http.close)
    made = registries_of(http, trust=tokens.trust if tokens else None)
    credential = LOGIN if registry.password else None
    ref = name_in(registry, "team/sample:v1")
    return Place(
        remote=made.oci(ref, credential=credential),
        ref=ref,
        missing=name_in(registry, "team/sample:none"),
        sample=sample,
        tags=["v1"],
        repository=lambda path: made.oci(name_in(registry, path), credential=credential),
    )


def _plain(request: pytest.FixtureRequest) -> Place:
    return _oci(request, request.getfixturevalue("plain_registry"))


def _password(request: pytest.FixtureRequest) -> Place:
    return _oci(request, request.getfixturevalue("password_registry"))


def _tls(request: pytest.FixtureRequest) -> Place:
    return _oci(request, request.getfixturevalue("tls_registry"))


def _tokens(request: pytest.FixtureRequest) -> Place:
    tokens: Tokens = request.getfixturevalue("token_registry")
    return _oci(request, tokens.registry, tokens=tokens)


def _started(request: pytest.FixtureRequest, *, elsewhere: bool = False) -> FakeRegistry:
    """A fake registry; `elsewhere` says that it sends us to another origin for its blobs."""
    stack = ExitStack()
    request.addfinalizer(stack.close)
    fake = stack.enter_context(fake_registry())
    if elsewhere:
        store = stack.enter_context(fake_registry())
        store.blobs = fake.blobs
        fake.tricks.append(lambda asked: _onward(asked, store))
    return fake


def _onward(asked: Request, store: FakeRegistry) -> bytes | None:
    if asked.method != "GET" or "/blobs/sha256:" not in asked.path:
        return None
    return reply(307, b"", {"Location": f"{store.server.url}{asked.path}"})


def _fake(request: pytest.FixtureRequest, *, elsewhere: bool = False) -> Place:
    fake = _started(request, elsewhere=elsewhere)
    sample = index_of_two()
    fill_fake(fake, "team/sample", sample, "v1")
    http = client_of()
    request.addfinalizer(http.close)
    made = registries_of(http)

    def name(path: str) -> ModelRef:
        return parse(f"http://{fake.server.place}/{path}")

    return Place(
        remote=made.oci(name("team/sample:v1")),
        ref=name("team/sample:v1"),
        missing=name("team/sample:none"),
        sample=sample,
        tags=["v1"],
        repository=lambda path: made.oci(name(path)),
    )


def _ollama_at(request: pytest.FixtureRequest, address: str) -> Place:
    http = client_of()
    request.addfinalizer(http.close)
    made = registries_of(http)
    ref = ModelRef(source=Source.OLLAMA, host="registry.ollama.ai", path="library/sample", tag="1b")
    repository = ollama_repository(ref, address=address)
    connection = Connection(http, repository, made.authorizer(repository), made.patience)
    missing = ModelRef(source=Source.OLLAMA, host="registry.ollama.ai", path="library/sample", tag="none")
    return Place(remote=OllamaRemote(connection), ref=ref, missing=missing, sample=ollama_model())


def _ollama(request: pytest.FixtureRequest) -> Place:
    plain: Registry = request.getfixturevalue("plain_registry")
    fill(plain, "library/sample", ollama_model(), "1b")
    return _ollama_at(request, plain.url)


def _fake_ollama(request: pytest.FixtureRequest, *, elsewhere: bool = False) -> Place:
    fake = _started(request, elsewhere=elsewhere)
    fill_fake(fake, "library/sample", ollama_model(), "1b")
    return _ollama_at(request, fake.server.url)


def _bundle(request: pytest.FixtureRequest, *, packed: bool = False) -> Place:
    """A folder that another tool may have made, as it lies or in a tar."""
    folder: Path = request.getfixturevalue("tmp_path")
    sample = index_of_two()
    path = layout_of(folder / "layout", sample, "team/sample:v1")
    if packed:
        path = folder / "bundle.tar"
        with tarfile.open(path, "w") as tar:
            tar.add(folder / "layout", arcname=".")
    return Place(
        remote=open_local(path),
        ref=parse("team/sample:v1"),
        missing=parse("team/sample:none"),
        sample=sample,
        tags=["team/sample:v1"],
    )


PLACES: Mapping[str, Callable[[pytest.FixtureRequest], Place]] = {
    "docker-registry": _plain,
    "docker-registry with a password": _password,
    "docker-registry behind nginx with TLS": _tls,
    "docker-registry with a token server": _tokens,
    "fake registry": _fake,
    "fake registry whose blobs lie elsewhere": partial(_fake, elsewhere=True),
    "Ollama's manifests in docker-registry": _ollama,
    "Ollama's manifests in the fake registry": _fake_ollama,
    "Ollama's manifests, and blobs elsewhere": partial(_fake_ollama, elsewhere=True),
    "folder": _bundle,
    "bundle": partial(_bundle, packed=True),
}
"""Each fills a place and gives its remote; what it started ends with the test (`request.addfinalizer`)."""
