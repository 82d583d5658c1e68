"""The network as one command uses it: the settings, what the command line added, and one HTTP client."""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from registry.remotes.network import MIN_STALL_BYTES, CaPlace, HttpSettings
from registry.remotes.urls import BadUrl, parse
from slmctl import __version__
from slmctl.network_settings import NetworkSettings

if TYPE_CHECKING:
    from registry.remotes.http import HttpClient


class Network:
    """Made by every command that may ask somebody; makes no connection, and imports no HTTP, before it does.

    `ca`, `offline` and `plain_http` are what the command line said. Close it at the end. Thread-safe.
    """

    def __init__(
        self,
        settings: NetworkSettings,
        *,
        ca: Path | None = None,
        offline: bool = False,
        plain_http: bool = False,
    ) -> None:
        self.settings = settings
        self._ca = ca
        self._offline = offline
        self._plain_http = plain_http
        self._named: set[str] = set()
        self._permitted: set[str] = set()
        self._lock = threading.Lock()
        self._client: HttpClient | None = None
        for address in _set_by_the_user(settings):
            self._name(address, plain_http=False)

    def named(self, host: str, *, plain_http: bool = False) -> None:
        """The user named this host (`host`, `host:port` or an address): redirects may go there.

        With `plain_http`, or when the address begins with http://, it may be asked without encryption; so may
        it when the command line permitted that for the hosts it named.
        """
        self._name(host, plain_http=plain_http or self._plain_http)
        with self._lock:
            if self._client is not None:
                self._client.settings = self.http_settings()

    def _name(self, host: str, *, plain_http: bool) -> None:
        try:
            url = parse(host if "://" in host else f"https://{host}")
        except BadUrl:
            return  # whoever asks it will hear why it is none
        self._named.add(url.place)
        if plain_http or url.scheme == "http":
            self._permitted.add(url.place)

    @property
    def offline(self) -> str | None:
        """Why nobody may be asked, in words that follow "because"; None when one may."""
        if self._offline:
            return "--offline was given"
        if self.settings.offline:
            origin = next(each.origin for each in self.settings.resolved if each.key == "offline")
            return f"slmctl is set to be offline ({origin})"
        return None

    @property
    def hub_offline(self) -> str | None:
        """As `offline`, for the Hugging Face Hub."""
        if self.offline is None and self.settings.hf_offline:
            return "HF_HUB_OFFLINE is set"
        return self.offline

    @property
    def http(self) -> HttpClient:
        """The client, made when it is first asked for."""
        with self._lock:
            if self._client is None:
                from registry.remotes.http import HttpClient  # requests takes long to import

                self._client = HttpClient(self.http_settings())
            return self._client

    def http_settings(self) -> HttpSettings:
        """What the client is told."""
        given = self.settings
        added = () if self._ca is None else (CaPlace(named_by="--ca", path=self._ca),)
        return HttpSettings(
            ca=(*given.ca, *added),
            proxies=given.proxies,
            no_proxy=given.no_proxy,
            offline=self.offline,
            plain_http=given.plain_http | self._permitted,
            named_hosts=frozenset(self._named),
            user_agent=f"slmctl/{__version__}",
            connect_timeout=given.connect_timeout,
            stall_timeout=given.stall_timeout,
            stall_bytes=max(MIN_STALL_BYTES, int(given.min_rate * given.stall_timeout)),
        )

    def close(self) -> None:
        with self._lock:
            if self._client is not None:
                self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _set_by_the_user(settings: NetworkSettings) -> list[str]:
    """Addresses that the settings name."""
    origins = {each.key: each.origin for each in settings.resolved}
    hub = [] if origins["hf_endpoint"] == "default" else [settings.hf_endpoint]
    return [*hub, *(place for places in settings.mirrors.values() for place in places)]
