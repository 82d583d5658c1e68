"""Sources of blobs that follow a script, and record what they are asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Self

from registry.digest import Digest
from registry.errors import SlmctlError
from registry.remotes.base import Blob, Changed, TryAgain


def blob_of(data: bytes) -> Blob:
    return Blob(digest=Digest.of(data), size=len(data))


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What was asked for. `number` counts all requests of a source from 1."""

    blob: Blob
    start: int
    stop: int
    validator: str | None
    number: int


@dataclass(slots=True, kw_only=True)
class Answer:
    """How a request is answered. `pieces` are sent, then `error` is raised."""

    data: bytes
    start: int
    validator: str | None = None
    error: SlmctlError | None = None
    piece_bytes: int = 64 << 10
    before_piece: Callable[[int], None] | None = None


Script = Callable[[Request, Answer], None]
"""Changes the answer to a request, or raises."""


class _Body:
    def __init__(self, source: Source, answer: Answer) -> None:
        self.start = answer.start
        self.validator = answer.validator
        self._source = source
        self._answer = answer

    def __iter__(self) -> Iterator[bytes]:
        answer = self._answer
        for at in range(0, len(answer.data), answer.piece_bytes):
            if answer.before_piece is not None:
                answer.before_piece(at)
            piece = answer.data[at : at + answer.piece_bytes]
            self._source.served += len(piece)
            yield piece
        if answer.error is not None:
            raise answer.error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._source.lock:
            self._source.open_bodies -= 1


@dataclass(slots=True, kw_only=True)
class Source:
    """Has the bytes of `contents`; `script` may spoil an answer."""

    shown: str = "example.com/m"
    contents: dict[Digest, bytes] = field(default_factory=dict)
    script: Script | None = None
    validator: str | None = None
    requests: list[Request] = field(default_factory=list)
    served: int = 0
    open_bodies: int = 0
    most_bodies: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def has(self, *contents: bytes) -> Self:
        self.contents.update((Digest.of(data), data) for data in contents)
        return self

    def open(self, blob: Blob, start: int, stop: int, validator: str | None = None) -> _Body:
        with self.lock:
            number = len(self.requests) + 1
            request = Request(blob=blob, start=start, stop=stop, validator=validator, number=number)
            self.requests.append(request)
        answer = Answer(data=self.contents[blob.digest][start:stop], start=start, validator=self.validator)
        if validator is not None and validator != self.validator:
            raise Changed(f"{self.shown} has something else now.")
        if self.script is not None:
            self.script(request, answer)
        with self.lock:
            self.open_bodies += 1
            self.most_bodies = max(self.most_bodies, self.open_bodies)
        return _Body(self, answer)


def cut(answer: Answer, at: int) -> None:
    """The connection ends after `at` bytes."""
    answer.data = answer.data[:at]
    answer.error = TryAgain("The connection to example.com was cut.")
