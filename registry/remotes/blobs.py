"""Blobs of a registry, from any byte to any byte.

A registry often answers with a redirect to a store of blobs, at a signed address that counts for minutes. It
is kept for the next ranges of the same blob, so that each costs one request; when it is refused, the
registry is asked again, once. RFC 9110, sections 13.1.5 (If-Range), 14 (ranges) and 15.3.7 (206).
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from registry.digest import Digest
from registry.errors import BadContent, SizeMismatch, Unauthorized, Unreachable
from registry.remotes.answers import refusal
from registry.remotes.base import Blob, Changed, TryAgain
from registry.remotes.connection import Connection
from registry.remotes.http import Answer

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19}|\*)", re.ASCII)
_STRONG = re.compile(r'"[!#-~\x80-\xff]{0,512}"')
_EXPIRED = frozenset({400, 401, 403, 404, 410})
_MAX_KEPT = 256


class AnswerBody:
    """The bytes of one answer from `start` up to `stop`; see `registry.remotes.base.Body`."""

    def __init__(self, answer: Answer, *, start: int, stop: int, size: int, shown: str) -> None:
        self.start = start
        self.validator = strong_validator(answer)
        self._answer = answer
        self._stop = stop
        self._size = size
        self._shown = shown

    def __iter__(self) -> Iterator[bytes]:
        position = self.start
        whole = self.start == 0 and self._answer.status == 200
        for piece in self._answer.chunks((self._size if whole else self._stop) - self.start):
            piece = piece[: self._stop - position]
            position += len(piece)
            if piece:
                yield piece
            if position == self._stop < self._size and whole:
                return
        if position < self._stop:
            raise TryAgain(
                f"{self._shown} stopped sending after {position - self.start} of"
                f" {self._stop - self.start} bytes."
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._answer.close()


class Blobs:
    """The blobs of one repository; several threads may open them."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._addresses: dict[Digest, Answer] = {}  # those that came from there

    def open(self, blob: Blob, start: int, stop: int, validator: str | None) -> AnswerBody:
        """As `registry.remotes.base.BlobSource.open`."""
        if not 0 <= start <= stop <= blob.size or (start == stop and blob.size):
            raise ValueError(f"the bytes {start} to {stop} of {blob.size} cannot be asked for")
        headers = {"Accept-Encoding": "identity"}
        if (start, stop) != (0, blob.size):
            headers["Range"] = f"bytes={start}-{stop - 1}"
            if validator is not None:
                headers["If-Range"] = validator
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
    ) -> AnswerBody:
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
        encoding = answer.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in {"", "identity"}:
            raise BadContent(f"{repository.shown} gave {what} in an encoding that nobody asked for.")
        now = strong_validator(answer)
        if validator is not None and now is not None and now != validator:
            raise Changed(f"{repository.shown} has something else now where {what} was.")
        if answer.status == 206:
            self._check_range(answer, blob, start, stop)
            return AnswerBody(answer, start=start, stop=stop, size=blob.size, shown=repository.shown)
        self._check_whole(answer, blob)
        return AnswerBody(answer, start=0, stop=stop, size=blob.size, shown=repository.shown)

    def _check_range(self, answer: Answer, blob: Blob, start: int, stop: int) -> None:
        text = answer.headers.get("Content-Range", "")
        shown = self._connection.repository.shown
        found = _CONTENT_RANGE.fullmatch(text.strip())
        if found is None:
            raise BadContent(f"{shown} gave a part of the blob {blob.digest.short} and did not say which.")
        first, last, total = found.groups()
        if int(first) != start or not start <= int(last) < stop:
            raise BadContent(
                f"{shown} gave the bytes {first} to {last} of the blob {blob.digest.short}, asked for"
                " those from"
                f" {start} to {stop - 1}."
            )
        if total != "*" and int(total) != blob.size:
            raise SizeMismatch(
                f"The blob {blob.digest.short} of {shown} has {total} bytes there, and {blob.size} by"
                " its manifest."
            )

    def _check_whole(self, answer: Answer, blob: Blob) -> None:
        if answer.length is not None and answer.length != blob.size:
            raise SizeMismatch(
                f"The blob {blob.digest.short} of {self._connection.repository.shown} has"
                f" {answer.length} bytes"
                f" there, and {blob.size} by its manifest."
            )


def strong_validator(answer: Answer) -> str | None:
    """The answer's ETag if it is a strong one, which alone can tell that two parts belong together."""
    text = answer.headers.get("ETag", "").strip()
    return text if _STRONG.fullmatch(text) else None
