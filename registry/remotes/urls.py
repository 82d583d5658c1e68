"""Addresses of the web, read strictly: one text means one host to everybody, or it is refused.

Parsers differ on backslashes, user names, fragments, numbers as hosts and empty labels, and such differences
have sent requests past checks (CVE-2026-24779, CVE-2025-6242). What this reader takes, all take alike.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import quote, urljoin

_PORTS = {"http": 80, "https": 443}
_URL = re.compile(r"(?P<scheme>[a-zA-Z][a-zA-Z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<rest>.*)", re.DOTALL)
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
_MAX_LENGTH = 16 * 1024
_PRINTABLE = "".join(map(chr, range(33, 127)))


class BadUrl(ValueError):
    """A text that is no address, or not to everybody the same one; says why, and never quotes secrets."""


@dataclass(frozen=True, slots=True)
class Url:
    """`host` is lower case, IPv6 without brackets; `target` is path and query, as they go over the wire."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def origin(self) -> tuple[str, str, int]:
        """What credentials belong to."""
        return self.scheme, self.host, self.port

    @property
    def place(self) -> str:
        """What messages call the server: `host` or `host:port`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if _PORTS[self.scheme] == self.port else f"{host}:{self.port}"

    @property
    def shown(self) -> str:
        """For messages: without the query, where signatures and tokens are."""
        path, query, _ = self.target.partition("?")
        return f"{self.scheme}://{self.place}{path:.200}{'?...' if query else ''}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.place}{self.target}"

    def __repr__(self) -> str:
        return f"Url({self.shown!r})"


def parse(text: str) -> Url:
    """Read an absolute http or https address. Raises BadUrl."""
    if len(text) > _MAX_LENGTH:
        raise BadUrl("it is longer than 16 KiB")
    if any(character <= " " or character == "\x7f" for character in text):
        raise BadUrl("it has a space or a control character")
    if "\\" in text:
        raise BadUrl("it has a backslash, which some read as a slash")
    found = _URL.fullmatch(text)
    if found is None:
        raise BadUrl("it is no http or https address")
    scheme = found["scheme"].lower()
    if scheme not in _PORTS:
        raise BadUrl(f"its scheme is {scheme!r:.20}, and only http and https are followed")
    authority, rest = found["authority"], found["rest"]
    if "@" in authority:
        raise BadUrl("it has a user name")
    if rest.startswith("#"):
        raise BadUrl("it has a fragment where the path should begin")
    host, port = _authority(authority, _PORTS[scheme])
    try:
        target = quote(rest.partition("#")[0], safe=_PRINTABLE)
    except UnicodeEncodeError:
        raise BadUrl("it has characters that are none") from None
    return Url(scheme, host, port, target if target.startswith("/") else f"/{target}")


def join(base: Url, location: str) -> Url:
    """Where a Location header leads. Raises BadUrl.

    Header text comes as latin-1; what is beyond ASCII is percent-encoded byte by byte.
    """
    try:
        location = quote(location.strip(" \t").encode("latin-1"), safe=_PRINTABLE)
    except UnicodeEncodeError:
        raise BadUrl("it has characters that no header has") from None
    if "\\" in location:
        raise BadUrl("it has a backslash, which some read as a slash")
    if location.startswith(("//", "http:", "https:")) and not re.match(r"(https?:)?//[^/]", location):
        raise BadUrl("it has no host")
    try:
        joined = urljoin(str(base), location)
    except ValueError:
        raise BadUrl("it is no http or https address") from None
    return parse(joined)


def _authority(text: str, default: int) -> tuple[str, int]:
    if text.startswith("["):
        inside, bracket, behind = text[1:].partition("]")
        try:
            host = str(IPv6Address(inside))
        except ValueError:
            raise BadUrl("what stands in brackets is no IPv6 address") from None
        if not bracket or "%" in inside or (behind and not behind.startswith(":")):
            raise BadUrl("what stands in brackets is no IPv6 address")
        return host, _port(behind[1:]) if behind else default
    name, colon, port = text.partition(":")
    return _host(name.lower()), _port(port) if colon else default


def _port(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text, re.ASCII) or not 0 < int(text) < 65536:
        raise BadUrl("its port is no number from 1 to 65535")
    return int(text)


def _host(name: str) -> str:
    if not name or len(name) > 253:
        raise BadUrl("it has no host" if not name else "its host's name is too long")
    labels = name.split(".")
    if re.fullmatch(r"[0-9]+|0x[0-9a-f]*", labels[-1], re.ASCII):  # as browsers decide what is a number
        try:
            return str(IPv4Address(name))
        except ValueError:
            raise BadUrl("its host is a number that is not written as an IPv4 address is") from None
    for label in labels:
        if not _LABEL.fullmatch(label):
            raise BadUrl("its host's name is not one of letters, digits and hyphens")
        if label.startswith("xn--"):
            try:
                decoded = label[4:].encode("ascii").decode("punycode")
            except (UnicodeError, ValueError, OverflowError):
                decoded = ""
            if not decoded.isprintable() or decoded.isascii():
                raise BadUrl("its host's name has an xn-- part that says nothing")
    return name
