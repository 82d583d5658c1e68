"""Go's strings are bytes; ours are text in which a byte that is not UTF-8 stands as U+DC80 to U+DCFF.

That is Python's error handler `surrogateescape`. A string is *normal* when no such characters beside each
other make up UTF-8; all functions here give normal strings and take them.
"""

from __future__ import annotations

import re

_SURROGATE = re.compile("[\ud800-\udfff]")
_NOT_A_BYTE = re.compile("[\ud800-\udc7f\udd00-\udfff]")


def clean(text: str) -> str:
    """`text` from outside: surrogates, which no UTF-8 has, become U+FFFD, as in Go's JSON decoder."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def to_bytes(text: str) -> bytes:
    if text.isascii():
        return text.encode("ascii")
    return _NOT_A_BYTE.sub("\ufffd", text).encode("utf-8", "surrogateescape")


def from_bytes(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def join(parts: list[str]) -> str:
    """The parts as one normal string."""
    text = "".join(parts)
    if text.isascii() or _SURROGATE.search(text) is None:
        return text
    return from_bytes(to_bytes(text))


def byte_length(text: str) -> int:
    return len(text) if text.isascii() else len(to_bytes(text))


def is_byte(character: str) -> bool:
    """Whether it stands for a byte that is not UTF-8."""
    return "\udc80" <= character <= "\udcff"
