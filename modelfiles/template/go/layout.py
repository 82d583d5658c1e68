"""Basic values in a printf verb's flags, width and precision (package fmt, "Printing")."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from modelfiles.template.go.floats import format_float
from modelfiles.template.go.quote import can_backquote, quote, quote_rune, rune
from modelfiles.template.go.strings import to_bytes
from modelfiles.template.go.values import Byte

_UNSIGNED_MAX = 2**64 - 1


@dataclass(slots=True)
class Flags:
    """What stands between % and the verb; `width` and `precision` in characters.

    `go_syntax` and `field_names` are what # and + mean for the verb v.
    """

    minus: bool = False
    plus: bool = False
    sharp: bool = False
    space: bool = False
    zero: bool = False
    go_syntax: bool = False
    field_names: bool = False
    width: int | None = None
    precision: int | None = None


Write = Callable[[str], None]


class Layout:
    """Writes basic values. Nothing larger than `room` allows is made: it is told each size before."""

    def __init__(self, write: Write, room: Callable[[int], None]) -> None:
        self._write = write
        self._room = room
        self.flags = Flags()

    def pad(self, text: str, *, zeros: bool | None = None) -> None:
        """`text` in the width, with zeros in front where the flags say so and `zeros` does not forbid it."""
        missing = (self.flags.width or 0) - len(text)
        if missing <= 0:
            self._write(text)
            return
        self._room(missing)
        filler = ("0" if self.flags.zero and zeros is not False else " ") * missing
        self._write(text + filler if self.flags.minus else filler + text)

    def boolean(self, value: bool) -> None:
        self.pad("true" if value else "false")

    def string(self, text: str) -> None:
        self.pad(text[: self.flags.precision])

    def quoted(self, text: str) -> None:
        """A Go string, in back quotes for the flag # where that can be."""
        text = text[: self.flags.precision]
        self._room(len(text))
        if self.flags.sharp and can_backquote(text):
            self.pad(f"`{text}`")
        else:
            self.pad(quote(text, ascii_only=self.flags.plus))

    def hexadecimal_string(self, text: str, *, upper: bool) -> None:
        """The string's bytes: with spaces between for the flag space, with 0x for #."""
        flags = self.flags
        data = to_bytes(text)[: flags.precision]
        self._room(5 * len(data))
        prefix = "0x" if flags.sharp else ""
        separator = " " + prefix if flags.space else ""
        shown = separator.join(f"{byte:02x}" for byte in data)
        # the flag 0 fills with zeros, also behind; Go does the same
        self.pad(_upper(prefix + shown, upper) if data else "")

    def character(self, code: int) -> None:
        self.pad(rune(code))

    def quoted_character(self, code: int) -> None:
        self.pad(quote_rune(code, ascii_only=self.flags.plus))

    def code_point(self, code: int) -> None:
        """U+0078, and the character in quotes for the flag #."""
        flags = self.flags
        code &= _UNSIGNED_MAX
        self._room(flags.precision or 0)
        shown = f"U+{code:0{max(4, flags.precision or 0)}X}"
        if flags.sharp and code <= 0x10FFFF and rune(code).isprintable() and not 0xD800 <= code <= 0xDFFF:
            shown += f" '{chr(code)}'"
        self.pad(shown, zeros=False)

    def integer(self, value: int, base: int, *, verb: str = "d") -> None:
        flags = self.flags
        precision = 0
        sign = "-" if value < 0 else "+" if flags.plus else " " if flags.space else ""
        if flags.precision is not None:
            precision = flags.precision
            if precision == 0 and value == 0:
                self.pad("", zeros=False)
                return
        elif flags.zero and flags.width is not None:
            precision = flags.width - len(sign)
        self._room(precision)
        digits = _digits(abs(value), base).rjust(precision, "0")
        if flags.sharp:
            if base == 8:
                digits = digits if digits.startswith("0") else "0" + digits
            else:
                digits = {2: "0b", 16: "0x"}.get(base, "") + digits
        if verb == "O":
            digits = "0o" + digits
        self.pad(sign + _upper(digits, verb == "X"), zeros=False)

    def hexadecimal_byte(self, value: Byte) -> None:
        """As %#v writes it."""
        self.flags.sharp = True
        self.integer(value, 16)
        self.flags.sharp = False

    def floating(self, value: float, verb: str, precision: int | None) -> None:
        """`precision` is the verb's own one, where the flags give none."""
        flags = self.flags
        if flags.precision is not None:
            precision = flags.precision
        self._room(precision or 0)
        text = format_float(value, verb, precision)
        sign, text = (text[0], text[1:]) if text[0] in "+-" else ("+", text)
        if text in ("Inf", "NaN"):
            if text == "NaN" and not (flags.plus or flags.space):
                sign = ""
            self.pad((" " if flags.space and sign == "+" and not flags.plus else sign) + text, zeros=False)
            return
        if flags.sharp and verb != "b":
            text = _with_point(text, verb, precision)
        if sign == "+" and not flags.plus:
            sign = " " if flags.space else ""
        missing = (flags.width or 0) - len(sign) - len(text)
        if sign and flags.zero and missing > 0:
            self._room(missing)
            text = "0" * missing + text  # zeros stand behind the sign
        self.pad(sign + text)


def _with_point(text: str, verb: str, precision: int | None) -> str:
    """The flag #: a decimal point always, and for g the zeros at the end that fill the precision."""
    wanted = (6 if precision is None else precision) if verb in "gGx" else 0
    body, letter, tail = text, "", ""
    for mark in "pP" if verb in "xX" else "eEpP":
        if mark in text:
            body, letter, tail = text.partition(mark)
            break
    significant = body.replace(".", "").lstrip("0")
    wanted -= len(significant)
    if "." not in body:
        if body == "0":
            wanted -= 1
        body += "."
    return body + "0" * wanted + letter + tail


def _digits(value: int, base: int) -> str:
    return format(value, {2: "b", 8: "o", 10: "d", 16: "x"}[base])


def _upper(text: str, upper: bool) -> str:
    return text.upper() if upper else text
