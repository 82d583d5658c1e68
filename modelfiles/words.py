"""The words of Modelfiles, and showing people the ones that they wrote."""

from __future__ import annotations

from collections.abc import Iterable

ROLES = ("system", "user", "assistant")


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The one of `known` that `word` is probably short for, or a slip of."""
    import difflib  # only somebody's slip needs it

    known = list(known)
    longer = [name for name in known if name.startswith(word)] if len(word) >= 3 else []
    if len(longer) == 1:
        return longer[0]
    matches = difflib.get_close_matches(word[:64], known, n=1, cutoff=0.6)
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
