"""The settings of the network: whom to trust, which proxy, whose tokens, what is offline.

Variables of other tools mean what they mean there: curl and requests (proxies, bundles of certificates),
huggingface_hub, docker and podman. The environment is given: `slmctl.config` reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from registry.remotes.network import CaPlace
from registry.transfer.pace import Pace
from slmctl.config import Resolved, Setting, Value, find, read_path, read_seconds
from slmctl.network_texts import (
    is_set,
    items,
    read_chunk_size,
    read_connections,
    read_endpoint,
    read_folders,
    read_mirrors,
    read_places,
    read_proxy,
    read_rate,
    read_text,
    read_token_servers,
    read_yes_or_no,
    table,
    without_password,
)

if TYPE_CHECKING:
    from slmctl.config import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSettings:
    """What the user said about the network, where he said it once for all commands.

    `ca` is in the order in which it is added to the operating system's store. `mirrors` are places to ask
    before a host, best first; `search` are beginnings of names to which a bare name is appended. `hf_token`
    and what is in `proxies` are secrets.
    """

    ca: tuple[CaPlace, ...]
    proxies: Mapping[str, str] = field(repr=False)
    no_proxy: str
    offline: bool
    plain_http: frozenset[str]
    connect_timeout: float
    stall_timeout: float
    pace: Pace
    """How many connections a transfer uses, and how much each asks for at a time."""
    min_rate: int
    mirrors: Mapping[str, tuple[str, ...]]
    search: tuple[str, ...]
    hf_endpoint: str
    hf_token: str | None = field(repr=False)
    hf_token_file: Path
    hf_offline: bool
    docker_config: Path
    """Docker's folder, with config.json."""
    registry_auth_files: tuple[Path, ...]
    """Podman's files of logins, best first; they need not be there."""
    docker_config_is_named: bool
    """Whether the user named Docker's folder, so that it counts before podman's usual files."""
    registry_auth_file_is_named: bool
    token_servers_file: Path
    """Where `login --token-server` keeps what the user said."""
    token_servers: Mapping[str, tuple[str, ...]]
    """Per registry, the addresses of token servers that may have its passwords."""
    helper_environment: Mapping[str, str] = field(repr=False)
    """What credential helpers are run with."""
    resolved: tuple[Resolved, ...]

    @classmethod
    def load(cls, settings: Settings) -> NetworkSettings:
        """Raises UsageError for a value that will not do, with the place where it stands."""
        environment = settings.environment
        values: dict[str, Value] = {}
        resolved = []
        for setting in NETWORK_SETTINGS:
            value, origin = find(setting, environment, settings.written, settings.file) or (
                _default(setting.key, environment, values),
                "default",
            )
            values[setting.key] = value
            shown = setting.shown(str(value)) if setting.shown is not None and value is not None else value
            resolved.append(Resolved(key=setting.key, value=shown, origin=origin))
        asked = {each.key: each.origin.removeprefix("environment ") for each in resolved}
        return cls(
            ca=tuple(_ca(values, asked)),
            proxies={
                scheme: str(values[f"{scheme}_proxy"])
                for scheme in ("http", "https", "all")
                if values[f"{scheme}_proxy"]
            },
            no_proxy=str(values["no_proxy"] or ""),
            offline=bool(values["offline"]),
            plain_http=frozenset(items(values["plain_http"])),
            connect_timeout=_number(values["connect_timeout"]),
            stall_timeout=_number(values["stall_timeout"]),
            pace=Pace(connections=_count(values["connections"]), chunk_bytes=_count(values["chunk_size"])),
            min_rate=int(_number(values["min_rate"])),
            mirrors=table(str(values["mirrors"] or "")),
            search=items(values["names.search"]),
            hf_endpoint=str(values["hf_endpoint"]),
            hf_token=str(values["hf_token"]) if values["hf_token"] else None,
            hf_token_file=Path(str(values["hf_token_path"])),
            hf_offline=bool(values["hf_offline"]),
            docker_config=Path(str(values["docker_config"])),
            registry_auth_files=tuple(_auth_files(values["registry_auth_file"], environment)),
            registry_auth_file_is_named=bool(values["registry_auth_file"]),
            token_servers_file=settings.home / "token-servers.json",
            docker_config_is_named=asked["docker_config"] != "default",
            token_servers=table(str(values["token_servers"] or "")),
            helper_environment=dict(environment),
            resolved=tuple(resolved),
        )


def _ca(values: Mapping[str, Value], asked: Mapping[str, str]) -> list[CaPlace]:
    places = []
    for key in ("ssl_cert_file", "ssl_cert_dir", "requests_ca_bundle", "curl_ca_bundle", "ca"):
        is_folder = key == "ssl_cert_dir"
        for path in str(values[key] or "").split(":") if is_folder else [str(values[key] or "")]:
            if path:
                origin = asked[key]
                named_by = (
                    f"{key} in {origin.removeprefix('file ')}" if origin.startswith("file ") else origin
                )
                places.append(CaPlace(named_by=named_by, path=Path(path), is_folder=is_folder))
    return places


def _auth_files(named: Value, environment: Mapping[str, str]) -> list[Path]:
    """Where podman, skopeo and buildah look (containers-auth.json(5))."""
    if named:
        return [Path(str(named))]
    files = []
    if runtime := environment.get("XDG_RUNTIME_DIR"):
        files.append(Path(runtime) / "containers" / "auth.json")
    config = environment.get("XDG_CONFIG_HOME") or str(_home(environment) / ".config")
    return [*files, Path(config) / "containers" / "auth.json"]


def _default(key: str, environment: Mapping[str, str], values: Mapping[str, Value]) -> Value:
    match key:
        case "hf_home":
            cache = environment.get("XDG_CACHE_HOME") or str(_home(environment) / ".cache")
            return str(Path(cache) / "huggingface")
        case "hf_token_path":
            return str(Path(str(values["hf_home"])) / "token")
        case "docker_config":
            return str(_home(environment) / ".docker")
        case _:
            return _DEFAULTS.get(key)


_DEFAULTS: Mapping[str, Value] = {
    "offline": False,
    "connect_timeout": 10.0,
    "stall_timeout": 30.0,
    "connections": Pace().connections,
    "chunk_size": Pace().chunk_bytes,
    "min_rate": 0,
    "names.search": "ollama://library",
    "hf_endpoint": "https://huggingface.co",
    "hf_offline": False,
}


def _home(environment: Mapping[str, str]) -> Path:
    try:
        return Path(environment["HOME"]) if environment.get("HOME") else Path.home()
    except RuntimeError:  # no HOME, and a user that the system does not know
        return Path("/nonexistent")


def _count(value: Value) -> int:
    assert isinstance(value, int)
    return value


def _number(value: Value) -> float:
    assert isinstance(value, (int, float))
    return value


def _proxy_setting(scheme: str, about: str) -> Setting:
    name = f"{scheme}_proxy"
    return Setting(
        key=name, variables=(name, name.upper()), read=read_proxy, about=about, shown=without_password
    )


def _file_setting(key: str, variable: str, about: str) -> Setting:
    return Setting(key=key, variables=(variable,), read=read_path, about=about)


NETWORK_SETTINGS: tuple[Setting, ...] = (
    Setting(
        key="offline",
        variables=("SLMCTL_OFFLINE",),
        read=read_yes_or_no,
        about="whether to ask nobody, and to say so where somebody would have to be asked",
    ),
    _file_setting("ca", "SLMCTL_CA", "a PEM file or a folder of certificates to trust, besides the system's"),
    _file_setting("ssl_cert_file", "SSL_CERT_FILE", "as ca, by OpenSSL's name"),
    Setting(
        key="ssl_cert_dir",
        variables=("SSL_CERT_DIR",),
        read=read_folders,
        about="folders of certificates to trust, with colons between them, by OpenSSL's name",
        separator=":",
    ),
    _file_setting("requests_ca_bundle", "REQUESTS_CA_BUNDLE", "as ca, by the name of Python's requests"),
    _file_setting("curl_ca_bundle", "CURL_CA_BUNDLE", "as ca, by curl's name"),
    _proxy_setting("http", "the proxy for http addresses: http://[user:password@]host:port"),
    _proxy_setting("https", "the proxy for https addresses: http://[user:password@]host:port"),
    _proxy_setting("all", "the proxy for what has none of its own: http://[user:password@]host:port"),
    Setting(
        key="no_proxy",
        variables=("no_proxy", "NO_PROXY"),
        read=read_text,
        about="hosts that are asked without a proxy, with commas between them",
    ),
    Setting(
        key="plain_http",
        variables=("SLMCTL_PLAIN_HTTP",),
        read=read_places,
        about="hosts (host or host:port) that may be asked over http://, with commas between them",
    ),
    Setting(
        key="connect_timeout",
        variables=("SLMCTL_CONNECT_TIMEOUT",),
        read=read_seconds,
        about="seconds that a connection may take to be made",
    ),
    Setting(
        key="stall_timeout",
        variables=("SLMCTL_STALL_TIMEOUT",),
        read=read_seconds,
        about="seconds without anything coming after which a connection is given up",
    ),
    Setting(
        key="min_rate",
        variables=("SLMCTL_MIN_RATE",),
        read=read_rate,
        about="bytes per second below which a connection has stalled, over stall_timeout",
    ),
    Setting(
        key="connections",
        variables=("SLMCTL_CONNECTIONS",),
        read=read_connections,
        about="how many connections a transfer uses at once",
    ),
    Setting(
        key="chunk_size",
        variables=("SLMCTL_CHUNK_SIZE",),
        read=read_chunk_size,
        about="bytes that a connection asks for at a time; a restart loses no more of each",
    ),
    Setting(
        key="mirrors",
        variables=("SLMCTL_MIRRORS",),
        read=read_mirrors,
        about="other places that have what a host has: HOST=PLACE,PLACE;HOST=... or a table of lists",
        is_table=True,
    ),
    Setting(
        key="names.search",
        variables=("SLMCTL_NAMES_SEARCH",),
        read=read_text,
        about="where a bare name is looked for, with commas between the places",
    ),
    Setting(
        key="hf_endpoint",
        variables=("HF_ENDPOINT",),
        read=read_endpoint,
        about="the address of the Hugging Face Hub, or of another one like it",
    ),
    Setting(
        key="hf_offline",
        variables=("HF_HUB_OFFLINE",),
        read=read_yes_or_no,
        about="whether the Hugging Face Hub is not to be asked",
    ),
    _file_setting("hf_home", "HF_HOME", "Hugging Face's folder"),
    _file_setting("hf_token_path", "HF_TOKEN_PATH", "the file with the token for the Hugging Face Hub"),
    Setting(
        key="hf_token",
        variables=("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"),
        read=read_text,
        about="the token for the Hugging Face Hub",
        shown=is_set,
    ),
    _file_setting("docker_config", "DOCKER_CONFIG", "Docker's folder, whose config.json has logins"),
    _file_setting("registry_auth_file", "REGISTRY_AUTH_FILE", "podman's file of logins"),
    Setting(
        key="token_servers",
        variables=("SLMCTL_TOKEN_SERVERS",),
        read=read_token_servers,
        about="token servers that may have a registry's passwords: HOST=URL,URL;HOST=... or a table of lists",
        is_table=True,
    ),
)
