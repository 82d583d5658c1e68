"""Blobs of a registry, from any byte to any byte.

A registry often answers with a redirect to a store of blobs, at a signed address that counts for minutes. It
is kept for the next ranges of the same blob, so that each costs one request; when it is refused, the
registry is asked again, once. RFC 9110, sections 13.1.5 (If-Range), 14 (ranges) and 15.3.7 (206).
"""

from __future__ import annotations

import threading

from registry.digest import Digest
from registry.errors import SizeMismatch, Unauthorized, Unreachable
from registry.remotes.answers import refusal
from registry.remotes.base import Blob, Changed
from registry.remotes.connection import Connection
from registry.remotes.http import Answer
from registry.remotes.ranges import RangedBody, range_headers, ranged_body

_EXPIRED = frozenset({400, 401, 403, 404, 410})
_MAX_KEPT = 256


class Blobs:
    """The blobs of one repository; several threads may open them."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._addresses: dict[Digest, Answer] = {}  # those that came from there

    def open(self, blob: Blob, start: int, stop: int, validator: str | None) -> RangedBody:
        """As `registry.remotes.base.BlobSource.open`."""
        headers = range_headers(start, stop, blob.size, validator)
        answer = self._fetch(blob, headers)
        try:
            return self._checked(answer, blob, start, stop, validator)
        except BaseException:
            answer.close()
            raise

    def _fetch(self, blob: Blob, headers: dict[str, str]) -> Answer:
        connection = self._connection
        with self._lock:
            before = self._addresses.get(blob.digest)
        if before is not None:
            try:
                answer = connection.http.send("GET", before.url, headers=headers, came_from=before)
            except Unreachable:
                self._forget(blob.digest, before)
                raise
            if answer.status not in _EXPIRED:
                return answer
            answer.close()
            self._forget(blob.digest, before)
        url = connection.repository.blob(blob.digest)
        answer = connection.send("GET", url, headers=headers)
        if answer.status in _EXPIRED and not connection.is_ours(answer):
            answer.close()  # an address that had expired when we came
            answer = connection.send("GET", url, headers=headers)
        if answer.status in {200, 206} and not connection.is_ours(answer):
            with self._lock:
                if len(self._addresses) < _MAX_KEPT:
                    self._addresses[blob.digest] = answer
        return answer

    def _forget(self, digest: Digest, before: Answer) -> None:
        with self._lock:
            if self._addresses.get(digest) is before:
                del self._addresses[digest]

    def _checked(
        self, answer: Answer, blob: Blob, start: int, stop: int, validator: str | None
    ) -> RangedBody:
        """A body for an answer that is what was asked for, or at least the whole blob."""
        repository = self._connection.repository
        what = f"the blob {blob.digest.short}"
        if answer.status == 412:
            raise Changed(f"{repository.shown} has something else now where {what} was.")
        if answer.status == 416:
            raise SizeMismatch(f"{repository.shown} has fewer bytes of {what} than its manifest says.")
        if answer.status not in {200, 206}:
            if answer.status in {401, 403} and not self._connection.is_ours(answer):
                raise Unauthorized(
                    f"{repository.shown} sends us for {what} to {answer.way.url.place}, which refuses"
                    " it twice"
                    f" (it answered {answer.status}).",
                    hint="Try again; if it stays so, ask who runs the registry.",
                )
            raise refusal(answer, what, repository.shown)
        return ranged_body(
            answer,
            start=start,
            stop=stop,
            size=blob.size,
            validator=validator,
            shown=f"The blob {blob.digest.short} of {repository.shown}",
        )
