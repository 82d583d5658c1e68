"""What one rendering may take: a template can come from a stranger."""

from __future__ import annotations

from dataclasses import dataclass

from modelfiles.template.errors import Fault


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """`steps` are commands, values and texts, a step is about a microsecond; `characters` are those written
    to the output and those that functions make on the way; `depth` counts blocks and templates that are
    inside each other while they run."""

    steps: int = 2_000_000
    characters: int = 16 * 1024 * 1024
    depth: int = 150


class Meter:
    """Counts down. Its methods raise Fault when a limit is passed, before the work is done."""

    def __init__(self, limits: Limits) -> None:
        self._steps = limits.steps
        self._characters = limits.characters

    def step(self, count: int = 1) -> None:
        self._steps -= count
        if self._steps < 0:
            raise Fault("the template takes too many steps")

    def read(self, text: str | bytes) -> None:
        """Before a function goes through all of `text`."""
        self.step(1 + (len(text) >> 8))

    def expect(self, count: int) -> None:
        """Before `count` characters are prepared that will be written later."""
        if self._characters < count:
            raise Fault("the template makes too much text")

    def write(self, count: int) -> None:
        """Before `count` characters are written."""
        self._characters -= count
        if self._characters < 0:
            raise Fault("the template makes too much text")
