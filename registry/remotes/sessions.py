"""Uploads that a registry has begun, and the addresses at which they go on.

OCI distribution specification 1.1, "Pushing blobs": the address may change with each answer, and may be at
another origin, where the rules of redirects hold and none of our credentials go.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from registry.errors import Unreachable
from registry.remotes.connection import Connection
from registry.remotes.http import Answer
from registry.remotes.urls import BadUrl, join, parse


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """An upload that the registry has begun: its address, and the answer that gave it."""

    location: str
    given_by: Answer = field(repr=False)


def session_of(answer: Answer, connection: Connection, before: Session | None = None) -> Session:
    """The session that an answer names; `before` goes on where it names none. Raises Unreachable."""
    shown = connection.repository.shown
    location = answer.headers.get("Location")
    if location is None:
        if before is not None:
            return before
        raise Unreachable(f"{shown} began an upload and did not say where.")
    try:
        url = join(parse(answer.url), location)
    except BadUrl as error:
        raise Unreachable(f"{shown} sends an upload to an address that is none: {error}.") from None
    if url.scheme == "http" and connection.repository.scheme == "https":
        raise Unreachable(f"{shown} sends an upload to {url.place} without encryption, so nothing was sent.")
    return Session(location=str(url), given_by=answer)


def least_chunk(answer: Answer) -> int:
    """The smallest chunk that a registry takes, but for the last ("Pushing a blob in chunks"); 0 if any."""
    text = answer.headers.get("OCI-Chunk-Min-Length", "")
    return int(text) if re.fullmatch(r"[0-9]{1,10}", text, re.ASCII) else 0
