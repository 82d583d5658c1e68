"""How the settings of the server are read from text; each raises ValueError when the text will not do.

The variables of Ollama's are read as Ollama reads them, which refuses nothing: what will not do counts as
not set, or as true.
"""

from __future__ import annotations

import ipaddress
import math
import re
from urllib.parse import urlsplit

from registry.errors import UsageError
from slmctl.app.durations import parse_duration

DEFAULT_PORT = 11434

_SIZE = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,6})?) ?([kmgt]i?)b", re.IGNORECASE | re.ASCII)
_POWERS = "kmgt"
_HOST = re.compile(r"[A-Za-z0-9_.-]{1,253}", re.ASCII)
_COUNT = re.compile(r"[0-9]{1,9}", re.ASCII)
_GO_DURATION = re.compile(r"[-+]?(0|((\d+\.?\d*|\.\d+)(h|ms|m|s|us|µs|ns))+)", re.ASCII)


def items(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def read_host(text: str) -> str:
    """A name or an address, without a port; IPv6 with or without brackets."""
    text = text.strip()
    bare = text.removeprefix("[").removesuffix("]") if text.startswith("[") else text
    if ":" in bare:
        try:
            return str(ipaddress.IPv6Address(bare))
        except ValueError:
            raise ValueError("it takes a name or an address without a port") from None
    if not _HOST.fullmatch(bare):
        raise ValueError("it takes a name or an address")
    return bare


def read_port(text: str) -> int:
    if not _COUNT.fullmatch(text.strip()) or int(text) > 65535:
        raise ValueError("it takes a port from 0 to 65535; 0 takes any that is free")
    return int(text)


def host_of_ollama(text: str) -> str:
    """The host in OLLAMA_HOST; empty for all addresses of this machine."""
    return ollama_address(text)[0]


def port_of_ollama(text: str) -> int:
    return ollama_address(text)[1]


def ollama_address(text: str) -> tuple[str, int]:
    """Host and port of `[scheme://]host[:port][/path]` in OLLAMA_HOST; a bad port is the scheme's."""
    text = text.strip().strip("\"'").strip()
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = "", text
    usual = {"http": 80, "https": 443}.get(scheme, 443 if text == "ollama.com" else DEFAULT_PORT)
    place = rest.partition("/")[0]
    host, port = _split(place)
    if port is None:
        return host or "127.0.0.1", usual
    return host, int(port) if _COUNT.fullmatch(port) and int(port) <= 65535 else usual


def _split(place: str) -> tuple[str, str | None]:
    """Host and the port's text, None where there is none: an address with colons is no host with a port."""
    if place.startswith("["):
        host, bracket, rest = place[1:].partition("]")
        return host, rest[1:] if bracket and rest.startswith(":") else None
    if place.count(":") > 1:
        return place, None
    host, colon, port = place.partition(":")
    return host, port if colon else None


def read_hosts(text: str) -> str:
    """Names that requests may ask for: `name`, `name:port`, `*.domain`, or `*` for any."""
    for each in items(text):
        name = each.removeprefix("*.").rpartition(":")[0] if each.count(":") == 1 else each.removeprefix("*.")
        if name != "*":
            read_host(name)
    return ",".join(items(text))


def read_origins(text: str) -> str:
    """Web origins: `https://app.example`, with a * in the host for any."""
    for each in items(text):
        parts = urlsplit(each)
        if each != "*" and (not parts.scheme or not (parts.netloc or parts.path == "*") or parts.query):
            raise ValueError(f"{each:.60} is no origin such as https://app.example")
    return ",".join(each.rstrip("/") for each in items(text))


def origins_of_ollama(text: str) -> str:
    """OLLAMA_ORIGINS; what is no origin is left out."""
    kept = []
    for each in items(text.strip().strip("\"'")):
        try:
            kept.append(read_origins(each))
        except ValueError:
            continue
    return ",".join(kept)


def read_networks(text: str) -> str:
    """Addresses and networks; `unix` is whoever comes by the socket."""
    for each in items(text):
        if each != "unix":
            try:
                ipaddress.ip_network(each, strict=False)
            except ValueError:
                raise ValueError(f"{each:.60} is no address and no network") from None
    return ",".join(items(text))


def read_root_path(text: str) -> str:
    path = text.strip().rstrip("/")
    if path and (not path.startswith("/") or not re.fullmatch(r"[A-Za-z0-9/._~-]+", path) or "//" in path):
        raise ValueError("it takes a path such as /models")
    return path


def read_names(text: str) -> str:
    return ",".join(items(text))


def read_keep(text: str) -> float:
    """Seconds; infinity for ever."""
    try:
        return parse_duration(text, what="it")
    except UsageError:
        raise ValueError("it takes a length of time: 5m, 90, 0 for not at all, -1 for ever") from None


def keep_of_ollama(text: str) -> float | None:
    """OLLAMA_KEEP_ALIVE; what is no length of time counts as not set."""
    text = text.strip().strip("\"'").strip()
    if not _GO_DURATION.fullmatch(text) and not re.fullmatch(r"[-+]?\d{1,15}", text, re.ASCII):
        return None
    try:
        return parse_duration(text, what="it")
    except UsageError:
        return math.inf  # longer than a year


def read_period(text: str) -> float:
    """Seconds, above 0 and finite."""
    seconds = read_keep(text)
    if not 0 < seconds < math.inf:
        raise ValueError("it takes a length of time above 0, such as 30s")
    return seconds


def read_grace(text: str) -> float:
    """Seconds, finite; 0 for none."""
    seconds = read_keep(text)
    if math.isinf(seconds):
        raise ValueError("it takes a length of time, such as 30s")
    return seconds


def shown_seconds(text: str) -> str:
    seconds = float(text)
    return "for ever" if math.isinf(seconds) else f"{seconds:g}s"


def read_count(text: str) -> int:
    if not _COUNT.fullmatch(text.strip()) or int(text) < 1:
        raise ValueError("it takes a number from 1")
    return int(text)


def read_any_count(text: str) -> int:
    if not _COUNT.fullmatch(text.strip()):
        raise ValueError("it takes a number from 0")
    return int(text)


def count_of_ollama(text: str) -> int | None:
    """A number from 1; what is none, and 0, counts as not set."""
    text = text.strip().strip("\"'").strip()
    return int(text) if _COUNT.fullmatch(text) and int(text) > 0 else None


def read_size(text: str) -> int:
    """Bytes: `6GB`, `512MiB`. A number alone is refused, and so is `3B`."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError("it takes a size such as 500MB, 6GB or 2GiB")
    unit = match[2].lower()
    power = _POWERS.index(unit[0]) + 1
    thousand: int = 1024 if unit.endswith("i") else 1000
    return round(float(match[1]) * float(thousand**power))


def read_mode(text: str) -> int:
    """Of the socket: 600, 660 or 666, as chmod writes it."""
    if text.strip().removeprefix("0") not in {"600", "660", "666"}:
        raise ValueError("it takes 600, 660 or 666")
    return int(text.strip(), 8)


def shown_mode(text: str) -> str:
    return f"{int(text):o}"
