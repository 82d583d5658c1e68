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


@dataclass(frozen=True, slots=True, kw_only=True)
class Learning:
    """What one loaded model teaches. `lesson` is what was planned, None for a kept one, and for one that no
    plan was made for. Nothing here raises."""

    home: Path
    pace: Pace | None = None
    lesson: Lesson | None = None
    log: Path | None = None

    def loaded(self, worker: Worker | Kept, on_event: OnEvent) -> None:
        """The engine has told how large its buffers are."""
        if self.lesson is not None:
            from slmctl.app.planning.lessons import compare_load

            compare_load(self.home, self.lesson, self._words(worker), on_event)

    def answered(self, finished: Finished) -> None:
        """An answer came to its end."""
        tokens, seconds = finished.generated_tokens, finished.generation_seconds
        if self.pace is None or tokens is None or seconds is None or tokens < MIN_TOKENS or seconds <= 0:
            return
        from slmctl.app.planning.lessons import sharpen

        # llama-server's clock starts when the first token is there already
        filled = (finished.prompt_tokens or 0) + tokens // 2
        sharpen(self.home, self.pace, filled, seconds / (tokens - 1))

    @contextmanager
    def watching(self, on_event: OnEvent) -> Iterator[None]:
        """While the model lives: whether it dies of too little memory."""
        try:
            yield
        except SlmctlError as error:
            if self.lesson is not None:
                from slmctl.app.planning.lessons import remember_death

                remember_death(self.home, self.lesson, error, on_event)
            raise

    def _words(self, worker: Worker | Kept) -> str:
        """The engine's own: those of a kept one are in its log alone."""
        try:
            if self.log is not None:
                return self.log.read_text(encoding="utf-8", errors="replace")
        except OSError:
            pass
        return worker.stderr_tail
