"""GGUF headers: the metadata and the tensor table of a model file, read without loading weights.

Source: the GGUF specification, ggml/docs/gguf.md, versions 2 and 3, little-endian. Every count and length
in a header is a claim by whoever made the file, and engines have died of each of them; so all are checked
here against the file's size and against fixed limits before anything is allocated, and no engine sees a
file that fails.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import BinaryIO

from registry.errors import MalformedFile
from registry.formats.cursor import Cursor
from registry.formats.gguf_tensors import (
    MAX_BYTES,
    MAX_TENSORS,
    SMALLEST_INFO_BYTES,
    TensorInfo,
    check_layout,
    padded,
    read_tensors,
)
from registry.formats.gguf_values import ArraySummary, StringSummary, Value, ValueReader, ValueType
from registry.formats.quote import quoted
from registry.formats.sniff import SNIFF_BYTES, describe

__all__ = [
    "MAGIC",
    "ArraySummary",
    "GgufHeader",
    "StringSummary",
    "TensorInfo",
    "Value",
    "ValueType",
    "read_header",
]

MAGIC = b"GGUF"
MAX_HEADER_BYTES = 256 * 1024 * 1024
MAX_KEYS = 8192
MAX_KEY_BYTES = 65_535
DEFAULT_ALIGNMENT = 32
_SMALLEST_PAIR_BYTES = 8 + 1 + 4 + 1
_ARCHITECTURE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_GENERAL_TYPES = {
    "general.architecture": ValueType.STRING,
    "general.type": ValueType.STRING,
    "general.name": ValueType.STRING,
    "general.alignment": ValueType.UINT32,
    "general.file_type": ValueType.UINT32,
    "general.quantization_version": ValueType.UINT32,
}
_TOKEN_ARRAYS = ("tokenizer.ggml.scores", "tokenizer.ggml.token_type")


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufHeader:
    """A checked header. `metadata` keeps the file's order; what is too large to hold is a summary.

    `data_offset` is where tensor data begins, `file_size` where the file ends, both in bytes from its start.
    """

    version: int
    alignment: int
    metadata: Mapping[str, Value]
    tensors: tuple[TensorInfo, ...]
    data_offset: int
    file_size: int

    @property
    def architecture(self) -> str | None:
        """`general.architecture`; None only in the second and later parts of a sharded set."""
        return self._text("general.architecture")

    @property
    def has_chat_template(self) -> bool:
        """Whether the header carries a default chat template (`tokenizer.chat_template`)."""
        template = self.metadata.get("tokenizer.chat_template")
        return isinstance(template, StringSummary) or (isinstance(template, str) and template != "")

    @property
    def chat_template(self) -> str | None:
        """The default chat template, Jinja text from outside; None where there is none, or one too large."""
        return self._text("tokenizer.chat_template")

    @property
    def license(self) -> str | None:
        """`general.license`, usually an SPDX expression; None where it is missing or no string."""
        return self._text("general.license")

    def _text(self, key: str) -> str | None:
        value = self.metadata.get(key)
        return value if isinstance(value, str) else None


def read_header(stream: BinaryIO, *, size: int | None = None, needs_architecture: bool = True) -> GgufHeader:
    """Read and check the header of the GGUF file that `stream`, seekable, holds from its first byte.

    `size` is the size of the whole file in bytes; without it the stream's own end counts. With it, the
    stream need hold no more than the header (a file that is still elsewhere). Tensor data is never read,
    and what is held in memory is bounded, whatever the file says. Trailing bytes after the last tensor are
    accepted, as engines do. Without `needs_architecture` the file may hold something else than a model.

    Raises MalformedFile, with the key, tensor or byte offset that is wrong, and for file contents nothing
    else; an OSError of the stream passes through.
    """
    if size is None:
        size = stream.seek(0, os.SEEK_END)
    if size > MAX_BYTES:
        raise MalformedFile(f"A file of {size} bytes cannot be.")
    cursor = Cursor(stream, size=size, limit=MAX_HEADER_BYTES)
    version = _read_version(cursor)
    tensor_count = cursor.u64("the tensor count")
    key_count = cursor.u64("the key count")
    _check_count(tensor_count, "tensors", MAX_TENSORS, SMALLEST_INFO_BYTES, cursor)
    _check_count(key_count, "keys", MAX_KEYS, _SMALLEST_PAIR_BYTES, cursor)
    metadata = _read_metadata(cursor, key_count)
    alignment = _alignment(metadata)
    architecture = _architecture(metadata, needs_architecture)
    tensors = read_tensors(cursor, tensor_count, alignment=alignment, architecture=architecture)
    data_offset = padded(cursor.offset, alignment)
    check_layout(tensors, data_offset=data_offset, file_size=cursor.size)
    return GgufHeader(
        version=version,
        alignment=alignment,
        metadata=MappingProxyType(metadata),
        tensors=tensors,
        data_offset=data_offset,
        file_size=cursor.size,
    )


def _read_version(cursor: Cursor) -> int:
    head = cursor.peek(SNIFF_BYTES)
    if not head or head[: len(MAGIC)] != MAGIC[: len(head)]:
        found = describe(head)
        looks = f"it looks like {found}" if found else f"it begins with {quoted(head[:4])}"
        raise MalformedFile(f"This is not a GGUF file: {looks}.")
    cursor.take(len(MAGIC), "the magic")
    version = cursor.u32("the version")
    if version in (2, 3):
        return version
    if version and version & 0xFFFF == 0:
        raise MalformedFile(
            "This GGUF file is big-endian, which engines on this machine cannot read; "
            "convert it to little-endian (gguf-py's gguf-convert-endian)."
        )
    if version == 1:
        raise MalformedFile("This GGUF file has version 1, which no engine reads any more; convert it again.")
    raise MalformedFile(f"This GGUF file has version {version}; versions 2 and 3 are known.")


def _check_count(count: int, things: str, most: int, smallest_bytes: int, cursor: Cursor) -> None:
    if count > most:
        raise MalformedFile(f"The header claims {count} {things}; at most {most} are accepted.")
    if count * smallest_bytes > cursor.remaining:
        raise MalformedFile(
            f"The header claims {count} {things}, but only {cursor.remaining} bytes are left in the file."
        )


def _read_metadata(cursor: Cursor, count: int) -> dict[str, Value]:
    reader = ValueReader(cursor)
    metadata: dict[str, Value] = {}
    for index in range(count):
        key = _read_key(cursor, index)
        if key in metadata:
            raise MalformedFile(f"The key {quoted(key)} stands twice in the header.")
        if not reader.keep(2 * len(key) + 200):
            raise MalformedFile(
                f"The keys and values up to key {index} take more memory than any model's do."
            )
        kind, value = reader.read(key)
        expected = _GENERAL_TYPES.get(key, kind)
        if kind is not expected:
            raise MalformedFile(f"The key {quoted(key)} is of type {kind.name}; it takes {expected.name}.")
        metadata[key] = value
    _check_tokenizer(metadata)
    return metadata


def _read_key(cursor: Cursor, index: int) -> str:
    at = cursor.offset
    length = cursor.u64(f"the length of key {index}")
    if not 1 <= length <= MAX_KEY_BYTES:
        raise MalformedFile(f"Key {index} at byte {at} has {length} bytes; it takes 1 to {MAX_KEY_BYTES}.")
    raw = cursor.take(length, f"key {index}")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise MalformedFile(f"Key {index}, {quoted(raw)}, is not UTF-8.") from None


def _alignment(metadata: Mapping[str, Value]) -> int:
    value = metadata.get("general.alignment", DEFAULT_ALIGNMENT)
    if not isinstance(value, int) or not 8 <= value <= 65_536 or value & (value - 1):
        raise MalformedFile(f"general.alignment is {quoted(value)}; it takes a power of two from 8 to 65536.")
    return value


def _architecture(metadata: Mapping[str, Value], needed: bool) -> str | None:
    value = metadata.get("general.architecture")
    if isinstance(value, str) and _ARCHITECTURE.fullmatch(value):
        return value
    if value is not None:
        raise MalformedFile(f"general.architecture is {quoted(value)}, which is no architecture's name.")
    part = metadata.get("split.no")
    if not needed or (isinstance(part, int) and part > 0):
        return None  # only the first part of a sharded set repeats the model's metadata
    raise MalformedFile("The header has no general.architecture, so no engine could load it.")


def _check_tokenizer(metadata: Mapping[str, Value]) -> None:
    """Engines index scores and token types by token and do not look at their lengths first."""
    tokens = _length(metadata, "tokenizer.ggml.tokens")
    for key in _TOKEN_ARRAYS:
        length = _length(metadata, key)
        if tokens is not None and length is not None and length != tokens:
            raise MalformedFile(f"{key} has {length} elements for {tokens} tokens.")


def _length(metadata: Mapping[str, Value], key: str) -> int | None:
    value = metadata.get(key)
    if value is None:
        return None
    if isinstance(value, ArraySummary):
        return value.count
    if isinstance(value, tuple):
        return len(value)
    raise MalformedFile(f"{key} is {quoted(value)}; it takes an array.")
