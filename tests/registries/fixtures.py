"""Fixtures: four real registries over the same files. A conftest.py imports what its tests use.

What is put into one is in all of them, so that an author need not log in.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from registry.names import ModelRef, parse
from registry.remotes.credentials import Credential, Keyring
from registry.remotes.http import HttpClient
from registry.remotes.network import CaPlace, HttpSettings
from registry.remotes.realms import Trust
from registry.remotes.registries import Registries
from registry.remotes.retry import Patience
from tests.registries.programs import PASSWORD, USER, Registry, behind_nginx, docker_registry, htpasswd
from tests.registries.token_server import TokenServer, token_server

LOGIN = Credential(username=USER, password=PASSWORD)


@dataclass(frozen=True)
class Tokens:
    """A registry with the server that makes its tokens."""

    registry: Registry
    server: TokenServer

    @property
    def trust(self) -> Trust:
        return {self.registry.url: frozenset({self.server.url})}


@pytest.fixture(scope="session")
def plain_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """For everybody."""
    with docker_registry(tmp_path_factory.mktemp("plain")) as registry:
        yield registry


@pytest.fixture(scope="session")
def password_registry(
    plain_registry: Registry, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Registry]:
    """For who knows the password."""
    folder = tmp_path_factory.mktemp("password")
    with docker_registry(folder, auth=htpasswd(folder), data=plain_registry.root) as registry:
        yield registry


@pytest.fixture(scope="session")
def tls_registry(password_registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """The same behind nginx, with a certificate of a private authority."""
    with behind_nginx(tmp_path_factory.mktemp("tls"), password_registry) as registry:
        yield registry


@pytest.fixture(scope="session")
def token_registry(plain_registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tokens]:
    """For who has a token."""
    folder = tmp_path_factory.mktemp("tokens")
    with token_server(folder / "bundle.pem") as server:
        settings = server.settings(folder / "bundle.pem")
        with docker_registry(folder, auth=settings, data=plain_registry.root) as registry:
            yield Tokens(registry, server)


def impatient(*, attempts: int = 4) -> Patience:
    """Patience that waits for nothing."""
    return Patience(attempts=attempts, sleep=lambda _: None)


def client_of(registry: Registry | None = None) -> HttpClient:
    """An HTTP client that trusts the registry's authority."""
    ca = () if registry is None or registry.ca is None else (CaPlace(named_by="--ca", path=registry.ca),)
    return HttpClient(HttpSettings(ca=ca, user_agent="slmctl/test"))


def registries_of(
    http: HttpClient, *, trust: Trust | None = None, files: tuple[Path, ...] = (), attempts: int = 4
) -> Registries:
    """What makes remotes, for tests."""
    keyring = Keyring(files, search_path="", helper_environment={})
    return Registries(http=http, keyring=keyring, trust=trust or {}, patience=impatient(attempts=attempts))


def name_in(registry: Registry, path: str) -> ModelRef:
    """A name in a registry: `team/model:v1`."""
    return parse(f"{'oci' if registry.ca else 'http'}://{registry.host}/{path}")
