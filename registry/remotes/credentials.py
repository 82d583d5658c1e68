"""Credentials for registries, from the files that Docker and podman share with everyone.

    file  = {"auths": {KEY: entry}, "credHelpers": {KEY: PROGRAM}, "credsStore": PROGRAM, ...}
    entry = {"auth": base64(USER ":" PASSWORD)} or {"username", "password"}; "identitytoken", "registrytoken"
    KEY   = host [":" port] ["/" path], or an old form: "https://index.docker.io/v1/", "https://host/v2/"

Formats: docker/cli (cli/config/configfile and types), containers-auth.json(5). A key with a path counts for
what lies below it, the longest first; the files are asked in order, and the first that knows the place is
believed. Credentials are looked up only when a server has asked for them. A file that cannot be read, or a
helper that does not work, is no reason to fail where none were needed: it is noted, and told when nothing
else lets us in.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from registry.errors import OperationFailed
from registry.remotes.credential_helpers import CredentialHelper

DOCKER_HUB_KEY = "https://index.docker.io/v1/"
"""What Docker calls its own hub in its config file."""

_DOCKER_HUB_HOSTS = frozenset(
    {"docker.io", "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"}
)
_MAX_FILE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """What opens a registry: a name and a password, or an identity token that is exchanged for others, or a
    registry token that is sent as it is. Secrets are never shown."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)
    origin: str = ""

    @property
    def basic(self) -> str | None:
        """The value of an Authorization header with name and password, None where there are none."""
        if not self.username and not self.password:
            return None
        return f"Basic {base64.b64encode(f'{self.username}:{self.password}'.encode()).decode()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What was found for a place, and what went wrong on the way, in sentences."""

    credential: Credential | None
    complaints: tuple[str, ...] = ()


class Keyring:
    """The files, in the order in which they are asked."""

    def __init__(
        self, files: Sequence[Path], *, search_path: str, helper_environment: Mapping[str, str]
    ) -> None:
        """`search_path` (PATH's value) and `helper_environment` are for credential helpers."""
        self._files = tuple(dict.fromkeys(files))
        self._search_path = search_path
        self._environment = dict(helper_environment)

    @property
    def files(self) -> tuple[Path, ...]:
        return self._files

    def find(self, host: str, repository: str = "") -> Found:
        """The credential for `repository` on `host` (with its port, if any). Raises nothing."""
        complaints: list[str] = []
        for path in self._files:
            try:
                document = read_auth_file(path)
            except OperationFailed as error:
                complaints.append(error.message)
                continue
            for credential in self._in_file(path, document, host, repository, complaints):
                return Found(credential=credential, complaints=tuple(complaints))
        return Found(credential=None, complaints=tuple(complaints))

    def helper(self, program: str) -> CredentialHelper:
        return CredentialHelper(program, search_path=self._search_path, environment=self._environment)

    def _in_file(
        self, path: Path, document: Mapping[str, object], host: str, repository: str, complaints: list[str]
    ) -> Iterator[Credential]:
        if found := helper_of(document, host, repository):
            program, key = found
            try:
                if (said := self.helper(program).get(key)) is not None:
                    username, secret = said
                    origin = f"docker-credential-{program}"
                    if username == "<token>":
                        yield Credential(identity_token=secret, origin=origin)
                    else:
                        yield Credential(username=username, password=secret, origin=origin)
            except OperationFailed as error:
                complaints.append(error.message)
        auths = document.get("auths")
        if not isinstance(auths, dict):
            return
        for key in matching_keys(auths, host, repository):
            try:
                credential = _entry(auths[key], str(path))
            except ValueError as error:
                complaints.append(f"The entry {key!r:.80} in {path} {error}.")
                continue
            if credential is not None:
                yield credential


def read_auth_file(path: Path) -> dict[str, object]:
    """A file of credentials as it is; empty where there is none. Raises OperationFailed."""
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_FILE_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise OperationFailed(f"The credentials in {path} cannot be read ({error.strerror}).") from None
    if not raw.strip():
        return {}
    try:
        document = json.loads(raw) if len(raw) <= _MAX_FILE_BYTES else None
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise OperationFailed(
            f"The file of credentials {path} is not a JSON object.", hint="Correct it, or move it away."
        )
    return document


def is_docker_hub(host: str) -> bool:
    """Whether a host is one of the names of Docker's own hub."""
    return host.lower() in _DOCKER_HUB_HOSTS


def helper_of(document: Mapping[str, object], host: str, repository: str = "") -> tuple[str, str] | None:
    """The credential helper that a file names for a place, and the key to ask it for."""
    helpers = document.get("credHelpers")
    if isinstance(helpers, dict):
        for key in matching_keys(helpers, host, repository):
            if isinstance(program := helpers[key], str) and program:
                return program, key
    store = document.get("credsStore")
    if isinstance(store, str) and store:
        return store, DOCKER_HUB_KEY if is_docker_hub(host) else host
    return None


def matching_keys(entries: Mapping[str, object], host: str, repository: str = "") -> list[str]:
    """The keys that count for `repository` on `host`, the most specific first; old forms come last."""
    hosts = _DOCKER_HUB_HOSTS if is_docker_hub(host) else frozenset({host.lower()})
    parts = repository.split("/") if repository else []
    suffixes = ["/".join(parts[:count]) for count in range(len(parts), -1, -1)]
    found: list[str] = []
    for suffix in suffixes:
        for key in entries:
            name, _, path = key.partition("/")
            if name.lower() in hosts and path == suffix and "://" not in key:
                found.append(key)
    for key in entries:
        scheme, separator, rest = key.partition("://")
        old = separator and scheme in {"http", "https"} and rest.partition("/")[0].lower() in hosts
        if key not in found and (old or _is_old_form(key, hosts)):
            found.append(key)
    return found


def _is_old_form(key: str, hosts: frozenset[str]) -> bool:
    """Whether a key is a host with the path of its API: `index.docker.io/v1/`."""
    name, _, path = key.partition("/")
    return name.lower() in hosts and path.strip("/") in {"v1", "v2"}


def _entry(value: object, origin: str) -> Credential | None:
    """One entry; None where it is empty, as those are whose secret a helper keeps. Raises ValueError."""
    if not isinstance(value, dict):
        raise ValueError("is not an object")
    texts = {}
    for key in ("auth", "username", "password", "identitytoken", "registrytoken"):
        text = value.get(key, "")
        if not isinstance(text, str):
            raise ValueError(f"has a field {key} that is not text")
        texts[key] = text
    username, password = texts["username"], texts["password"]
    if texts["auth"]:
        try:
            decoded = base64.b64decode(texts["auth"], validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise ValueError("is not base64 of a name and a password") from None
        username, colon, password = decoded.rstrip("\0").partition(":")
        if not colon:
            raise ValueError("holds no colon between a name and a password")
    if not any((username, password, texts["identitytoken"], texts["registrytoken"])):
        return None
    return Credential(
        username=username,
        password=password,
        identity_token=texts["identitytoken"],
        registry_token=texts["registrytoken"],
        origin=origin,
    )
