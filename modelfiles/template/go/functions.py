"""The functions of text/template.

Each takes its arguments, already evaluated, and gives a value. `and` and `or` stop at the first argument
that decides, so the evaluator does them itself; the table has their arity only.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from modelfiles.template.errors import Fault
from modelfiles.template.go import printer, values
from modelfiles.template.go.meter import Meter
from modelfiles.template.go.printf import sprintf
from modelfiles.template.go.quote import is_printable
from modelfiles.template.go.strings import byte_length, from_bytes, is_byte, join, to_bytes
from modelfiles.template.go.values import MISSING, Byte, Kind, Slice, Value

Arguments = Sequence[Value]


@dataclass(frozen=True, slots=True)
class Function:
    """`most` is None for any number. The first `strings` arguments must be strings; None stands for all."""

    call: Callable[[Arguments, Meter], Value]
    least: int
    most: int | None
    strings: int | None = 0


def _length(arguments: Arguments, meter: Meter) -> Value:
    item = arguments[0]
    match values.kind(item):
        case Kind.STRING:
            meter.read(item)
            return byte_length(item)
        case Kind.SLICE:
            return len(values.elements(item))
        case Kind.MAP:
            return len(values.entries(item))
    raise Fault(f"{_shown(item)} has no length")


def _index(arguments: Arguments, meter: Meter) -> Value:
    item, *indexes = arguments
    if values.kind(item) is Kind.MISSING:
        raise Fault("nil has no index")
    for index in indexes:
        match values.kind(item):
            case Kind.STRING:
                meter.read(item)
                data = to_bytes(item)
                item = Byte(data[_position(index, len(data) - 1)])
            case Kind.SLICE:
                found = values.elements(item)
                item = found[_position(index, len(found) - 1)]
            case Kind.MAP:
                if not isinstance(index, str):
                    raise Fault(f"the key of a map is a string, not {_shown(index)}")
                item = values.lookup(item, index, absent=None)
            case _:
                raise Fault(f"{_shown(item)} has no index")
    return item


def _position(index: Value, most: int) -> int:
    """`index` as a position up to `most`."""
    if values.kind(index) not in (Kind.INT, Kind.UINT):
        raise Fault(f"an index is an integer, not {_shown(index)}")
    if not 0 <= index <= most:
        raise Fault(f"the index {index} is out of range")
    return int(index)


def _slice(arguments: Arguments, meter: Meter) -> Value:
    item, *indexes = arguments
    if len(indexes) > 3:
        raise Fault("slice takes three indexes at most")
    if isinstance(item, str):
        meter.read(item)
        data = to_bytes(item)
        if len(indexes) == 3:
            raise Fault("a string is sliced with two indexes at most")
        start, end, _ = _bounds(indexes, len(data), len(data))
        return from_bytes(data[start:end])
    if values.kind(item) is not Kind.SLICE:
        raise Fault(f"{_shown(item)} cannot be sliced")
    found = values.elements(item)
    array = [*found, *item.rest] if isinstance(item, Slice) else found
    meter.step(len(array))
    start, end, limit = _bounds(indexes, len(found), len(array))
    part, rest = array[start:end], array[end:limit]
    if isinstance(item, bytes):
        return bytes(part)
    if isinstance(item, Slice):
        nil = item.nil
        return Slice(type_name=item.type_name, items=part, rest=rest, nil=nil, text=item.text, json=item.json)
    return Slice(type_name=values.LIST_TYPE, items=part, rest=rest)


def _bounds(indexes: Sequence[Value], length: int, capacity: int) -> tuple[int, int, int]:
    """Start, end and limit, as in Go's `x[start:end:limit]`."""
    bounds = [0, length, capacity]
    for place, index in enumerate(indexes):
        bounds[place] = _position(index, capacity)
    start, end, limit = bounds
    if start > end or end > limit:
        raise Fault(f"the slice {start}:{end}:{limit} ends before it begins")
    return start, end, limit


def _not(arguments: Arguments, meter: Meter) -> Value:
    return not values.truth(arguments[0])


def _equal(arguments: Arguments, meter: Meter) -> Value:
    first, *others = arguments
    if not others:
        raise Fault("there is nothing to compare with")
    for other in others:
        _read(first, other, meter)
        if values.equal(first, other):
            return True
    return False


def _not_equal(arguments: Arguments, meter: Meter) -> Value:
    _read(arguments[0], arguments[1], meter)
    return not values.equal(arguments[0], arguments[1])


def _less(arguments: Arguments, meter: Meter) -> Value:
    _read(arguments[0], arguments[1], meter)
    return values.less(arguments[0], arguments[1])


def _at_most(arguments: Arguments, meter: Meter) -> Value:
    return _less(arguments, meter) or values.equal(arguments[0], arguments[1])


def _greater(arguments: Arguments, meter: Meter) -> Value:
    return not _at_most(arguments, meter)


def _at_least(arguments: Arguments, meter: Meter) -> Value:
    return not _less(arguments, meter)


def _read(left: Value, right: Value, meter: Meter) -> None:
    if isinstance(left, str) and isinstance(right, str):
        meter.read(min(left, right, key=len))


def _print(arguments: Arguments, meter: Meter) -> Value:
    return printer.sprint(arguments, meter)


def _println(arguments: Arguments, meter: Meter) -> Value:
    return printer.sprintln(arguments, meter)


def _printf(arguments: Arguments, meter: Meter) -> Value:
    return sprintf(arguments[0], arguments[1:], meter)


_HTML = {'"': "&#34;", "'": "&#39;", "&": "&amp;", "<": "&lt;", ">": "&gt;", "\0": "\ufffd"}
_HTML_SPECIAL = re.compile("[\"'&<>\0]")
_JS = {"\\": "\\\\", "'": "\\'", '"': '\\"'}
_JS_SPECIAL = re.compile("[\\\\'\"<>&=\x00-\x1f]|[^\x00-\x7f]")


def _html(arguments: Arguments, meter: Meter) -> Value:
    text = _shown_all(arguments, meter)
    return _written(_HTML_SPECIAL.sub(lambda match: _HTML[match.group()], text), meter)


def _js(arguments: Arguments, meter: Meter) -> Value:
    return _written(_JS_SPECIAL.sub(_js_escape, _shown_all(arguments, meter)), meter)


def _js_escape(match: re.Match[str]) -> str:
    character = match.group()
    if character in _JS:
        return _JS[character]
    if not character.isascii() and (is_byte(character) or is_printable(character)):
        return character
    return f"\\u{ord(character):04X}"


def _urlquery(arguments: Arguments, meter: Meter) -> Value:
    return _written(urllib.parse.quote_plus(to_bytes(_shown_all(arguments, meter))), meter)


def _shown_all(arguments: Arguments, meter: Meter) -> str:
    """The arguments as `print` writes them, except that nil is <no value>, as it is for an action."""
    if len(arguments) == 1 and isinstance(arguments[0], str):
        meter.read(arguments[0])
        meter.expect(len(arguments[0]))
        return arguments[0]
    return printer.sprint([printable(argument) for argument in arguments], meter)


def printable(value: Value) -> Value:
    """What is printed for a value by itself: nil has words, and a pointer is what it points to."""
    if value is None or value is MISSING:
        return MISSING.value
    if isinstance(value, values.Record) and value.pointer:
        return values.Record(type_name=value.type_name, fields=value.fields, json=value.json)
    return value


def _written(text: str, meter: Meter) -> str:
    meter.write(len(text))
    return join([text])


def _deciding(arguments: Arguments, meter: Meter) -> Value:
    raise AssertionError("the evaluator does and, or")


def _call(arguments: Arguments, meter: Meter) -> Value:
    raise Fault("there are no functions in the values of a template")


def _shown(value: Value) -> str:
    return values.type_name(value)


BUILTINS: Mapping[str, Function] = MappingProxyType(
    {
        "and": Function(_deciding, 1, None),
        "call": Function(_call, 1, None),
        "eq": Function(_equal, 1, None),
        "ge": Function(_at_least, 2, 2),
        "gt": Function(_greater, 2, 2),
        "html": Function(_html, 0, None),
        "index": Function(_index, 1, None),
        "js": Function(_js, 0, None),
        "le": Function(_at_most, 2, 2),
        "len": Function(_length, 1, 1),
        "lt": Function(_less, 2, 2),
        "ne": Function(_not_equal, 2, 2),
        "not": Function(_not, 1, 1),
        "or": Function(_deciding, 1, None),
        "print": Function(_print, 0, None),
        "printf": Function(_printf, 1, None, strings=1),
        "println": Function(_println, 0, None),
        "slice": Function(_slice, 1, None),
        "urlquery": Function(_urlquery, 0, None),
    }
)
