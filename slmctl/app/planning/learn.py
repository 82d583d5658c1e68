"""What a load and its answers teach, on its way into the history. Imports little: every run has it.

how large the engine's buffers are -> how far the plan was off
how long an answer took            -> how fast this engine build is here
a death of too little memory       -> what this load needs more than
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from registry.errors import SlmctlError
from slmctl.app.events import OnEvent

if TYPE_CHECKING:
    from runtimes.kept import Kept
    from runtimes.planning.values import Evaluated
    from runtimes.process import Worker
    from runtimes.protocol import Finished

MIN_TOKENS = 20
"""Shorter answers say more about their beginning than about the speed (fit.md 6.6)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """What an answer's time is held against: the speed that was expected, and what a token reads.

    `bytes` of weights, `cache` of each token that is in the cache; `overhead` (seconds per layer) and
    `bandwidth` (bytes per second) are what was believed before.
    """

    engine: str
    build: str
    place: str
    machine: str
    threads: int
    layers: int
    bytes: int
    cache: int
    overhead: float
    bandwidth: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """A load as planned: `model` is its name, `build` the engine's; `free` what each memory had here."""

    model: str
    chosen: Evaluated
    build: str
    free: Mapping[str, int]


class Learning:
    """What one loaded model teaches. `lesson` is what was planned, None for a kept one, and for one that no
    plan was made for; `log` is the file with the engine's words. Nothing here raises."""

    def __init__(
        self, *, home: Path, pace: Pace | None = None, lesson: Lesson | None = None, log: Path | None = None
    ) -> None:
        self._home = home
        self._pace = pace
        self._lesson = lesson
        self._log = log
        self._compared = False

    def answered(self, worker: Worker | Kept, finished: Finished, on_event: OnEvent) -> None:
        """An answer came to its end; by then the engine has told how large its buffers are."""
        self._compare(worker, on_event)
        tokens, seconds = finished.generated_tokens, finished.generation_seconds
        if self._pace is None or tokens is None or seconds is None or tokens < MIN_TOKENS or seconds <= 0:
            return
        from slmctl.app.planning.lessons import sharpen  # here and below: no run has to wait for it

        # llama-server's clock starts when the first token is there already
        filled = (finished.prompt_tokens or 0) + tokens // 2
        sharpen(self._home, self._pace, filled, seconds / (tokens - 1))

    @contextmanager
    def watching(self, on_event: OnEvent) -> Iterator[None]:
        """While the model lives: whether it dies of too little memory."""
        try:
            yield
        except SlmctlError as error:
            if self._lesson is not None:
                from slmctl.app.planning.lessons import remember_death

                remember_death(self._home, self._lesson, error, on_event)
            raise

    def _compare(self, worker: Worker | Kept, on_event: OnEvent) -> None:
        if self._lesson is None or self._compared:
            return
        self._compared = True
        from slmctl.app.planning.lessons import compare_load

        compare_load(self._home, self._lesson, self._words(worker), on_event)

    def _words(self, worker: Worker | Kept) -> str:
        """The engine's own: those of a kept one are in its log alone."""
        try:
            if self._log is not None:
                return self._log.read_text(encoding="utf-8", errors="replace")
        except OSError:
            pass
        return worker.stderr_tail
