"""Where the files of a repository lie: with the hub itself, or with a CDN at an address that is signed and
expires. It is kept for the next ranges of the same file; when it is refused, the hub is asked again, once."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from registry.errors import DigestMismatch, SizeMismatch, Unauthorized, Unreachable
from registry.formats.quote import quoted
from registry.remotes.http import Answer
from registry.remotes.hub_connection import REDIRECTS, HubConnection, target_of
from registry.remotes.hub_refusals import refusal

_EXPIRED = frozenset({400, 401, 403, 404, 410})
_HASH = re.compile(r'(?:W/)?"?([0-9a-f]{64}|[0-9a-f]{40})"?', re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A file at a commit, and what the listing says of it: `sha256` in hex, None where it says another hash;
    `size` in bytes."""

    repository: str
    commit: str
    path: str
    sha256: str | None
    size: int

    @property
    def shown(self) -> str:
        return f"the file {quoted(self.path, 120)}"


@dataclass(frozen=True, slots=True)
class _Signed:
    """An address at a CDN, and the hub's answer that gave it."""

    wish: Wish
    url: str
    given_by: Answer


class HubFiles:
    """The files of one hub; several threads may ask for them."""

    def __init__(self, connection: HubConnection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._kept: dict[Wish, _Signed] = {}
        self._asking: dict[Wish, threading.Lock] = {}

    def get(self, wish: Wish, headers: Mapping[str, str]) -> Answer:
        """A successful answer with the file, or the part that `headers` ask for: from the address that is
        known, else from the one that the hub gives.

        Raises DigestMismatch when the hub says with its redirect that the file is another, SizeMismatch for a
        part behind its end, and as `refusal` and `HttpClient.send`.
        """
        stale: _Signed | None = None
        for last in (False, True):
            signed = self._address(wish, headers, stale)
            if isinstance(signed, Answer):
                return self._checked(signed, wish)
            try:
                answer = self._connection.http.send(
                    "GET", signed.url, headers=headers, came_from=signed.given_by
                )
            except Unreachable:
                self._forget(signed)
                raise
            if answer.status not in _EXPIRED or last:
                break
            answer.close()
            stale = signed
        return self._checked(answer, wish)

    def _address(self, wish: Wish, headers: Mapping[str, str], stale: _Signed | None) -> _Signed | Answer:
        """Where the file lies: as it is known, unless that is `stale`, else as the hub says; the hub's answer
        itself when the file lies there. Who asks for one file at the same time waits for the first."""
        with self._lock:
            asking = self._asking.setdefault(wish, threading.Lock())
        with asking:
            kept = self._kept.get(wish)
            if kept is not None and kept is not stale:
                return kept
            path = quote(f"/{wish.repository}/resolve/{wish.commit}/{wish.path}")
            answer = self._connection.get(path, headers)
            if answer.status not in REDIRECTS:
                return answer
            with answer:
                _check_linked(answer, wish)
                signed = _Signed(wish, str(target_of(answer)), answer)
                answer.discard()
            self._kept[wish] = signed
            return signed

    def _forget(self, signed: _Signed) -> None:
        with self._lock:
            if self._kept.get(signed.wish) is signed:
                del self._kept[signed.wish]

    def _checked(self, answer: Answer, wish: Wish) -> Answer:
        """The answer if it is a success; else it is closed, and what it means raised."""
        if answer.status in {200, 206}:
            return answer
        shown = f"hf.co/{wish.repository}"
        with answer:
            if answer.status == 416:
                raise SizeMismatch(f"{shown} has fewer bytes of {wish.shown} than its listing says.")
            if answer.status in _EXPIRED and not self._connection.is_ours(answer):
                raise Unauthorized(
                    f"{answer.way.url.place}, where the hub sends us for {wish.shown} of {shown}, refuses it"
                    f" twice (it answered {answer.status}).",
                    hint="Check this machine's clock and proxy, and try again.",
                )
            raise refusal(answer, repository=wish.repository, what=wish.shown, access=self._connection.access)


def _check_linked(answer: Answer, wish: Wish) -> None:
    """What the hub says of the file with its redirect is what its listing said, as far as it says it."""
    tag = _HASH.fullmatch(answer.headers.get("x-linked-etag", ""))
    length = answer.headers.get("x-linked-size", "")
    other_hash = tag is not None and len(tag[1]) == 64 and wish.sha256 is not None and tag[1] != wish.sha256
    other_size = length.isascii() and length.isdigit() and int(length[:20]) != wish.size
    if other_hash or other_size:
        raise DigestMismatch(
            f"The hub has another file {quoted(wish.path, 120)} in hf.co/{wish.repository} than it listed.",
            hint="Try again; if it stays so, tell the repository's owner.",
        )
