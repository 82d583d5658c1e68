"""Values in a template, and what Go makes of them: truth, comparison, fields, types.

| Go                        | here                                                          |
|---------------------------|---------------------------------------------------------------|
| map[string]any, []any     | dict with str keys, list or tuple                             |
| string, int, float64, bool| str, int of 64 bits, float, bool                              |
| uint8, []byte             | Byte, bytes                                                   |
| a struct, or a pointer to | Record                                                        |
| other maps and slices     | Map, Slice                                                    |
| nil in an interface       | None                                                          |
| no value at all           | MISSING                                                       |

Go tells nil from no value: a field of nil is an error, a field of no value is again no value. Where the last
two are passed to a function both are nil.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from modelfiles.template.errors import Fault
from modelfiles.template.go.strings import to_bytes


class _Missing(enum.Enum):
    MISSING = "<no value>"


MISSING: Final = _Missing.MISSING


class Byte(int):
    """Go's uint8: what a string has at an index."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordField:
    """`json` is the field's name in JSON, "" for the Go name; `omit_empty` drops it where it is empty."""

    value: Value
    json: str = ""
    omit_empty: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Record:
    """A struct: `fields` by their Go names, in order. `pointer` where Go holds a pointer to it.

    `json` stands for it in JSON where that is not its fields.
    """

    type_name: str
    fields: Mapping[str, RecordField]
    pointer: bool = False
    json: Value = MISSING


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Slice:
    """A slice of another type than []any, or a part of one.

    `rest` is what lies behind the end in the same array: slicing can reach it. `text` is the type's String
    method, `json` its MarshalJSON as a value to encode instead. `nil` is Go's nil slice.
    """

    type_name: str
    items: Sequence[Value]
    rest: Sequence[Value] = ()
    nil: bool = False
    text: Callable[[Slice], str] | None = None
    json: Callable[[Slice], Value] | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Map:
    """A map from string of another type than map[string]any; `absent` is what a key that it lacks gives."""

    type_name: str
    items: Mapping[str, Value]
    absent: Value = None
    nil: bool = False
    text: Callable[[Map], str] | None = None


# a union that names itself, inside Mapping and Sequence, is more than the type checker's inference can bear
Value: TypeAlias = Any

LIST_TYPE: Final = "[]interface {}"
MAP_TYPE: Final = "map[string]interface {}"


class Kind(enum.Enum):
    """Go's kinds, as far as functions tell them apart."""

    MISSING = "no value"
    BOOL = "bool"
    INT = "int"
    UINT = "uint"
    FLOAT = "float"
    STRING = "string"
    SLICE = "slice"
    MAP = "map"
    STRUCT = "struct"
    POINTER = "pointer"


_BASIC = frozenset([Kind.BOOL, Kind.INT, Kind.UINT, Kind.FLOAT, Kind.STRING])
_KINDS: dict[type, Kind] = {
    str: Kind.STRING,
    bool: Kind.BOOL,
    int: Kind.INT,
    float: Kind.FLOAT,
    Byte: Kind.UINT,
    dict: Kind.MAP,
    Map: Kind.MAP,
    list: Kind.SLICE,
    tuple: Kind.SLICE,
    Slice: Kind.SLICE,
    bytes: Kind.SLICE,
    type(None): Kind.MISSING,
    _Missing: Kind.MISSING,
}


def kind(value: Value) -> Kind:
    """Raises Fault for a value that no template can hold."""
    found = _KINDS.get(type(value))
    if found is not None:
        return found
    if isinstance(value, Record):
        return Kind.POINTER if value.pointer else Kind.STRUCT
    raise Fault(f"a value of Python's type {type(value).__name__} has no place in a template")


def type_name(value: Value) -> str:
    """What Go's %T prints."""
    match value:
        case Record():
            return "*" * value.pointer + value.type_name
        case Slice() | Map():
            return str(value.type_name)
        case bytes():
            return "[]uint8"
        case None | _Missing.MISSING:
            return "<nil>"
    match kind(value):
        case Kind.SLICE:
            return LIST_TYPE
        case Kind.MAP:
            return MAP_TYPE
        case Kind.UINT:
            return "uint8"
        case Kind.FLOAT:
            return "float64"
        case other:
            return str(other.value)


def elements(value: Value) -> Sequence[Value]:
    """The elements of a value of the kind SLICE."""
    if isinstance(value, Slice):
        return value.items
    if isinstance(value, bytes):
        return [Byte(byte) for byte in value]
    found: Sequence[Value] = value
    return found


def entries(value: Value) -> Mapping[str, Value]:
    """The entries of a value of the kind MAP, in no order."""
    found: Mapping[str, Value] = value.items if isinstance(value, Map) else value
    return found


def sorted_entries(value: Value) -> list[tuple[str, Value]]:
    """The entries of a map in the order of their keys' bytes, as Go ranges over and prints them."""
    return sorted(entries(value).items(), key=lambda entry: to_bytes(entry[0]))


def is_nil(value: Value) -> bool:
    """Whether it is nil, no value, or a slice or map that Go has as nil."""
    return value is None or value is MISSING or (isinstance(value, Slice | Map) and value.nil)


def truth(value: Value) -> bool:
    """Whether a value counts as true: anything but false, 0, nil and what is empty."""
    match kind(value):
        case Kind.MISSING:
            return False
        case Kind.STRUCT | Kind.POINTER:
            return True
        case Kind.SLICE:
            return bool(value.items if isinstance(value, Slice) else value)
        case Kind.MAP:
            return bool(entries(value))
        case _:
            return bool(value)


def lookup(value: Value, name: str, *, absent: Value) -> Value:
    """The field `name` of a record or map; `absent` is what a map[string]any gives for a key it lacks.

    Raises Fault where there cannot be such a field.
    """
    if value is MISSING:
        return MISSING
    if value is None:
        raise Fault(f"nil has no field {name}")
    if isinstance(value, Record):
        if name not in value.fields:
            raise Fault(f"{type_name(value)} has no field {name}")
        return value.fields[name].value
    if kind(value) is not Kind.MAP:
        raise Fault(f"{type_name(value)} has no field {name}")
    found = entries(value)
    if name in found:
        return found[name]
    if isinstance(value, Map):
        return MISSING if absent is MISSING else value.absent
    return absent


def equal(left: Value, right: Value) -> bool:
    """Go's eq of two values. Raises Fault where they cannot be compared."""
    a, b = kind(left), kind(right)
    if a in _BASIC or b in _BASIC:
        if a is b or {a, b} == {Kind.INT, Kind.UINT}:
            return bool(left == right)
        if Kind.MISSING in (a, b):
            return False
        raise Fault(f"{type_name(left)} and {type_name(right)} cannot be compared")
    if a is not b and Kind.MISSING not in (a, b):
        raise Fault(f"{type_name(left)} and {type_name(right)} cannot be compared")
    if is_nil(left) or is_nil(right):
        return is_nil(left) == is_nil(right)
    if a is not Kind.POINTER:
        raise Fault(f"values of the type {type_name(left)} cannot be compared")
    return left is right


def less(left: Value, right: Value) -> bool:
    """Go's lt. Raises Fault where the values have no order."""
    a, b = kind(left), kind(right)
    if a is Kind.STRING and b is Kind.STRING:
        return to_bytes(left) < to_bytes(right)
    numbers = a is b and a in (Kind.INT, Kind.UINT, Kind.FLOAT)
    if not numbers and {a, b} != {Kind.INT, Kind.UINT}:
        raise Fault(f"{type_name(left)} and {type_name(right)} have no order")
    return bool(left < right)
