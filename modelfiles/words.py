"""The words of Modelfiles, and showing people the ones that they wrote."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

ROLES = ("system", "user", "assistant")

_NO_GRAPHICS = frozenset(["Cc", "Cf", "Co", "Cs", "Zl", "Zp", "Zs"])


def nearest(word: str, known: Iterable[str], *, likeness: float = 0.6) -> str | None:
    """The one of `known` that `word` is probably short for, or a slip of; a `likeness` of 1 is equality."""
    import difflib  # only somebody's slip needs it

    known = list(known)
    longer = [name for name in known if name.startswith(word)] if len(word) >= 3 else []
    if len(longer) == 1:
        return longer[0]
    matches = difflib.get_close_matches(word[:64], known, n=1, cutoff=likeness)
    return matches[0] if matches else None


def printable(text: str, *, limit: int = 60) -> str:
    """`text` for a message: on one line, without control characters, cut to `limit` characters."""
    shown = "".join(map(visible, text[: limit + 1]))
    return shown if len(text) <= limit else shown[: limit - 3] + "..."


def visible(character: str) -> str:
    """What a terminal is given for a character that somebody wrote."""
    if character == "\t":
        return " "
    if character.isprintable() or is_joiner(character):
        return character
    return " " if character.isspace() else "\N{REPLACEMENT CHARACTER}"


def is_joiner(character: str) -> bool:
    """Whether it only says how its neighbours are drawn."""
    return character in "\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}"


def is_dropped_by_ollama(character: str) -> bool:
    """Whether Ollama leaves it out of a Modelfile's values: what Go's `strconv.IsPrint` calls unprintable.

    Blanks, tabs and line ends stay. Of code points without a character only those that never get one count
    (U+FFFE and its like): the others depend on the Unicode version of the Go that Ollama was built with.
    """
    if character in " \t\r\n":
        return False
    if unicodedata.category(character) in _NO_GRAPHICS:
        return True
    code = ord(character)
    return code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF
