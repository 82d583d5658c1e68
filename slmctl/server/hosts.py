"""By which names the server may be called, and from which pages.

A page of a stranger can have its own name resolve to this machine (DNS rebinding), and its requests are then
of one origin with us: only the Host header tells. So a Host is let in by a list, wherever the server listens:
loopback, the address that the connection came in on, and what `--allowed-host` names.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from starlette.types import Scope

from registry.errors import UsageError
from slmctl.serve_settings import ServeSettings
from slmctl.server.problems import Forbidden

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.?)(?::([0-9]{1,5}))?")
_PORTS = {"http": 80, "https": 443}
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Where a request comes from, and what its client calls us. `port` is that of the name."""

    scheme: str
    host: str
    port: int
    client: str | None


class Hosts:
    """Who may call us what. One for each server."""

    def __init__(self, serve: ServeSettings) -> None:
        self._any = "*" in serve.allowed_hosts
        self._names = {"localhost"} | {_plain(name) for name in serve.allowed_hosts if "*" not in name}
        if not _is_unspecified(serve.host):
            self._names.add(_plain(serve.host))
        self._endings = tuple(_plain(name[1:]) for name in serve.allowed_hosts if name.startswith("*."))
        self._origins = frozenset(origin.rstrip("/").lower() for origin in serve.allowed_origins)
        self._origin_endings = tuple(
            tuple(origin.split("*", 1)) for origin in self._origins if "*" in origin and origin != "*"
        )
        self._proxies = networks(serve.trusted_proxies)
        self._trust_socket = "unix" in serve.trusted_proxies

    def check_host(self, scope: Scope, headers: Mapping[str, str]) -> Peer:
        """What the client calls us. Raises UsageError for no name or several, Forbidden for a wrong one."""
        given = [value for name, value in scope["headers"] if name == b"host"]
        if len(given) != 1:
            raise UsageError("A request has exactly one Host header.")
        text, scheme, client = given[0].decode("latin-1"), str(scope.get("scheme", "http")), _address(scope)
        if self._trusts(client):
            text = headers.get("x-forwarded-host", text).split(",")[0].strip()
            scheme = headers.get("x-forwarded-proto", scheme).split(",")[0].strip().lower()
            client = self._client(headers.get("x-forwarded-for", "")) or client
        found = _HOST.fullmatch(text)
        if found is None or scheme not in _PORTS or int(found[2] or 0) > 65535:
            raise UsageError("The request's Host header is no name of a host.")
        host = _plain(found[1])
        if not self._lets_in(host, scope):
            raise Forbidden(
                f"This server does not answer to the name {host:.100}.",
                hint=f"If it is this server's, start it with: --allowed-host {host:.100}",
            )
        return Peer(scheme=scheme, host=host, port=int(found[2] or _PORTS[scheme]), client=client)

    def check_origin(self, method: str, headers: Mapping[str, str], peer: Peer) -> str | None:
        """The origin, of those that may read answers, whose page asks; None where no CORS header is due.

        Raises Forbidden for a page that may not ask.
        """
        origin = headers.get("origin")
        if origin is None:
            if headers.get("sec-fetch-site") == "cross-site" and method not in _SAFE_METHODS:
                raise Forbidden("A page of another site may not ask this server.", hint=_ORIGIN_HINT)
            return None
        if self.allows_origin(origin):
            return origin
        if method not in _SAFE_METHODS and origin.lower() not in _origins_of(peer):
            raise Forbidden("A page of another origin may not ask this server.", hint=_ORIGIN_HINT)
        return None

    def allows_origin(self, origin: str) -> bool:
        """Whether the settings name it. `https://*.example.org` stands for all below example.org."""
        if not origin.isascii() or not origin.isprintable() or len(origin) > 300:
            return False
        lower = origin.lower()
        return (
            "*" in self._origins
            or lower in self._origins
            or any(
                lower.startswith(begin) and lower.endswith(end) and len(lower) > len(begin) + len(end)
                for begin, end in self._origin_endings
            )
        )

    def _lets_in(self, host: str, scope: Scope) -> bool:
        if self._any or host in self._names or host.endswith(self._endings or ("\0",)):
            return True
        try:
            address = ipaddress.ip_address(host.strip("[]"))
        except ValueError:
            return False
        server = scope.get("server")
        return address.is_loopback or (server is not None and _same_address(str(server[0]), address))

    def _trusts(self, client: str | None) -> bool:
        if client is None:
            return self._trust_socket
        return bool(self._proxies) and any(_is_within(client, self._proxies))

    def _client(self, forwarded: str) -> str | None:
        """The last address that no trusted proxy has: what stands before it is the client's own word."""
        for text in reversed(forwarded.split(",")):
            try:
                address = str(ipaddress.ip_address(text.strip()))
            except ValueError:
                return None
            if not self._trusts(address):
                return address
        return None


_ORIGIN_HINT = "If it may, start the server with --allowed-origin and its origin."


def networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """The addresses and networks in `texts`; "unix" stands for the server's own socket.

    Raises UsageError for what is none.
    """
    found = []
    for text in texts:
        if text == "unix":
            continue
        try:
            found.append(ipaddress.ip_network(text, strict=False))
        except ValueError:
            raise UsageError(
                f"{text!r:.80} is not the address of a proxy.",
                hint="For example 127.0.0.1, 10.0.0.0/8, or unix for whoever asks through the socket.",
            ) from None
    return tuple(found)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens on `host`."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"


def check_bind(serve: ServeSettings, *, has_keys: bool, forced: bool) -> bool:
    """Whether the server stands open to a network: others reach it, and no key is asked for.

    Raises UsageError where nobody said that it may.
    """
    if not serve.tcp or is_loopback(serve.host) or has_keys:
        return False
    if forced:
        return True
    raise UsageError(
        f"At {serve.host or 'all addresses'}, anybody in the network could use this server and change its"
        " models: there is no API key.",
        hint="Make one with 'slmctl key add'; --open-to-all does without.",
    )


def _plain(host: str) -> str:
    return host.lower().rstrip(".") if not host.startswith("[") else host.lower()


def _is_unspecified(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_unspecified
    except ValueError:
        return not host


def _same_address(text: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    try:
        return not address.is_unspecified and ipaddress.ip_address(text.partition("%")[0]) == address
    except ValueError:
        return False


def _is_within(text: str, all_networks: Iterable[Network]) -> Iterable[bool]:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return ()
    return (address in network for network in all_networks)


def _address(scope: Scope) -> str | None:
    client = scope.get("client")
    return str(client[0]) if client else None


def _origins_of(peer: Peer) -> tuple[str, ...]:
    """The origin that a page of our own would have, as browsers write it."""
    with_port = f"{peer.scheme}://{peer.host}:{peer.port}"
    return (with_port.removesuffix(f":{_PORTS[peer.scheme]}"), with_port)
