"""Regular expressions from strangers, read and matched without going back: no expression takes long.

What is read is what JSON Schema recommends of ECMA-262: characters, classes, ^ and $, groups, alternatives
and counts. Looking around and references back are refused; so is what counts further than anybody needs. An
expression becomes a machine that is in many states at once (Thompson, "Regular expression search algorithm",
1968), whose work is bounded by its size times the text's.
"""

from __future__ import annotations

from dataclasses import dataclass

from registry.errors import UsageError
from slmctl.app.pattern_syntax import Any, At, One, Reader, Row, Test, Times, Tree, bad

MOST_CHARACTERS = 1024
MOST_STATES = 4096
MOST_STEPS = 2_000_000


@dataclass(slots=True)
class _State:
    """Goes on to `outs` by a character that `test` takes; without one of itself, at the place `only_at`."""

    test: Test | None
    outs: list[int]
    only_at: str | None = None


class Pattern:
    """Raises UsageError for an expression that is none, or that is not let in."""

    def __init__(self, text: str) -> None:
        if len(text) > MOST_CHARACTERS:
            raise UsageError(f"A pattern has more than {MOST_CHARACTERS} characters.")
        reader = Reader(text)
        tree = reader.alternatives(0)
        if not reader.at_end:
            raise bad(text)
        self._states: list[_State] = []
        end = self._add(None)
        self._end = end
        self._start = self._build(tree, end)

    def found_in(self, text: str) -> bool:
        """Whether it matches anywhere in `text`. Raises UsageError when that would take too long to say."""
        steps = 0
        now: set[int] = set()
        for at in range(len(text) + 1):
            now = self._closure(now | {self._start}, at, len(text))
            steps += len(now) + 1
            if self._end in now:
                return True
            if steps > MOST_STEPS:
                raise UsageError("A pattern takes too long to be matched.")
            if at < len(text):
                here = text[at]
                now = {
                    out
                    for state in now
                    if (test := self._states[state].test) is not None and test(here)
                    for out in self._states[state].outs
                }
        return False

    def _closure(self, states: set[int], at: int, length: int) -> set[int]:
        seen = set(states)
        todo = list(states)
        while todo:
            state = self._states[todo.pop()]
            if state.test is not None or not _is_at(state.only_at, at, length):
                continue
            for out in state.outs:
                if out not in seen:
                    seen.add(out)
                    todo.append(out)
        return seen

    def _add(self, test: Test | None, *outs: int, only_at: str | None = None) -> int:
        if len(self._states) >= MOST_STATES:
            raise UsageError("A pattern counts too far.")
        self._states.append(_State(test, list(outs), only_at))
        return len(self._states) - 1

    def _build(self, tree: Tree, then: int) -> int:
        """The state at which `tree` begins, when it goes on at `then`."""
        match tree:
            case One(test):
                return self._add(test, then)
            case At(place):
                return self._add(None, then, only_at=place)
            case Row(parts):
                for part in reversed(parts):
                    then = self._build(part, then)
                return then
            case Any(choices):
                return self._add(None, *(self._build(each, then) for each in choices))
            case Times(what, least, most):
                if most is None:
                    loop = self._add(None, then)
                    self._states[loop].outs.append(self._build(what, loop))
                    then = loop
                for _ in range((most or least) - least):
                    then = self._add(None, then, self._build(what, then))
                for _ in range(least):
                    then = self._build(what, then)
                return then


def _is_at(place: str | None, at: int, length: int) -> bool:
    return place is None or (at == 0 if place == "^" else at == length)
