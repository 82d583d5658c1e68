"""Registries as the user has them: logins that Docker and podman share, token servers, mirrors."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from registry.errors import OperationFailed
from registry.names import ModelRef
from registry.remotes.base import TryAgain
from registry.remotes.credentials import Keyring, is_docker_hub
from registry.remotes.realms import Trust, origin_of
from registry.remotes.repository import DOCKER_HUB_API
from registry.remotes.retry import OnWait, in_words, silent
from registry.remotes.urls import BadUrl, parse
from registry.store.durable import flush_folder, write_file
from slmctl.app.network import Network
from slmctl.network_settings import NetworkSettings

if TYPE_CHECKING:
    from registry.remotes.mirrors import MirroredRemote
    from registry.remotes.oci import OciRemote
    from registry.remotes.ollama import OllamaRemote
    from registry.remotes.registries import Registries

OnNote = Callable[[str], None]

_NOTICED_SECONDS = 2.0


def pull_remote(network: Network, ref: ModelRef, on_note: OnNote) -> OciRemote | MirroredRemote:
    """Where to pull a name of an OCI registry from. `on_note` is told of mirrors that disagree, and of waits.

    Raises InvalidReference, UsageError, Unreachable.
    """
    _name(network, ref)
    made = registries(network, on_wait=telling(on_note))
    return made.mirrored(ref, lambda disagreement: on_note(str(disagreement)))


def push_remote(network: Network, ref: ModelRef, on_note: OnNote) -> OciRemote:
    """Where to push a name of an OCI registry to: never a mirror. Raises InvalidReference, Unreachable."""
    _name(network, ref)
    return registries(network, on_wait=telling(on_note)).oci(ref)


def ollama_remote(network: Network, ref: ModelRef, on_note: OnNote) -> OllamaRemote:
    """Where to pull a name of Ollama's registry from. Raises InvalidReference."""
    return registries(network, on_wait=telling(on_note)).ollama(ref)


def telling(on_note: OnNote) -> OnWait:
    """Tells of waits that somebody would notice."""

    def on_wait(seconds: float, error: TryAgain) -> None:
        if seconds >= _NOTICED_SECONDS:
            on_note(f"{error.message} Trying again in {in_words(seconds)}.")

    return on_wait


def registries(
    network: Network,
    *,
    saved: Mapping[str, tuple[str, ...]] | None = None,
    on_wait: OnWait = silent,
) -> Registries:
    """What makes remotes of names, with all that the user said about registries.

    `saved` are the token servers to go by instead of those that are kept. Raises OperationFailed.
    """
    from registry.remotes.registries import Registries  # requests takes long to import

    settings = network.settings
    saved = saved_token_servers(settings.token_servers_file) if saved is None else saved
    trust = _trust(settings.token_servers, saved)
    for servers in trust.values():
        for server in servers:
            network.named(server)
    return Registries(
        http=network.http,
        keyring=keyring(settings),
        trust=trust,
        mirrors=settings.mirrors,
        on_wait=on_wait,
    )


def keyring(settings: NetworkSettings) -> Keyring:
    """The files of logins, those that the user named first."""
    docker = settings.docker_config / "config.json"
    files = (docker, *settings.registry_auth_files)
    if settings.registry_auth_file_is_named or not settings.docker_config_is_named:
        files = (*settings.registry_auth_files, docker)
    environment = settings.helper_environment
    return Keyring(files, search_path=environment.get("PATH", ""), helper_environment=environment)


def login_file(settings: NetworkSettings) -> Path:
    """The file that `login` writes: podman's where the user named one, else Docker's."""
    if settings.registry_auth_file_is_named:
        return settings.registry_auth_files[0]
    return settings.docker_config / "config.json"


def saved_token_servers(file: Path) -> dict[str, tuple[str, ...]]:
    """What `login --token-server` has kept: by the registry's host, addresses. Raises OperationFailed."""
    try:
        document = json.loads(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise OperationFailed(f"The token servers in {file} cannot be read ({error.strerror}).") from None
    except ValueError:
        document = None
    servers = document.get("token_servers") if isinstance(document, dict) else None
    if not isinstance(servers, dict) or not all(isinstance(value, list) for value in servers.values()):
        raise OperationFailed(f"The token servers in {file} are not readable.", hint="Delete the file.")
    return {str(host): tuple(str(each) for each in value) for host, value in servers.items()}


def save_token_servers(file: Path, servers: Mapping[str, tuple[str, ...]]) -> None:
    """Keep them; the file is replaced. Raises OperationFailed."""
    lists = {host: list(servers[host]) for host in servers}
    document = {"schema": "slmctl.token_servers/1", "token_servers": lists}
    temporary = file.with_suffix(".new")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_file(temporary, json.dumps(document, indent=2, sort_keys=True).encode() + b"\n")
        temporary.rename(file)
        flush_folder(file.parent)
    except OSError as error:
        raise OperationFailed(f"The token servers cannot be kept in {file} ({error.strerror}).") from None


def api_host(host: str) -> str:
    """The host whose API serves a registry that people call `host`."""
    return DOCKER_HUB_API if is_docker_hub(host) else host


def _trust(*tables: Mapping[str, tuple[str, ...]]) -> Trust:
    trust: dict[str, frozenset[str]] = {}
    for table in tables:
        for host, servers in table.items():
            origins = []
            for server in servers:
                try:
                    origins.append(origin_of(server))
                except BadUrl:
                    continue  # it can be no realm either
            for scheme in ("https", "http"):
                origin = f"{scheme}://{api_host(host)}"
                # over plain HTTP the registry may name a server without encryption, over TLS it may not
                trust[origin] = trust.get(origin, frozenset()) | frozenset(origins)
    return trust


def _name(network: Network, ref: ModelRef) -> None:
    if ref.host is not None:
        network.named(api_host(ref.host), plain_http=ref.plain_http)


def place_of_host(text: str) -> str:
    """A registry's host as `Url.place` writes it, from what a user wrote: `GHCR.io`, `https://host:5000/`.

    Raises BadUrl.
    """
    url = parse(text if "://" in text else f"https://{text}")
    if url.target.strip("/") not in {"", "v1", "v2"}:
        raise BadUrl("it has a path")
    return url.place
