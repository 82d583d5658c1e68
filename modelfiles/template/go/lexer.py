"""Template text to tokens.

Trim markers are done here: `{{- ` drops the white space before an action, ` -}}` the white space after it.
Comments leave no token. Everything else is the parser's.
"""

from __future__ import annotations

import enum
import re
import unicodedata
from typing import NamedTuple

from modelfiles.template.errors import PlacedError

SPACES = " \t\r\n"
KEYWORDS = frozenset(
    ["block", "break", "continue", "define", "else", "end", "if", "nil", "range", "template", "with"]
)

_OPEN, _CLOSE = "{{", "}}"
_NUMBER = re.compile(
    r"""[+-]?
    (?: 0[xX] [0-9a-fA-F_]* (?:\.[0-9a-fA-F_]*)? (?:[pP][+-]?[0-9_]*)?
      | 0[oO] [0-7_]* (?:\.[0-7_]*)?
      | 0[bB] [01_]* (?:\.[01_]*)?
      | [0-9_]* (?:\.[0-9_]*)? (?:[eE][+-]?[0-9_]*)?
    ) i?""",
    re.VERBOSE,
)
_DIGITS = frozenset("0123456789")
_SPACE_RUN = re.compile(r"[ \t\r\n]+")
_WORD = re.compile(r"\w*")
_QUOTED = {
    '"': re.compile(r'"(?:[^"\\\n]|\\[^\n])*"'),
    "'": re.compile(r"'(?:[^'\\\n]|\\[^\n])*'"),
    "`": re.compile(r"`[^`]*`"),
}


class Kind(enum.Enum):
    TEXT = "text"
    OPEN = _OPEN
    CLOSE = _CLOSE
    SPACE = "a space"
    WORD = "a word"
    KEYWORD = "a keyword"
    BOOL = "a boolean"
    NUMBER = "a number"
    CHARACTER = "a character constant"
    STRING = "a string"
    DOT = "."
    FIELD = "a field"
    VARIABLE = "a variable"
    DECLARE = ":="
    ASSIGN = "="
    PIPE = "|"
    LEFT = "("
    RIGHT = ")"
    OTHER = "punctuation"
    END = "the end of the template"


class Token(NamedTuple):
    """`at` is the offset of `text` in the template, in characters."""

    kind: Kind
    text: str
    at: int


_SINGLE = {"=": Kind.ASSIGN, "|": Kind.PIPE, "(": Kind.LEFT, ")": Kind.RIGHT}
_QUOTES = {'"': Kind.STRING, "`": Kind.STRING, "'": Kind.CHARACTER}


def tokens(source: str) -> list[Token]:
    """All tokens of a template, the last one is END. Raises TemplateError."""
    found: list[Token] = []
    at = 0
    while (start := source.find(_OPEN, at)) >= 0:
        inside = start + len(_OPEN)
        trims = source.startswith("-", inside) and _is_space(source, inside + 1)
        text = source[at:start]
        if trims:
            text = text.rstrip(SPACES)
            inside += 2
        if text:
            found.append(Token(Kind.TEXT, text, at))
        if source.startswith("/*", inside):
            at = _comment(source, inside)
        else:
            found.append(Token(Kind.OPEN, _OPEN, start))
            at = _action(source, inside, found)
    if at < len(source):
        found.append(Token(Kind.TEXT, source[at:], at))
    found.append(Token(Kind.END, "", len(source)))
    return found


def _comment(source: str, at: int) -> int:
    """The offset after the comment that starts at `at` and the white space that it trims."""
    end = source.find("*/", at + 2)
    if end < 0:
        raise PlacedError("this comment has no end", source=source, at=at)
    end += 2
    width = _close_width(source, end)
    if width == 0:
        raise PlacedError("a comment must fill its action", source=source, at=at)
    return _after_close(source, end, width)


def _action(source: str, at: int, found: list[Token]) -> int:
    """Appends the tokens of the action whose inside starts at `at`; the offset after it."""
    depth = 0
    begin = at
    while True:
        width = _close_width(source, at)
        if width:
            if depth:
                raise PlacedError("a parenthesis is not closed", source=source, at=at)
            found.append(Token(Kind.CLOSE, _CLOSE, at + width - len(_CLOSE)))
            return _after_close(source, at, width)
        if at >= len(source):
            raise PlacedError("this action is not closed", source=source, at=begin - len(_OPEN))
        token = _token(source, at)
        found.append(token)
        at += len(token.text)
        if token.kind is Kind.LEFT:
            depth += 1
        elif token.kind is Kind.RIGHT:
            depth -= 1
            if depth < 0:
                raise PlacedError("there is no parenthesis to close", source=source, at=token.at)


def _token(source: str, at: int) -> Token:
    """The token at `at`, which is inside an action and not at its end."""
    character = source[at]
    if character in SPACES:
        run = _SPACE_RUN.match(source, at)
        end = run.end() if run else at
        if end - at > 1 and source.startswith("-" + _CLOSE, end):
            end -= 1  # the last space belongs to the trim marker
        return Token(Kind.SPACE, source[at:end], at)
    if character in _SINGLE:
        return Token(_SINGLE[character], character, at)
    if character in _QUOTES:
        quoted = _QUOTED[character].match(source, at)
        if quoted is None:
            raise PlacedError("this quote is not closed", source=source, at=at)
        return Token(_QUOTES[character], quoted.group(), at)
    if character == ":":
        if not source.startswith(":=", at):
            raise PlacedError("expected :=", source=source, at=at)
        return Token(Kind.DECLARE, ":=", at)
    if character == "$" or (character == "." and source[at + 1 : at + 2] not in _DIGITS):
        return _name(source, at, Kind.VARIABLE if character == "$" else Kind.FIELD)
    if character in ".+-" or character in _DIGITS:
        return _number(source, at)
    if _word_end(source, at) > at:
        return _word(source, at)
    if character.isascii() and character.isprintable():
        return Token(Kind.OTHER, character, at)
    raise PlacedError(f"U+{ord(character):04X} has no meaning here", source=source, at=at)


def _name(source: str, at: int, kind: Kind) -> Token:
    """`.field`, `.`, `$variable` or `$`."""
    end = _word_end(source, at + 1)
    _check_end(source, end)
    if kind is Kind.FIELD and end == at + 1:
        kind = Kind.DOT
    return Token(kind, source[at:end], at)


def _word(source: str, at: int) -> Token:
    end = _word_end(source, at)
    _check_end(source, end)
    word = source[at:end]
    if word in KEYWORDS:
        return Token(Kind.KEYWORD, word, at)
    return Token(Kind.BOOL if word in ("true", "false") else Kind.WORD, word, at)


def _number(source: str, at: int) -> Token:
    match = _NUMBER.match(source, at)
    end = match.end() if match else at
    if _word_end(source, end) > end:
        raise PlacedError("this number has a character too many", source=source, at=end)
    if source[end : end + 1] in ("+", "-"):
        raise PlacedError("complex numbers are not supported", source=source, at=at)
    return Token(Kind.NUMBER, source[at:end], at)


def _word_end(source: str, at: int) -> int:
    """The end of the letters, digits and underscores from `at` on, in the sense of Go's unicode package."""
    match = _WORD.match(source, at)
    if match is None:
        return at
    word = match.group()
    if not word.isascii():
        for index, character in enumerate(word):
            category = unicodedata.category(character)
            if not (character == "_" or category[0] == "L" or category == "Nd"):
                return at + index
    return match.end()


def _check_end(source: str, at: int) -> None:
    """A name must be followed by something that ends it: `$x+2` is none."""
    if at < len(source) and source[at] not in " \t\r\n.,|:()" and not source.startswith(_CLOSE, at):
        raise PlacedError(f"{source[at]!r} cannot follow a name", source=source, at=at)


def _is_space(source: str, at: int) -> bool:
    return at < len(source) and source[at] in SPACES


def _close_width(source: str, at: int) -> int:
    """How wide the end of an action at `at` is, trim marker and its space included; 0 where there is none."""
    if source.startswith(_CLOSE, at):
        return 2
    return 4 if _is_space(source, at) and source.startswith("-" + _CLOSE, at + 1) else 0


def _after_close(source: str, at: int, width: int) -> int:
    """The offset after the end of an action at `at`, and after the white space that it trims."""
    at += width
    if width == 4 and (run := _SPACE_RUN.match(source, at)):
        return run.end()
    return at
