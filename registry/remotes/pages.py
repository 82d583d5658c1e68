"""Lists that come in pages: the next page's address is in a Link header (RFC 8288), and only the registry's
own origin is followed, never in a circle, never for ever."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TypeVar

from registry.errors import BadContent
from registry.manifest import MAX_MANIFEST_BYTES
from registry.remotes.connection import Connection
from registry.remotes.http import Answer
from registry.remotes.realms import origin_of
from registry.remotes.urls import BadUrl, join, parse

MAX_PAGES = 100
MAX_BYTES = 4 * MAX_MANIFEST_BYTES
"""All pages of one list together."""

T = TypeVar("T")

_NEXT = re.compile(r'<([^<>]*)>[^,<>]*;\s*rel\s*=\s*"?next"?', re.ASCII | re.IGNORECASE)


def pages(connection: Connection, url: str, what: str, read: Callable[[Answer, bytes], T]) -> Iterator[T]:
    """What `read` makes of each page of `what`. Raises BadContent for a list without an end."""
    shown = connection.repository.shown
    seen: set[str] = set()
    bytes_left = MAX_BYTES

    def use(answer: Answer) -> tuple[T, int, str | None]:
        raw = answer.read(min(MAX_MANIFEST_BYTES, bytes_left))
        return read(answer, raw), len(raw), _next(answer, connection)

    following: str | None = url
    while following is not None:
        if following in seen or len(seen) == MAX_PAGES or bytes_left <= 0:
            raise BadContent(f"{shown} gives {what} without an end.")
        seen.add(following)
        value, size, following = connection.ask("GET", following, what, use)
        bytes_left -= size
        yield value


def _next(answer: Answer, connection: Connection) -> str | None:
    for header in answer.values("Link"):
        if found := _NEXT.search(header[:16384]):
            shown = connection.repository.shown
            try:
                url = join(parse(answer.url), found[1])
            except BadUrl as error:
                raise BadContent(f"{shown} names a next page that is no address: {error}.") from None
            if origin_of(url) != connection.repository.origin:
                raise BadContent(f"{shown} names a next page at {url.place}, another server.")
            return str(url)
    return None
