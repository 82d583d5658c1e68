"""Remotes against the fake registry, and networks where its address counts as public."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from registry.digest import Digest
from registry.manifest import Descriptor
from registry.names import ModelRef, parse
from registry.remotes.addresses import Address, Scope, scope_of
from registry.remotes.auth import Authorizer
from registry.remotes.base import Blob
from registry.remotes.connection import Connection
from registry.remotes.credentials import Credential, Keyring
from registry.remotes.http import HttpClient
from registry.remotes.network import HttpSettings
from registry.remotes.oci import OciRemote
from registry.remotes.realms import Trust
from registry.remotes.repository import repository_of
from tests.fakes.registry import FakeRegistry
from tests.fakes.wire import Request
from tests.registries.fixtures import impatient

PATH = "team/model"


class Clock:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def name_at(fake: FakeRegistry, text: str = f"{PATH}:v1") -> ModelRef:
    return parse(f"http://{fake.server.place}/{text}")


def remote_at(
    fake: FakeRegistry,
    http: HttpClient,
    *,
    path: str = PATH,
    credential: Credential | None = None,
    trust: Trust | None = None,
    clock: Callable[[], float] | None = None,
    attempts: int = 3,
) -> OciRemote:
    """The remote of a repository in the fake registry."""
    repository = repository_of(name_at(fake, path), plain_http=True)
    authorizer = Authorizer(
        http,
        Keyring((), search_path="", helper_environment={}),
        repository,
        trust=trust or {},
        credential=credential,
        clock=clock or Clock(),
    )
    return OciRemote(Connection(http, repository, authorizer, impatient(attempts=attempts)))


@contextmanager
def client_in(
    *,
    names: Mapping[str, str] | None = None,
    public: frozenset[str] = frozenset(),
    plain_http: frozenset[str] = frozenset(),
    named: frozenset[str] = frozenset(),
) -> Iterator[HttpClient]:
    """A client for which `names` have these addresses, and the addresses in `public` lie in the public net."""

    def resolve(host: str, port: int) -> list[tuple[int, tuple[Any, ...]]]:
        return [(socket.AF_INET, ((names or {}).get(host, host), port))]

    def lies(address: Address) -> Scope:
        return Scope.PUBLIC if str(address) in public else scope_of(address)

    settings = HttpSettings(
        plain_http=plain_http, named_hosts=named, user_agent="slmctl/test", stall_timeout=5.0
    )
    with HttpClient(settings, resolve=resolve, scope_of=lies) as http:
        yield http


def blob_of(data: bytes) -> Blob:
    return Blob(digest=Digest.of(data), size=len(data))


def descriptor_of(data: bytes, media_type: str = "application/octet-stream") -> Descriptor:
    return Descriptor(media_type=media_type, digest=Digest.of(data), size=len(data))


def asked(requests: list[Request]) -> list[str]:
    """What was asked: `GET /v2/...`."""
    return [f"{request.method} {request.target}" for request in requests]


def secrets_in(requests: list[Request], *secrets: str) -> list[str]:
    """The requests that carried one of these anywhere."""
    return [
        f"{request.method} {request.target}"
        for request in requests
        if any(secret.encode() in request.raw_head + request.body for secret in secrets)
    ]
