"""Strings and characters as Go writes them in source code (package strconv: Quote, QuoteRune)."""

from __future__ import annotations

import re

from modelfiles.template.go.strings import is_byte

_PLAIN = re.compile(r"""[ !#-\[\]-~]*""")
_SHORT = {
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
    "\\": "\\\\",
}


def quote(text: str, *, ascii_only: bool = False) -> str:
    """`text` in double quotes."""
    if _PLAIN.fullmatch(text):
        return f'"{text}"'
    return '"' + "".join(_escape(character, '"', ascii_only) for character in text) + '"'


def quote_rune(code: int, *, ascii_only: bool = False) -> str:
    """The character in single quotes; U+FFFD where the code point is none."""
    return "'" + _escape(rune(code), "'", ascii_only) + "'"


def rune(code: int) -> str:
    return chr(code) if 0 <= code <= 0x10FFFF and not 0xD800 <= code <= 0xDFFF else "\ufffd"


def is_printable(character: str) -> bool:
    """Go's IsPrint: letters, marks, numbers, punctuation, symbols and the ASCII space."""
    return character.isprintable() and not is_byte(character)


def can_backquote(text: str) -> bool:
    """Whether Go could write it as a raw string."""
    return not any(
        is_byte(character) or character in "`\x7f\ufeff" or (character < " " and character != "\t")
        for character in text
    )


def _escape(character: str, mark: str, ascii_only: bool) -> str:
    if character == mark or character == "\\":
        return "\\" + character
    if is_byte(character):
        return f"\\x{ord(character) & 0xFF:02x}"
    if is_printable(character) and (character.isascii() or not ascii_only):
        return character
    if character in _SHORT:
        return _SHORT[character]
    code = ord(character)
    if code < 0x20 or code == 0x7F:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
