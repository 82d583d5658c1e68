"""A part of a file over HTTP: whether the answer is the part that was asked for.

RFC 9110, sections 13.1.5 (If-Range), 14 (ranges), 15.3.7 (206).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from registry.errors import BadContent, SizeMismatch
from registry.remotes.base import Changed, TryAgain
from registry.remotes.http import Answer

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19}|\*)", re.ASCII)
_STRONG = re.compile(r'"[!#-~\x80-\xff]{0,512}"')


class RangedBody:
    """The bytes of one answer up to `stop`; see `registry.remotes.base.Body`."""

    def __init__(self, answer: Answer, *, start: int, stop: int, size: int, shown: str) -> None:
        self.start = start
        self.validator = strong_validator(answer)
        self._answer = answer
        self._stop = stop
        self._size = size
        self._shown = shown

    def __iter__(self) -> Iterator[bytes]:
        position = self.start
        end = self._size if self._answer.status == 200 else self._stop
        for piece in self._answer.chunks(end - self.start):
            wanted = piece[: self._stop - position]
            position += len(wanted)
            if wanted:
                yield wanted
            if position == self._stop < end:
                return
        if position < self._stop:
            raise TryAgain(
                f"{self._shown} ended after {position - self.start} of {self._stop - self.start} bytes."
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._answer.close()


def range_headers(start: int, stop: int, size: int, validator: str | None) -> dict[str, str]:
    """What to ask for the bytes from `start` up to `stop` of `size`, in the state `validator`."""
    if not 0 <= start <= stop <= size or (start == stop and size):
        raise ValueError(f"the bytes {start} to {stop} of {size} cannot be asked for")
    headers = {"Accept-Encoding": "identity"}
    if (start, stop) != (0, size) and start < stop:
        headers["Range"] = f"bytes={start}-{stop - 1}"
        if validator is not None:
            headers["If-Range"] = validator
    return headers


def ranged_body(
    answer: Answer, *, start: int, stop: int, size: int, validator: str | None, shown: str
) -> RangedBody:
    """The body of a 200 or a 206, checked by its head. `shown` names file and place in messages.

    Raises Changed, SizeMismatch, BadContent.
    """
    encoding = answer.headers.get("content-encoding", "identity").lower()
    if encoding not in {"", "identity"}:
        raise BadContent(f"{shown} comes in the encoding {encoding!r:.30}, which nobody asked for.")
    now = strong_validator(answer)
    if validator is not None and now is not None and now != validator:
        raise Changed(f"{shown} is not what it was when its first part came.")
    if answer.status == 200:
        if answer.length is not None and answer.length != size:
            raise SizeMismatch(f"{shown} has {answer.length} bytes there, and should have {size}.")
        return RangedBody(answer, start=0, stop=stop, size=size, shown=shown)
    found = _CONTENT_RANGE.fullmatch(answer.headers.get("content-range", ""))
    if found is None:
        raise BadContent(f"{shown} comes in a part that does not say which it is.")
    first, last, total = found.groups()
    if total != "*" and int(total) != size:
        raise SizeMismatch(f"{shown} has {total} bytes there, and should have {size}.")
    if int(first) != start or not start <= int(last) < stop:
        raise BadContent(f"{shown} came from byte {first} to {last}, asked from {start} to {stop - 1}.")
    return RangedBody(answer, start=start, stop=stop, size=size, shown=shown)


def strong_validator(answer: Answer) -> str | None:
    """The ETag if it is a strong one, which alone tells that two parts belong together."""
    text = answer.headers.get("etag", "")
    return text if _STRONG.fullmatch(text) else None
