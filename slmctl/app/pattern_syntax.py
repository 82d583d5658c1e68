"""The syntax of the regular expressions that are let in: text -> tree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from registry.errors import UsageError

MOST_COUNT = 1000
MOST_DEPTH = 32

Test = Callable[[str], bool]
"""Whether a character is one of those that are meant."""

_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v", "0": "\0"}
_SPACES = frozenset(" \t\n\r\f\v\u00a0\ufeff\u2028\u2029")


@dataclass(frozen=True, slots=True)
class One:
    test: Test


@dataclass(frozen=True, slots=True)
class At:
    place: str


@dataclass(frozen=True, slots=True)
class Row:
    parts: tuple[Tree, ...]


@dataclass(frozen=True, slots=True)
class Any:
    choices: tuple[Tree, ...]


@dataclass(frozen=True, slots=True)
class Times:
    what: Tree
    least: int
    most: int | None


Tree = One | At | Row | Any | Times


class Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    @property
    def at_end(self) -> bool:
        return self._at == len(self._text)

    def alternatives(self, depth: int) -> Tree:
        """row ( "|" row )*"""
        if depth > MOST_DEPTH:
            raise UsageError(f"A pattern has groups more than {MOST_DEPTH} deep.")
        choices = [self._row(depth)]
        while self._taken("|"):
            choices.append(self._row(depth))
        return choices[0] if len(choices) == 1 else Any(tuple(choices))

    def _row(self, depth: int) -> Tree:
        """( piece count? )*"""
        parts: list[Tree] = []
        while not self.at_end and self._next() not in "|)":
            parts.append(self._counted(self._piece(depth)))
        return Row(tuple(parts))

    def _piece(self, depth: int) -> Tree:
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
                raise bad(self._text)
            return inner
        if sign in "^$":
            return At(sign)
        if sign == "[":
            return One(self._class())
        if sign == ".":
            return One(lambda char: char not in "\n\r\u2028\u2029")
        if sign == "\\":
            return One(self._escape())
        if sign in "*+?{":
            raise bad(self._text)
        return One(lambda char: char == sign)

    def _counted(self, piece: Tree) -> Tree:
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
            raise bad(self._text)
        return Times(piece, least, most)

    def _count(self) -> tuple[int, int | None]:
        """number ( "," number? )? "}" """
        least = self._number()
        most: int | None = least
        if self._taken(","):
            most = None if self._next() == "}" else self._number()
        if not self._taken("}") or (most is not None and most < least):
            raise bad(self._text)
        if max(least, most or 0) > MOST_COUNT:
            raise UsageError(f"A pattern counts further than {MOST_COUNT}.")
        return least, most

    def _number(self) -> int:
        digits = ""
        while not self.at_end and self._next() in "0123456789" and len(digits) < 9:
            digits += self._take()
        if not digits:
            raise bad(self._text)
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
                    raise bad(self._text)
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
            raise bad(self._text) from None

    def _next(self) -> str:
        if self.at_end:
            raise bad(self._text)
        return self._text[self._at]

    def _take(self) -> str:
        sign = self._next()
        self._at += 1
        return sign

    def _taken(self, sign: str) -> bool:
        taken = not self.at_end and self._text[self._at] == sign
        self._at += taken
        return taken


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


def bad(text: str) -> UsageError:
    return UsageError(f"A pattern is no regular expression: {text[:80]!r}.")
