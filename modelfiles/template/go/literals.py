"""Go's literals: numbers, characters, strings ("Lexical elements" of Go's specification)."""

from __future__ import annotations

import re

from modelfiles.template.errors import Fault
from modelfiles.template.go.strings import from_bytes

INT_MIN, INT_MAX, UINT_MAX = -(2**63), 2**63 - 1, 2**64 - 1

_INTEGER = re.compile(
    r"""(?P<sign>[+-]?)
    (?: 0[xX](?P<hexadecimal>(?:_?[0-9a-fA-F])+)
      | 0[oO]?(?P<octal>(?:_?[0-7])+)
      | 0[bB](?P<binary>(?:_?[01])+)
      | (?P<decimal>0|[1-9](?:_?[0-9])*)
    )""",
    re.VERBOSE,
)
_BASES = {"hexadecimal": 16, "octal": 8, "binary": 2, "decimal": 10}
_DIGITS = r"[0-9](?:_?[0-9])*"
_HEX = r"[0-9a-fA-F](?:_?[0-9a-fA-F])*"
_FLOAT = re.compile(rf"[+-]?(?:{_DIGITS}\.?(?:{_DIGITS})?|\.{_DIGITS})(?:[eE][+-]?{_DIGITS})?")
_HEX_FLOAT = re.compile(rf"[+-]?0[xX]_?(?:{_HEX}\.?(?:{_HEX})?|\.{_HEX})[pP][+-]?{_DIGITS}")
_ESCAPE = re.compile(
    r"\\(?:(?P<simple>[abfnrtv\\'\"])|x(?P<byte>[0-9a-fA-F]{2})|(?P<octal>[0-7]{3})"
    r"|u(?P<short>[0-9a-fA-F]{4})|U(?P<long>[0-9a-fA-F]{8}))|(?P<wrong>\\)"
)
_SIMPLE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\"}


def number(text: str) -> int | float:
    """The value of a number's text. An int may be larger than Go's int, which is an error where it is used.

    Raises Fault where it is no number, too large for 64 bits, or complex.
    """
    if text.endswith("i"):
        raise Fault("complex numbers are not supported")
    # the letter e makes a float, but in 0xe it is a digit; Go does not look past a sign there
    looks_float = any(letter in text for letter in ".eEpP") and not (
        text[:2] in ("0x", "0X") and "p" not in text and "P" not in text
    )
    match = _INTEGER.fullmatch(text)
    if match is None or match.lastgroup is None:
        return _float(text)
    digits = match[match.lastgroup].replace("_", "")
    if len(digits) > 70:
        raise Fault(f"{text[:20]}... is too large a number")
    value = int(digits, _BASES[match.lastgroup])
    if match["sign"] == "-":
        value = -value
    if not INT_MIN <= value <= (INT_MAX if match["sign"] else UINT_MAX):
        raise Fault(f"{text} is too large a number")
    return float(value) if looks_float else value


def _float(text: str) -> float:
    is_hex = _HEX_FLOAT.fullmatch(text) is not None
    if not is_hex and not (_FLOAT.fullmatch(text) and any(letter in text for letter in ".eEpP")):
        raise Fault(f"{text[:60]} is not a number")
    plain = text.replace("_", "")
    try:
        value = float.fromhex(plain) if is_hex else float(plain)
    except (OverflowError, ValueError):
        raise Fault(f"{text[:60]} is not a number") from None
    if value in (float("inf"), float("-inf")):
        raise Fault(f"{text[:60]} is too large a number")
    return value


def character(text: str) -> int:
    """The code point of a character constant with its quotes. Raises Fault where it is not one character."""
    body = text[1:-1]
    match = _ESCAPE.match(body)
    if match is None:
        if len(body) != 1:
            raise Fault(f"{text[:20]} is not one character")
        return ord(body)
    if match.end() != len(body):
        raise Fault(f"{text[:20]} is not one character")
    return _code(match, "'")


def string(text: str) -> str:
    """The value of a quoted or raw string with its quotes. Raises Fault for a wrong escape."""
    if text.startswith("`"):
        return text[1:-1].replace("\r", "")
    if "\\" not in text:
        return text[1:-1]
    parts = bytearray()
    end = 0
    body = text[1:-1]
    for match in _ESCAPE.finditer(body):
        parts += body[end : match.start()].encode("utf-8", "surrogateescape")
        end = match.end()
        code = _code(match, '"')
        parts += bytes([code]) if match["byte"] or match["octal"] else chr(code).encode()
    parts += body[end:].encode("utf-8", "surrogateescape")
    return from_bytes(bytes(parts))


def _code(match: re.Match[str], quote: str) -> int:
    """The code point, or the byte, that an escape stands for."""
    if match["wrong"]:
        raise Fault("a backslash begins no escape here")
    simple = match["simple"]
    if simple == quote:
        return ord(quote)
    if simple in _SIMPLE:
        return ord(_SIMPLE[simple])
    if simple:
        raise Fault(f"{match.group()} is not an escape between these quotes")
    digits = match["byte"] or match["short"] or match["long"]
    code = int(digits, 16) if digits else int(match["octal"], 8)
    if code > (0xFF if match["octal"] else 0x10FFFF) or 0xD800 <= code <= 0xDFFF:
        raise Fault(f"{match.group()} is not an escape")
    return code
