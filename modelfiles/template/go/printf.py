"""Printf of Go's package fmt: `%[flags][width][.precision]verb`, and which argument is meant."""

from __future__ import annotations

import re
from collections.abc import Sequence

from modelfiles.template.go import values
from modelfiles.template.go.layout import Flags
from modelfiles.template.go.meter import Meter
from modelfiles.template.go.printer import Printer
from modelfiles.template.go.strings import is_byte
from modelfiles.template.go.values import MISSING, Kind, Value

_MAX_NUMBER = 1_000_000  # Go takes no larger width or precision
_LITERAL = re.compile(r"[^%]+")
_FLAGS = re.compile(r"[#0+\- ]*")
_NUMBER = re.compile(r"[0-9]+")


def sprintf(template: str, arguments: Sequence[Value], meter: Meter) -> str:
    """Printf. A string's precision and width are in characters, as in Go."""
    meter.read(template)
    printer = Printer(meter)
    _Format(template, arguments, printer).run()
    return printer.text()


class _Format:
    """One format string on its way: `%[2]*.[1]*f` and the rest of package fmt's grammar."""

    def __init__(self, template: str, arguments: Sequence[Value], printer: Printer) -> None:
        self._template = template
        self._arguments = arguments
        self._printer = printer
        self._at = 0
        self._argument = 0  # the next one
        self._reordered = False
        self._good_index = True
        self._after_index = False

    def run(self) -> None:
        template = self._template
        while self._at < len(template):
            literal = _LITERAL.match(template, self._at)
            if literal:
                self._printer.write(literal.group())
                self._at = literal.end()
            else:
                self._at += 1
                self._directive()
        if not self._reordered and self._argument < len(self._arguments):
            self._extra()

    def _directive(self) -> None:
        """`%[flags][index][width][.precision][index]verb`; the % is past."""
        self._good_index, self._after_index = True, False
        flags = self._printer.layout.flags = Flags()
        match = _FLAGS.match(self._template, self._at)
        for flag in match.group() if match else "":
            self._set(flags, flag)
        self._at = match.end() if match else self._at
        verb = self._template[self._at : self._at + 1]
        if not ("a" <= verb <= "z" and self._argument < len(self._arguments)):
            self._index()
            self._width(flags)
            self._precision(flags)
            if not self._after_index:
                self._index()
            verb = self._template[self._at : self._at + 1]
        self._at += 1
        self._verb(verb, flags)

    @staticmethod
    def _set(flags: Flags, flag: str) -> None:
        match flag:
            case "#":
                flags.sharp = True
            case "0":
                flags.zero = not flags.minus
            case "+":
                flags.plus = True
            case "-":
                flags.minus, flags.zero = True, False
            case _:
                flags.space = True

    def _verb(self, verb: str, flags: Flags) -> None:
        if not verb:
            self._printer.write("%!(NOVERB)")
            return
        if is_byte(verb):
            verb = "\ufffd"
        if verb == "%":
            self._printer.write("%")
        elif not self._good_index:
            self._printer.write(f"%!{verb}(BADINDEX)")
        elif self._argument >= len(self._arguments):
            self._printer.write(f"%!{verb}(MISSING)")
        else:
            if verb == "v":
                flags.go_syntax, flags.sharp = flags.sharp, False
                flags.field_names, flags.plus = flags.plus, False
            self._argument += 1
            self._printer.argument(self._arguments[self._argument - 1], verb)

    def _width(self, flags: Flags) -> None:
        if self._template.startswith("*", self._at):
            self._at += 1
            flags.width = self._number_argument()
            if flags.width is None:
                self._printer.write("%!(BADWIDTH)")
            elif flags.width < 0:
                flags.width, flags.minus, flags.zero = -flags.width, True, False
            self._after_index = False
            return
        flags.width = self._number()
        if self._after_index and flags.width is not None:
            self._good_index = False

    def _precision(self, flags: Flags) -> None:
        # Go looks for a point only where something follows it
        if not self._template.startswith(".", self._at) or self._at + 1 >= len(self._template):
            return
        self._at += 1
        if self._after_index:
            self._good_index = False
        self._index()
        if self._template.startswith("*", self._at):
            self._at += 1
            flags.precision = self._number_argument()
            if flags.precision is not None and flags.precision < 0:
                flags.precision = None
            if flags.precision is None:
                self._printer.write("%!(BADPREC)")
            self._after_index = False
        else:
            flags.precision = self._number() or 0

    def _number(self) -> int | None:
        """The number at this place. One that is too large swallows the rest of the format, as in Go."""
        match = _NUMBER.match(self._template, self._at)
        if match is None:
            return None
        value = _small(match.group())
        self._at = match.end() if value is not None else len(self._template)
        return value

    def _number_argument(self) -> int | None:
        """The next argument where it is an integer that can be a width or a precision."""
        if self._argument >= len(self._arguments):
            return None
        value = self._arguments[self._argument]
        self._argument += 1
        if values.kind(value) not in (Kind.INT, Kind.UINT) or abs(value) > _MAX_NUMBER:
            return None
        return int(value)

    def _index(self) -> None:
        """``[n]``: the next argument is the n-th."""
        self._after_index = False
        if not self._template.startswith("[", self._at):
            return
        self._reordered = True
        end = self._template.find("]", self._at)
        if end < 0 or self._at + 3 > len(self._template):
            self._good_index = False
            self._at += 1
            return
        inside = self._template[self._at + 1 : end]
        number = _small(inside) if _NUMBER.fullmatch(inside) else None
        self._at = end + 1
        self._after_index = number is not None
        if number is not None and 1 <= number <= len(self._arguments):
            self._argument = number - 1
        else:
            self._good_index = False

    def _extra(self) -> None:
        printer = self._printer
        printer.layout.flags = Flags()
        printer.write("%!(EXTRA ")
        for index, argument in enumerate(self._arguments[self._argument :]):
            if index:
                printer.write(", ")
            if argument is None or argument is MISSING:
                printer.write("<nil>")
            else:
                printer.write(values.type_name(argument) + "=")
                printer.argument(argument, "v")
        printer.write(")")


def _small(digits: str) -> int | None:
    """The number, or None where it is larger than Go reads."""
    value = 0
    for digit in digits:
        if value > _MAX_NUMBER:
            return None
        value = value * 10 + int(digit)
    return value
