"""The metadata values of a GGUF header: scalars, strings and arrays, held only where they are small.

Source: the GGUF specification, ggml/docs/gguf.md, "gguf_metadata_value_type" and "gguf_metadata_value_t".
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias

from registry.errors import MalformedFile
from registry.formats.cursor import CHUNK_BYTES, Cursor
from registry.formats.quote import quoted

MAX_STRING_BYTES = 64 * 1024 * 1024
MAX_ELEMENT_BYTES = 1024 * 1024
"""The longest string in an array: tokens and merges have tens of bytes, a text in a list thousands."""

MAX_ARRAY_STRINGS = 2_097_152
"""Strings in all arrays of a header together, some three times the largest tokenizer there is."""

KEPT_STRING_BYTES = 1024 * 1024
KEPT_NUMBERS = 8192
KEPT_STRINGS = 1024
KEPT_TOTAL_BYTES = 4 * 1024 * 1024


class ValueType(IntEnum):
    """The type numbers of metadata values."""

    UINT8 = 0
    INT8 = 1
    UINT16 = 2
    INT16 = 3
    UINT32 = 4
    INT32 = 5
    FLOAT32 = 6
    BOOL = 7
    STRING = 8
    ARRAY = 9
    UINT64 = 10
    INT64 = 11
    FLOAT64 = 12


_LETTERS = {
    ValueType.UINT8: "B",
    ValueType.INT8: "b",
    ValueType.UINT16: "H",
    ValueType.INT16: "h",
    ValueType.UINT32: "I",
    ValueType.INT32: "i",
    ValueType.FLOAT32: "f",
    ValueType.BOOL: "B",
    ValueType.UINT64: "Q",
    ValueType.INT64: "q",
    ValueType.FLOAT64: "d",
}


@dataclass(frozen=True, slots=True)
class ArraySummary:
    """An array that was walked and checked but not held: its element type and the number of elements."""

    type: ValueType
    count: int


@dataclass(frozen=True, slots=True)
class StringSummary:
    """A string that was skipped, not held: its length in bytes. Whether it is UTF-8 was not looked at."""

    size_bytes: int


Scalar: TypeAlias = int | float | bool | str
Value: TypeAlias = Scalar | tuple[Scalar, ...] | ArraySummary | StringSummary


class ValueReader:
    """Reads values from `cursor`; what it keeps in memory is bounded over the whole header."""

    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor
        self._kept_bytes = 0
        self._strings_left = MAX_ARRAY_STRINGS

    def keep(self, size: int) -> bool:
        """Reserve `size` bytes for something that stays in memory; False once the header's share is gone."""
        if self._kept_bytes + size > KEPT_TOTAL_BYTES:
            return False
        self._kept_bytes += size
        return True

    def read(self, key: str) -> tuple[ValueType, Value]:
        """The type and value at the cursor; `key` names it in errors. Raises MalformedFile."""
        where = f"key {quoted(key)}"
        kind = self._type(where)
        if kind is ValueType.STRING:
            return kind, self._string(where)
        if kind is ValueType.ARRAY:
            return kind, self._array(where)
        (value,) = self._numbers(kind, 1, where)
        return kind, value

    def _type(self, where: str) -> ValueType:
        at = self._cursor.offset
        number = self._cursor.u32(f"the type of {where}")
        try:
            return ValueType(number)
        except ValueError:
            raise MalformedFile(
                f"The value type of {where} at byte {at} is {number}, which GGUF lacks."
            ) from None

    def _string(self, where: str) -> str | StringSummary:
        what = f"the string of {where}"
        length = self._cursor.u64(f"the string length of {where}")
        if length > min(MAX_STRING_BYTES, self._cursor.remaining):
            raise MalformedFile(
                f"The string of {where} claims {length} bytes; {self._cursor.remaining} are left in the file "
                f"and at most {MAX_STRING_BYTES} are accepted."
            )
        if length > KEPT_STRING_BYTES or not self.keep(length):
            self._cursor.skip(length, what)
            return StringSummary(length)
        raw = self._cursor.take(length, what)
        try:
            return raw.decode()
        except UnicodeDecodeError as problem:
            raise MalformedFile(f"The string of {where} is not UTF-8 at its byte {problem.start}.") from None

    def _array(self, where: str) -> tuple[Scalar, ...] | ArraySummary:
        kind = self._type(f"the elements of {where}")
        if kind is ValueType.ARRAY:
            raise MalformedFile(f"The value of {where} is an array of arrays, which engines do not read.")
        count = self._cursor.u64(f"the element count of {where}")
        element_bytes = 8 if kind is ValueType.STRING else struct.calcsize(_LETTERS[kind])
        if count * element_bytes > self._cursor.remaining:
            raise MalformedFile(
                f"The array of {where} claims {count} elements of {element_bytes} bytes or more, "
                f"but {self._cursor.remaining} bytes are left in the file."
            )
        if kind is ValueType.STRING:
            return self._strings(count, where)
        if count <= KEPT_NUMBERS and self.keep(count * 40):
            return self._numbers(kind, count, where)
        if kind is ValueType.BOOL:
            self._check_bools(count, where)
        else:
            self._cursor.skip(count * element_bytes, f"the array of {where}")
        return ArraySummary(kind, count)

    def _strings(self, count: int, where: str) -> tuple[str, ...] | ArraySummary:
        what = f"the array of {where}"
        if count > self._strings_left:
            raise MalformedFile(
                f"With {count} more strings in {where}, the header's arrays hold over {MAX_ARRAY_STRINGS}."
            )
        self._strings_left -= count
        kept = self._kept_strings(count, where) if count <= KEPT_STRINGS else []
        if len(kept) == count:
            return tuple(kept)
        self._cursor.skip_strings(count - len(kept), longest=MAX_ELEMENT_BYTES, what=what)
        return ArraySummary(ValueType.STRING, count)

    def _kept_strings(self, count: int, where: str) -> list[str]:
        """Up to `count` of the next elements: fewer where one cannot be kept, and there the cursor stays."""
        kept: list[str] = []
        while len(kept) < count:
            text = self._kept_element(f"an element of {where}")
            if text is None:
                break
            kept.append(text)
        return kept

    def _kept_element(self, what: str) -> str | None:
        """The next element; None, without moving, where it is too large or no UTF-8, as tokens may be."""
        raw_length = self._cursor.peek(8)
        length = int.from_bytes(raw_length, "little")
        if len(raw_length) < 8 or length > self._cursor.remaining - 8 or length > CHUNK_BYTES // 4:
            return None
        try:
            text = self._cursor.peek(8 + length)[8:].decode()
        except UnicodeDecodeError:
            return None
        if not self.keep(length + 80):
            return None
        self._cursor.skip(8 + length, what)
        return text

    def _numbers(self, kind: ValueType, count: int, where: str) -> tuple[Scalar, ...]:
        layout = f"<{count}{_LETTERS[kind]}"
        raw = self._cursor.take(struct.calcsize(layout), f"the value of {where}")
        values: tuple[Scalar, ...] = struct.unpack(layout, raw)
        if kind is ValueType.BOOL:
            _require_bools(raw, where)
            return tuple(map(bool, values))
        return values

    def _check_bools(self, count: int, where: str) -> None:
        while count:
            step = min(count, CHUNK_BYTES)
            _require_bools(self._cursor.take(step, f"the array of {where}"), where)
            count -= step


def _require_bools(raw: bytes, where: str) -> None:
    if strange := raw.translate(None, b"\0\1"):
        raise MalformedFile(f"A bool of {where} is {strange[0]}; it takes 0 or 1.")
