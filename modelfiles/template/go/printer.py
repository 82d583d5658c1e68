"""Any value under any verb: Print and Println of Go's package fmt, and the values of Printf.

A wrong verb, a missing or an extra argument is no error in Go; it is written into the text as %!d(string=hi).
"""

from __future__ import annotations

from collections.abc import Sequence

from modelfiles.template.errors import Fault
from modelfiles.template.go import values
from modelfiles.template.go.layout import Layout
from modelfiles.template.go.meter import Meter
from modelfiles.template.go.strings import join
from modelfiles.template.go.values import MISSING, Byte, Kind, Map, Record, Slice, Value

MAX_DEPTH = 100  # of values inside each other

_NO_ADDRESSES = "Go would print an address in memory, which is different each time"
_STRING_VERBS = "vsxXq"  # those for which a type's String method speaks


def sprint(arguments: Sequence[Value], meter: Meter) -> str:
    """Print: a space between two values of which neither is a string."""
    printer = Printer(meter)
    before_was_string = True
    for argument in arguments:
        is_string = isinstance(argument, str)
        if not is_string and not before_was_string:
            printer.write(" ")
        printer.argument(argument, "v")
        before_was_string = is_string
    return printer.text()


def sprintln(arguments: Sequence[Value], meter: Meter) -> str:
    """Println: a space between all values and a line feed at the end."""
    printer = Printer(meter)
    for index, argument in enumerate(arguments):
        if index:
            printer.write(" ")
        printer.argument(argument, "v")
    printer.write("\n")
    return printer.text()


class Printer:
    """Writes values one after the other."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._parts: list[str] = []
        self._depth = 0
        self._in_error = False
        self.layout = Layout(self.write, meter.expect)

    def text(self) -> str:
        return join(self._parts)

    def write(self, text: str) -> None:
        self._meter.write(len(text))
        self._parts.append(text)

    def argument(self, value: Value, verb: str) -> None:
        """A value that was passed as such, in the layout's flags."""
        self._meter.step()
        if value is None or value is MISSING:
            if verb in "Tv":
                self.layout.pad("<nil>")
            else:
                self.bad_verb(value, verb)
        elif verb == "T":
            self.layout.string(values.type_name(value))
        elif verb == "p" and values.kind(value) in (Kind.SLICE, Kind.MAP, Kind.POINTER):
            raise Fault(_NO_ADDRESSES)
        elif verb == "w" and values.kind(value) in (Kind.SLICE, Kind.MAP, Kind.POINTER, Kind.STRUCT):
            self.bad_verb(value, verb)
        else:
            self._value(value, verb)

    def bad_verb(self, value: Value, verb: str) -> None:
        self.write(f"%!{verb}(")
        if value is None or value is MISSING:
            self.write("<nil>")
        else:
            self.write(values.type_name(value) + "=")
            outer, self._in_error = self._in_error, True
            self._value(value, "v")
            self._in_error = outer
        self.write(")")

    def _value(self, value: Value, verb: str) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise Fault("a value is nested too deeply to be printed")
        if isinstance(value, Slice | Map) and value.text and self._speaks(verb):
            self._string(value.text(value), verb)  # type: ignore[arg-type]
        else:
            match values.kind(value):
                case Kind.STRING:
                    self._string(value, verb)
                case Kind.BOOL if verb in "tv":
                    self.layout.boolean(value)
                case Kind.INT | Kind.UINT:
                    self._integer(value, verb)
                case Kind.FLOAT:
                    self._float(value, verb)
                case Kind.SLICE:
                    self._slice(value, verb)
                case Kind.MAP:
                    self._map(value, verb)
                case Kind.STRUCT | Kind.POINTER:
                    self._record(value, verb)
                case _:
                    self.bad_verb(value, verb)
        self._depth -= 1

    def _speaks(self, verb: str) -> bool:
        return not self._in_error and not self.layout.flags.go_syntax and verb in _STRING_VERBS

    def _string(self, text: str, verb: str) -> None:
        if verb == "s" or (verb == "v" and not self.layout.flags.go_syntax):
            self.layout.string(text)
        elif verb in "qv":
            self.layout.quoted(text)
        elif verb in "xX":
            self.layout.hexadecimal_string(text, upper=verb == "X")
        else:
            self.bad_verb(text, verb)

    def _integer(self, value: int, verb: str) -> None:
        layout = self.layout
        if not -(2**63) <= value < 2**63:
            raise Fault("an integer has more than 64 bits")
        match verb:
            case "v" if layout.flags.go_syntax and isinstance(value, Byte):
                layout.hexadecimal_byte(value)
            case "v" | "d":
                layout.integer(value, 10)
            case "b":
                layout.integer(value, 2)
            case "o" | "O":
                layout.integer(value, 8, verb=verb)
            case "x" | "X":
                layout.integer(value, 16, verb=verb)
            case "c":
                layout.character(value)
            case "q":
                layout.quoted_character(value)
            case "U":
                layout.code_point(value)
            case _:
                self.bad_verb(value, verb)

    def _float(self, value: float, verb: str) -> None:
        if verb == "v":
            self.layout.floating(value, "g", None)
        elif verb in "bgGxX":
            self.layout.floating(value, verb, None)
        elif verb in "feEF":
            self.layout.floating(value, verb.replace("F", "f"), 6)
        else:
            self.bad_verb(value, verb)

    def _brackets(self, value: Value, plain: str) -> tuple[str, str, str] | None:
        """What stands before, between and behind the elements; None for a nil, which is written already."""
        if not self.layout.flags.go_syntax:
            return plain, " ", "]"
        name = values.type_name(value)
        if values.is_nil(value):
            self.write(f"{name}(nil)")
            return None
        return name + "{", ", ", "}"

    def _slice(self, value: Value, verb: str) -> None:
        if isinstance(value, bytes) and verb in "sqxX":
            raise Fault("bytes can be printed with %v and %d only")
        if (brackets := self._brackets(value, "[")) is None:
            return
        opening, separator, closing = brackets
        self.write(opening)
        # an element of an interface's type may be nil; others cannot
        for index, element in enumerate(values.elements(value)):
            if index:
                self.write(separator)
            self._element(element, verb)
        self.write(closing)

    def _map(self, value: Value, verb: str) -> None:
        if (brackets := self._brackets(value, "map[")) is None:
            return
        opening, separator, closing = brackets
        self.write(opening)
        for index, (key, element) in enumerate(values.sorted_entries(value)):
            if index:
                self.write(separator)
            self._element(key, verb)
            self.write(":")
            self._element(element, verb)
        self.write(closing)

    def _record(self, value: Record, verb: str) -> None:
        flags = self.layout.flags
        if value.pointer:
            if self._depth > 1:
                raise Fault(_NO_ADDRESSES)
            self.write("&")
        self.write((value.type_name if flags.go_syntax else "") + "{")
        for index, (name, entry) in enumerate(value.fields.items()):
            if index:
                self.write(", " if flags.go_syntax else " ")
            if flags.go_syntax or flags.field_names:
                self.write(name + ":")
            self._element(entry.value, verb)
        self.write("}")

    def _element(self, value: Value, verb: str) -> None:
        """A value inside another one."""
        self._meter.step()
        if value is None:
            self.write("interface {}(nil)" if self.layout.flags.go_syntax else "<nil>")
        else:
            self._value(value, verb)
