"""What a transfer tells while it goes on. All of it is told in the thread that asked for the transfer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from registry.remotes.base import Blob


@dataclass(frozen=True, slots=True, kw_only=True)
class Present:
    """There is nothing to transfer: the blob is there already."""

    blob: Blob


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed:
    """An earlier attempt had `count` bytes of the blob; the transfer goes on from there."""

    blob: Blob
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """`count` more bytes of the blob are there; fewer, where some must be transferred again."""

    blob: Blob
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Another process fetches the blob, and has `done` bytes of it. Told now and then, until it has ended."""

    blob: Blob
    done: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrying:
    """Something failed, as `reason` says in a sentence. `source` is asked (again) after `seconds`.

    It is another source than before where the first one was given up.
    """

    blob: Blob
    source: str
    reason: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The blob is whole, verified and durable."""

    blob: Blob


TransferEvent = Present | Resumed | Moved | Waiting | Retrying | Finished

OnEvent = Callable[[TransferEvent], None]


def silent(_: TransferEvent) -> None:
    """For who does not want to hear of it."""
