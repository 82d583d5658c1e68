"""What the user said about the network, and which proxy that means. Pure: no environment, no sockets."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from types import MappingProxyType
from urllib.parse import unquote

from registry.errors import UsageError
from registry.remotes.addresses import Scope, literal_address, scope_of_host
from registry.remotes.urls import BadUrl, Url, parse

NOTHING: Mapping[str, str] = MappingProxyType({})

MIN_STALL_BYTES = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class CaPlace:
    """A file or folder of certificates that the user trusts, and what named it: `SSL_CERT_FILE`, `--ca`."""

    named_by: str
    path: Path
    is_folder: bool = False

    def __str__(self) -> str:
        return f"{self.named_by}{' ' if self.named_by.startswith('-') else '='}{self.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings:
    """What the user said about the network.

    `ca` comes after the operating system's store. `proxies` are addresses by scheme (`http`, `https`, `all`),
    which may carry passwords; `no_proxy` is a list as curl(1) reads it. `plain_http` and `named_hosts` are
    places as `Url.place` writes them: those where http:// is permitted (to this machine it always is), and
    those the user named himself, so that redirects may go there wherever they lie. `offline` says why nothing
    may be asked, in words that follow "because". Times are seconds; a body that brings fewer than
    `stall_bytes` within `stall_timeout` has stalled; `document_timeout` bounds a small document as a whole.
    """

    ca: tuple[CaPlace, ...] = ()
    proxies: Mapping[str, str] = field(default_factory=lambda: NOTHING, repr=False)
    no_proxy: str = ""
    offline: str | None = None
    plain_http: frozenset[str] = frozenset()
    named_hosts: frozenset[str] = frozenset()
    user_agent: str = "slmctl"
    connect_timeout: float = 10.0
    stall_timeout: float = 30.0
    stall_bytes: int = MIN_STALL_BYTES
    document_timeout: float = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """`url` has no password in it; `authorization` is the header's value, or None."""

    url: Url
    authorization: str | None = field(default=None, repr=False)

    @property
    def shown(self) -> str:
        return f"{self.url.scheme}://{self.url.place}"


def proxy_for(url: Url, settings: HttpSettings) -> Proxy | None:
    """The proxy that a request to `url` goes through, None for none. Raises UsageError for a bad address.

    As curl does it, but for one thing: this machine itself is never asked through a proxy elsewhere, which
    would take `localhost` for itself (and unencrypted, as http:// to this machine needs no permission). A
    proxy on this machine gets such requests too, unless NO_PROXY names the host.
    """
    text = settings.proxies.get(url.scheme) or settings.proxies.get("all")
    if not text or is_excepted(url, settings.no_proxy):
        return None
    proxy = parse_proxy(text)
    here = scope_of_host(url.host) is Scope.LOOPBACK
    return None if here and scope_of_host(proxy.url.host) is not Scope.LOOPBACK else proxy


def parse_proxy(text: str) -> Proxy:
    """Read what a proxy variable says: `[http://][user:password@]host[:port]`. Raises UsageError."""
    scheme, mark, rest = text.strip().partition("://")
    if not mark:
        scheme, rest = "http", text.strip()
    hint = "Write it as http://host:port or http://user:password@host:port."
    if scheme.lower() not in {"http", "https"}:
        raise UsageError(f"A proxy of the kind {scheme!r:.20} is not supported.", hint=hint)
    credentials, at, place = rest.rpartition("@")
    place = place.partition("/")[0]
    try:
        url = parse(f"{scheme}://{place}/")
    except BadUrl as error:
        raise UsageError(f"The proxy's address is not one: {error}.", hint=hint) from None
    if ":" not in place.rpartition("]")[2]:
        url = Url(url.scheme, url.host, 443 if url.scheme == "https" else 1080, "/")  # as curl does
    if not at:
        return Proxy(url=url)
    user, _, password = credentials.partition(":")
    pair = f"{unquote(user)}:{unquote(password)}".encode()
    return Proxy(url=url, authorization=f"Basic {base64.b64encode(pair).decode('ascii')}")


def is_excepted(url: Url, no_proxy: str) -> bool:
    """Whether NO_PROXY names the host of `url`.

    Names cover their subdomains, with or without a dot in front; addresses may have a length (10.0.0.0/8);
    `*` is all; a port behind a name restricts it to that port.
    """
    address = literal_address(url.host)
    for entry in no_proxy.replace(",", " ").lower().split():
        if entry == "*":
            return True
        name, port = _split_port(entry)
        if port is not None and port != url.port:
            continue
        if address is not None:
            try:
                inside = address in ip_network(name, strict=False)  # without a length: of one address
            except ValueError:
                inside = False
            if inside:
                return True
            continue
        name = name.removeprefix("*").strip(".")
        if name and (url.host == name or url.host.endswith(f".{name}")):
            return True
    return False


def _split_port(entry: str) -> tuple[str, int | None]:
    if entry.startswith("["):
        name, _, behind = entry[1:].partition("]")
        port = behind.removeprefix(":")
    elif entry.count(":") == 1:
        name, _, port = entry.partition(":")
    else:
        name, port = entry, ""
    return name, int(port) if port.isascii() and port.isdigit() else None
