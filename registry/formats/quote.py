"""How text from a hostile file is shown in our messages."""

from __future__ import annotations


def quoted(value: object, limit: int = 64) -> str:
    """The repr of `value`, cut to `limit` characters: no control character, no flood reaches a terminal."""
    if isinstance(value, bytes | str):
        value = value[: limit + 1]  # a repr of a megabyte is never built
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."
