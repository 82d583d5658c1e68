"""What an engine may take while it is at a model's chat template.

A chat template is a program by whoever made the model, and an engine with a Jinja of its own runs it inside
of its own process: once or twice to see what it can, before it is ready, and then with each conversation. The
engine is stopped when it takes too much there, however it is brought to it.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import Any

from registry.errors import MalformedFile
from runtimes.engines.base import Explanation

HINT = "The template may be broken, or hostile; TEMPLATE in a Modelfile replaces it."


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateLimits:
    """What a template may take inside of an engine.

    `computing_seconds` is processor time, of an engine that does nothing else; a machine that is busy gives a
    process little of it, so `deadline_seconds` is by the clock and longer. `memory_bytes` is what the process
    may grow by. `prompt_bytes` bounds the prompt, as JSON in UTF-8.
    """

    computing_seconds: float = 0.4
    deadline_seconds: float = 5.0
    memory_bytes: int = 256 * 2**20
    prompt_bytes: int = 4 * 2**20

    def for_question(self, size: int) -> TemplateLimits:
        """With what an honest template takes for a conversation of `size` bytes: it is the user's own."""
        return TemplateLimits(
            computing_seconds=self.computing_seconds + size / 2**20,
            deadline_seconds=self.deadline_seconds + 10 * size / 2**20,
            memory_bytes=self.memory_bytes + 32 * size,
            prompt_bytes=self.prompt_bytes + 2 * size,
        )


DEFAULT_LIMITS = TemplateLimits()


class TemplateWatch:
    """Looks at a process that is at a template. What it took before the watch began is not counted."""

    def __init__(self, pid: int, limits: TemplateLimits = DEFAULT_LIMITS) -> None:
        import psutil  # takes a while, and nearly all templates are done before anybody has to look

        self._limits = limits
        self._gone: type[Exception] = psutil.Error
        self._began = time.monotonic()
        self._process: psutil.Process | None = None
        with contextlib.suppress(psutil.Error):
            self._process = psutil.Process(pid)
            self._computed, self._held = self._usage(self._process)

    def overuse(self) -> Explanation | None:
        """What it takes too much of by now; None while all is well, and when the process is gone."""
        if self._process is None:
            return None
        try:
            computed, held = self._usage(self._process)
        except self._gone:
            return None
        limits, passed = self._limits, time.monotonic() - self._began
        if held - self._held > limits.memory_bytes:
            return too_much("needs more memory than it may have")
        # both, because threads that wait for their next work take processor time too, though not for long
        if min(passed, computed - self._computed) > limits.computing_seconds:
            return too_much(f"computes for more than {limits.computing_seconds:.1f} seconds")
        if passed > limits.deadline_seconds:
            return too_much(f"is not done after {limits.deadline_seconds:.0f} seconds")
        return None

    @staticmethod
    def _usage(process: Any) -> tuple[float, int]:
        """Processor time in seconds, and the bytes in memory that are not a file's."""
        times, memory = process.cpu_times(), process.memory_info()
        return times.user + times.system, memory.rss - getattr(memory, "shared", 0)


def too_much(what: str) -> Explanation:
    """What it means that a template `what` ("computes for ...")."""
    return Explanation(sentence=f"The model's chat template {what}.", hint=HINT, error=MalformedFile)
