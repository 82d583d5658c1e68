"""What a recording may have: this machine, and names and addresses that are nobody's."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_NOBODYS_NAMES = ("test", "example", "invalid", "example.com", "example.net", "example.org")
"""Reserved for documentation and tests (RFC 2606, RFC 6761): tests name them where no host is to be there."""

_NOBODYS_NETWORKS = tuple(
    map(ipaddress.ip_network, ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32"))
)
"""Reserved for documentation (RFC 5737, RFC 3849)."""


NAMED = "named"
"""The event of a test that names a host on purpose."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Somebody asked for a host, and by what: a connection, or a name looked up."""

    event: str
    host: str
    port: str
    program: str
    test: str

    def __str__(self) -> str:
        who = f"{self.program!r}, in {self.test}" if self.test else f"{self.program!r}"
        return f"{self.event} {self.host!r} {self.port} by {who}"


def recorded(folder: Path) -> Iterator[Asked]:
    """All that is in a recording."""
    for path in sorted(folder.iterdir()):
        for line in path.read_text(encoding="utf-8").splitlines():
            yield Asked(*line.split("\t", 4))


def is_here(host: str) -> bool:
    """Whether a host is this machine."""
    name = host.lower().rstrip(".")
    if name in {"", "localhost"} or name.endswith(".localhost"):
        return True
    address = _address(name)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address is not None and (address.is_loopback or address.is_unspecified)


def is_nobodys(host: str) -> bool:
    """Whether a host is reserved, so that it can be nobody's."""
    name = host.lower().rstrip(".")
    address = _address(name)
    if address is not None:
        return any(address in network for network in _NOBODYS_NETWORKS)
    return any(name == each or name.endswith(f".{each}") for each in _NOBODYS_NAMES)


def strangers(folder: Path, *, strict: bool = False) -> list[Asked]:
    """Whoever was asked that no test may ask for. With `strict` nobody but this machine may be asked.

    A test may ask for whom it names (`plugin.py`), and so may programs of which nobody knows the test.
    """
    all_of_it = list(recorded(folder))
    named = {(each.host, each.test) for each in all_of_it if each.event == NAMED}
    named |= {(host, "") for host, _ in named}
    asked = [each for each in all_of_it if each.event != NAMED]
    found = [each for each in asked if not is_here(each.host) and (each.host, each.test) not in named]
    return [each for each in found if strict or not is_nobodys(each.host)]


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return None
