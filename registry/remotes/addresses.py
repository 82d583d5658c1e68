"""Which addresses lie where: the public net, a private one, this machine. Pure.

What a server may make us connect to depends on it: nobody out there may send us to our own machine or into
our own network. An address that carries another one inside (IPv4-mapped, 6to4, NAT64, Teredo, ISATAP) lies
where the inner one lies. Sources: the IANA special-purpose registries (RFC 6890), RFC 3056, 4291, 4380, 5214,
6052 and 8215.
"""

from __future__ import annotations

import enum
import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

Address = IPv4Address | IPv6Address


class Scope(enum.IntEnum):
    """How far inside an address lies; what lies further out may not send us further in."""

    PUBLIC = 0
    PRIVATE = 1
    LOOPBACK = 2
    LINK_LOCAL = 3
    """Where clouds keep their metadata services, which hand out credentials to whoever asks."""
    RESERVED = 4
    """Multicast, broadcast, documentation, and what is not assigned: no server is there."""

    @property
    def shown(self) -> str:
        return _SHOWN[self]


_SHOWN = {
    Scope.PUBLIC: "a public address",
    Scope.PRIVATE: "a private address",
    Scope.LOOPBACK: "an address of this machine itself",
    Scope.LINK_LOCAL: "a link-local address",
    Scope.RESERVED: "an address where no server can be",
}


def _networks(*texts: str) -> list[IPv4Network | IPv6Network]:
    return [ip_network(text) for text in texts]


# the first match counts
_V4 = [
    (Scope.LOOPBACK, _networks("127.0.0.0/8", "0.0.0.0/8")),  # Linux connects 0.0.0.0 to itself
    (Scope.LINK_LOCAL, _networks("169.254.0.0/16")),
    (
        Scope.PRIVATE,
        _networks("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "198.18.0.0/15"),
    ),
    (
        Scope.RESERVED,
        _networks("192.0.0.0/24", "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3"),
    ),
]
_V6 = [
    (Scope.LOOPBACK, _networks("::/127")),  # ::1, and :: which connects to it
    (Scope.LINK_LOCAL, _networks("fe80::/10", "fd00:ec2::/32")),  # the latter: a cloud's metadata service
    (Scope.PRIVATE, _networks("fc00::/7", "fec0::/10")),
    (Scope.RESERVED, _networks("ff00::/8", "2001:db8::/32", "3fff::/20", "100::/64", "5f00::/16")),
    (Scope.PUBLIC, _networks("2000::/3")),
]


def scope_of(address: Address) -> Scope:
    """Where an address lies; one that carries another is as far inside as the further of the two."""
    if isinstance(address, IPv4Address):
        return next((scope for scope, networks in _V4 if any(address in n for n in networks)), Scope.PUBLIC)
    inner = carried(address)
    if inner is not None:
        return scope_of(inner)
    return next((scope for scope, networks in _V6 if any(address in n for n in networks)), Scope.RESERVED)


_EMBEDDED_LAST = _networks("::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96")


def carried(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address inside of an IPv6 address, None where there is none."""
    number = int(address)
    last = IPv4Address(number & 0xFFFFFFFF)
    if any(address in network for network in _EMBEDDED_LAST):
        return last
    if number >> 32 == 0 and number > 1:  # IPv4-compatible, long deprecated
        return last
    if number >> 112 == 0x2002:
        return IPv4Address(number >> 80 & 0xFFFFFFFF)
    if number >> 96 == 0x20010000:  # Teredo: the client's address, with all bits turned round
        return IPv4Address(~number & 0xFFFFFFFF)
    if number >> 80 == 0x0064FF9B0001:  # NAT64 within a network; the common split of RFC 6052 is /96
        return last
    if number >> 32 & 0xFFFFFFFF in {0x5EFE, 0x02005EFE}:
        return last
    return None


_NUMBER = re.compile(r"0[xX][0-9a-fA-F]*|[0-9]+", re.ASCII)


def literal_address(host: str) -> Address | None:
    """The address that `host` writes, in every way that a resolver understands; None for a name.

    `127.1`, `0177.0.0.1`, `0x7f000001` and `2130706433` are 127.0.0.1 to inet_aton(3), so they are here.
    """
    host = host.removeprefix("[").removesuffix("]").partition("%")[0]
    if ":" in host:
        try:
            return IPv6Address(host)
        except ValueError:
            return None
    parts = host.removesuffix(".").split(".")
    if not 1 <= len(parts) <= 4 or not all(_NUMBER.fullmatch(part) for part in parts):
        return None
    values = [_number(part) for part in parts]
    if None in values:
        return None
    numbers = [value for value in values if value is not None]
    *heads, tail = numbers
    if any(head > 255 for head in heads) or tail >= 256 ** (4 - len(heads)):
        return None
    number = sum(head << 8 * (3 - place) for place, head in enumerate(heads))
    return IPv4Address(number + tail)


def _number(text: str) -> int | None:
    if len(text) > 40:
        return None
    try:
        if text[:2].lower() == "0x":
            return int(text[2:] or "0", 16)
        return int(text, 8 if text.startswith("0") else 10)
    except ValueError:
        return None


_INNER_NAMES = ("local", "internal", "lan", "home.arpa", "intranet", "corp", "home")


def scope_of_host(host: str) -> Scope:
    """Where a host lies as far as its name tells, without asking anyone.

    For what a proxy resolves, that is all that can be known: literal addresses, `localhost`, names without a
    dot, and names that only private networks have (RFC 6761, 6762, 8375).
    """
    address = literal_address(host)
    if address is not None:
        return scope_of(address)
    name = host.lower().removesuffix(".")
    if name == "localhost" or name.endswith((".localhost", ".localdomain")) or name == "ip6-localhost":
        return Scope.LOOPBACK
    if name in {"metadata.google.internal", "metadata"}:
        return Scope.LINK_LOCAL
    if "." not in name or name.endswith(tuple(f".{inner}" for inner in _INNER_NAMES)):
        return Scope.PRIVATE
    return Scope.PUBLIC
