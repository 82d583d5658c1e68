"""What use cases tell while they work; the command line shows it, or writes it as JSON lines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from registry.digest import Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """`done` of `total` bytes of `item` are through; `stage` says with what: "copy", "hash", "verify",
    "export", "import", "unpack", or "measure", of a text."""

    stage: str
    item: str
    done: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """How far a pull or a push is: `done` of `total` bytes of one blob, and of all of them.

    `stage` is "pull" or "push", `item` what the blob is called. Bytes that were there already count as done
    and stand in `reused` too, so that they are no part of a speed; all counts are in bytes. `digest` is the
    blob's.
    """

    stage: str
    item: str
    done: int
    total: int
    all_done: int
    all_total: int
    reused: int
    digest: Digest | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Something the user should know and need not act on. One sentence."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLog:
    """The last words of an engine that failed, as it wrote them."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadsFromDisk:
    """A model of `size` bytes is not in memory yet, so that its loading takes a while."""

    size: int


Event = Progress | Transfer | Note | EngineLog | ReadsFromDisk
OnEvent = Callable[[Event], None]


def ignore(_: Event) -> None:
    pass


def go_on() -> None:
    """What is asked several times during long work: whoever wants it to end raises."""


_STEPS = 200
_MAX_STEP_BYTES = 64 << 20


class ByteCounter:
    """Turns "so many more bytes" into Progress events about one item: one at its end, and before it as many
    as anybody can use."""

    def __init__(self, on_event: OnEvent, *, stage: str, item: str, total: int) -> None:
        self._on_event = on_event
        self._stage = stage
        self._item = item
        self._total = total
        self._done = 0
        self._step = min(total // _STEPS, _MAX_STEP_BYTES)
        self._next = 0

    def __call__(self, count: int) -> None:
        self._done = min(self._done + count, self._total)  # what is read twice counts once
        if self._done < min(self._next, self._total):
            return
        self._next = self._done + self._step
        self._on_event(Progress(stage=self._stage, item=self._item, done=self._done, total=self._total))
