"""How the settings of the network are read from text; each raises ValueError when the text will not do."""

from __future__ import annotations

from collections.abc import Callable

from registry.errors import UsageError
from registry.remotes.network import parse_proxy
from registry.remotes.urls import BadUrl, parse
from slmctl.config import Value, read_path


def items(value: Value) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in str(value or "").split(",") if part.strip()))


def table(text: str) -> dict[str, tuple[str, ...]]:
    pairs = (part.partition("=") for part in text.split(";") if part.strip())
    return {host.strip(): items(places) for host, _, places in pairs}


def read_yes_or_no(text: str) -> bool:
    known = {
        "1": True,
        "true": True,
        "yes": True,
        "on": True,
        "0": False,
        "false": False,
        "no": False,
        "off": False,
    }
    try:
        return known[text.strip().lower()]
    except KeyError:
        raise ValueError("it is yes or no") from None


def read_connections(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:4]) <= 64:
        raise ValueError("it takes a number from 1 to 64")
    return int(text)


def read_chunk_size(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 4096 <= int(text[:12]) <= 1 << 30:
        raise ValueError("it takes a number of bytes from 4096 to 1073741824")
    return int(text)


def read_text(text: str) -> str:
    if not text.strip() or any(character < " " for character in text):
        raise ValueError("it is empty or has a control character")
    return text.strip()


def read_folders(text: str) -> str:
    return ":".join(read_path(each) for each in text.split(":") if each.strip())


def read_place(text: str) -> str:
    """`host` or `host:port`, as `Url.place` writes it. Raises ValueError."""
    try:
        url = parse(f"http://{text.strip()}/")
    except BadUrl as error:
        raise ValueError(str(error)) from None
    if url.target != "/":
        raise ValueError("it is no host")
    return url.place


def read_places(text: str) -> str:
    return ",".join(read_place(each) for each in text.split(",") if each.strip())


def read_mirrors(text: str) -> str:
    """Places per host: `HOST=PLACE,PLACE;HOST=...`."""
    return _per_host(text, lambda place: parse(place if "://" in place else f"https://{place}"))


def read_token_servers(text: str) -> str:
    """Addresses per host."""
    return _per_host(text, parse)


def _per_host(text: str, check: Callable[[str], object]) -> str:
    entries = []
    for host, places in table(text).items():
        if not places:
            raise ValueError(f"there is none for {host:.60}")
        for place in places:
            try:
                check(place)
            except BadUrl as error:
                raise ValueError(f"{place:.60} for {host:.60} cannot be: {error}") from None
        entries.append(f"{read_place(host)}={','.join(places)}")
    return ";".join(entries)


def read_endpoint(text: str) -> str:
    try:
        return str(parse(text.strip())).rstrip("/")
    except BadUrl as error:
        raise ValueError(str(error)) from None


def read_proxy(text: str) -> str:
    try:
        parse_proxy(text)
    except UsageError as error:
        raise ValueError(error.message.rstrip(".")) from None
    return text.strip()


def without_password(text: str) -> str:
    proxy = parse_proxy(text)
    return proxy.shown if proxy.authorization is None else proxy.shown.replace("://", "://***@")


def is_set(_text: str) -> str:
    return "(set, not shown)"


def read_rate(text: str) -> int:
    """Bytes per second; 0 is none."""
    if not text.isascii() or not text.isdigit() or len(text) > 15:
        raise ValueError("it takes a number of bytes per second")
    return int(text)
