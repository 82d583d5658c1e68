"""Regular expressions from strangers, read and matched without going back: no expression takes long.

What is read is what JSON Schema recommends of ECMA-262: characters, classes, ^ and $, groups, alternatives
and counts. Looking around and references back are refused; so is what counts further than anybody needs. An
expression becomes a machine that is in many states at once (Thompson, "Regular expression search algorithm",
1968), whose work is bounded by its size times the text's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from registry.errors import UsageError

MOST_CHARACTERS = 1024
MOST_STATES = 4096
MOST_COUNT = 1000
MOST_DEPTH = 32
MOST_STEPS = 20_000_000

Test = Callable[[str], bool]

_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v", "0": "\0"}
_SPACES = frozenset(" \t\n\r\f\v\u00a0\ufeff\u2028\u2029")


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
        reader = _Reader(text)
        tree = reader.alternatives(0)
        if not reader.at_end:
            raise _bad(text)
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

    def _build(self, tree: _Tree, then: int) -> int:
        """The state at which `tree` begins, when it goes on at `then`."""
        match tree:
            case _One(test):
                return self._add(test, then)
            case _At(place):
                return self._add(None, then, only_at=place)
            case _Row(parts):
                for part in reversed(parts):
                    then = self._build(part, then)
                return then
            case _Any(choices):
                return self._add(None, *(self._build(each, then) for each in choices))
            case _Times(what, least, most):
                if most is None:
                    loop = self._add(None, then)
                    self._states[loop].outs.append(self._build(what, loop))
                    then = loop
                for _ in range((most or least) - least):
                    then = self._add(None, then, self._build(what, then))
                for _ in range(least):
                    then = self._build(what, then)
                return then


@dataclass(frozen=True, slots=True)
class _One:
    test: Test


@dataclass(frozen=True, slots=True)
class _At:
    place: str


@dataclass(frozen=True, slots=True)
class _Row:
    parts: tuple[_Tree, ...]


@dataclass(frozen=True, slots=True)
class _Any:
    choices: tuple[_Tree, ...]


@dataclass(frozen=True, slots=True)
class _Times:
    what: _Tree
    least: int
    most: int | None


_Tree = _One | _At | _Row | _Any | _Times


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    @property
    def at_end(self) -> bool:
        return self._at == len(self._text)

    def alternatives(self, depth: int) -> _Tree:
        """row ( "|" row )*"""
        if depth > MOST_DEPTH:
            raise UsageError(f"A pattern has groups more than {MOST_DEPTH} deep.")
        choices = [self._row(depth)]
        while self._taken("|"):
            choices.append(self._row(depth))
        return choices[0] if len(choices) == 1 else _Any(tuple(choices))

    def _row(self, depth: int) -> _Tree:
        """( piece count? )*"""
        parts: list[_Tree] = []
        while not self.at_end and self._next() not in "|)":
            parts.append(self._counted(self._piece(depth)))
        return _Row(tuple(parts))

    def _piece(self, depth: int) -> _Tree:
        sign = self._take()
        if sign == "(":
            if self._taken("?"):
                if self._taken("<"):
                    if self._next() in "=!":
                        raise UsageError("A pattern looks around itself, which is not let in.")
                    while self._take() != ">":
                        pass
                elif not self._taken(":"):
                    raise UsageError("A pattern looks around itself, which is not let in.")
            inner = self.alternatives(depth + 1)
            if not self._taken(")"):
                raise _bad(self._text)
            return inner
        if sign in "^$":
            return _At(sign)
        if sign == "[":
            return _One(self._class())
        if sign == ".":
            return _One(lambda char: char not in "\n\r\u2028\u2029")
        if sign == "\\":
            return _One(self._escape())
        if sign in "*+?{":
            raise _bad(self._text)
        return _One(lambda char: char == sign)

    def _counted(self, piece: _Tree) -> _Tree:
        if self.at_end:
            return piece
        counts: dict[str, tuple[int, int | None]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}
        if (sign := self._next()) in counts:
            self._at += 1
            least, most = counts[sign]
        elif self._taken("{"):
            least, most = self._count()
        else:
            return piece
        self._taken("?")  # as few as possible: the same for whether there is a match
        if self._text[self._at : self._at + 1] in ("*", "+", "?", "{"):
            raise _bad(self._text)
        return _Times(piece, least, most)

    def _count(self) -> tuple[int, int | None]:
        """number ( "," number? )? "}" """
        least = self._number()
        most: int | None = least
        if self._taken(","):
            most = None if self._next() == "}" else self._number()
        if not self._taken("}") or (most is not None and most < least):
            raise _bad(self._text)
        if max(least, most or 0) > MOST_COUNT:
            raise UsageError(f"A pattern counts further than {MOST_COUNT}.")
        return least, most

    def _number(self) -> int:
        digits = ""
        while not self.at_end and self._next() in "0123456789" and len(digits) < 9:
            digits += self._take()
        if not digits:
            raise _bad(self._text)
        return int(digits)

    def _class(self) -> Test:
        """The inside of [...], up to its end."""
        inverted = self._taken("^")
        tests: list[Test] = []
        while not self._taken("]"):
            first = self._class_member()
            if (
                isinstance(first, str)
                and self._next() == "-"
                and self._text[self._at + 1 : self._at + 2] != "]"
            ):
                self._at += 1
                last = self._class_member()
                if not isinstance(last, str) or last < first:
                    raise _bad(self._text)
                tests.append(_between(first, last))
            else:
                tests.append(_between(first, first) if isinstance(first, str) else first)
        return lambda char: any(test(char) for test in tests) is not inverted

    def _class_member(self) -> str | Test:
        sign = self._take()
        if sign != "\\":
            return sign
        return "\b" if self._taken("b") else self._escaped()

    def _escape(self) -> Test:
        escaped = self._escaped()
        return _between(escaped, escaped) if isinstance(escaped, str) else escaped

    def _escaped(self) -> str | Test:
        sign = self._take()
        if (kind := _KINDS.get(sign)) is not None:
            return kind
        if sign in _ESCAPES:
            return _ESCAPES[sign]
        if sign in "xu":
            return self._code(2 if sign == "x" else 4)
        if sign.isalnum():
            raise UsageError("A pattern has an escape that is not let in.")
        return sign

    def _code(self, digits: int) -> str:
        text = self._text[self._at : self._at + digits]
        self._at += digits
        try:
            if len(text) < digits:
                raise ValueError
            return chr(int(text, 16))
        except ValueError:
            raise _bad(self._text) from None

    def _next(self) -> str:
        if self.at_end:
            raise _bad(self._text)
        return self._text[self._at]

    def _take(self) -> str:
        sign = self._next()
        self._at += 1
        return sign

    def _taken(self, sign: str) -> bool:
        taken = not self.at_end and self._text[self._at] == sign
        self._at += taken
        return taken


def _is_at(place: str | None, at: int, length: int) -> bool:
    return place is None or (at == 0 if place == "^" else at == length)


def _between(first: str, last: str) -> Test:
    return lambda char: first <= char <= last


def _is_digit(char: str) -> bool:
    return "0" <= char <= "9"


def _is_word(char: str) -> bool:
    return char.isascii() and (char.isalnum() or char == "_")


def _is_space(char: str) -> bool:
    return char in _SPACES


_KINDS: dict[str, Test] = {
    "d": _is_digit,
    "D": lambda char: not _is_digit(char),
    "w": _is_word,
    "W": lambda char: not _is_word(char),
    "s": _is_space,
    "S": lambda char: not _is_space(char),
}


def _bad(text: str) -> UsageError:
    return UsageError(f"A pattern is no regular expression: {text[:80]!r}.")
