"""Sharded GGUF files: which files belong together, and whether they are one whole model.

Source: llama.cpp's gguf-split (tools/gguf-split) and src/llama.cpp: parts are called
`PREFIX-00001-of-00003.gguf`; each has `split.no` (from 0), `split.count` and `split.tensors.count`, and
only the first has the model's metadata.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from registry.errors import MalformedFile
from registry.formats.gguf import GgufHeader
from registry.formats.quote import quoted

MAX_SHARDS = 1000
_NAME = re.compile(r"(?P<prefix>.+)-(?P<number>[0-9]{5})-of-(?P<count>[0-9]{5})\.gguf", re.ASCII | re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardName:
    """A file name of the form `PREFIX-00001-of-00003.gguf`; `number` counts from 1."""

    prefix: str
    number: int
    count: int

    @classmethod
    def parse(cls, name: str) -> ShardName | None:
        """Read a file name, without folders; None for one of another form.

        Raises MalformedFile for a number that is not within the count, and a count over 1000.
        """
        match = _NAME.fullmatch(name)
        if match is None or "/" in name or "\\" in name or "\0" in name:
            return None
        number, count = int(match["number"]), int(match["count"])
        if not 1 <= number <= count <= MAX_SHARDS:
            raise MalformedFile(
                f"The name {quoted(name)} is part {number} of {count}; a set has 1 to {MAX_SHARDS} parts."
            )
        return cls(prefix=match["prefix"], number=number, count=count)

    def sibling(self, number: int) -> str:
        """The name of another part of the same set."""
        return f"{self.prefix}-{number:05d}-of-{self.count:05d}.gguf"


def find_shards(path: Path) -> list[Path]:
    """All parts of the set that `path`, any one of them, belongs to, in order; `[path]` if it is of none.

    Only files beside `path` are looked at. Raises MalformedFile naming the first part that is not there.
    """
    name = ShardName.parse(path.name)
    if name is None:
        return [path]
    parts = [path.with_name(name.sibling(number)) for number in range(1, name.count + 1)]
    for part in parts:
        if not part.is_file():
            raise MalformedFile(f"Part {quoted(part.name, 300)} of this sharded model is missing.")
    return parts


def check_shards(headers: Sequence[GgufHeader]) -> None:
    """Raise MalformedFile unless `headers`, in the order of their names, are all parts of one model.

    A single file that says nothing of a split, or `split.count` 1 or 0, is whole.
    """
    if not headers:
        raise MalformedFile("There is no file to read a model from.")
    declared = _number(headers[0], "split.count", 1) or 1
    if declared == 1 and len(headers) == 1:
        return
    if declared != len(headers):
        raise MalformedFile(f"This is part of a model in {declared} files, but {len(headers)} are here.")
    for index, header in enumerate(headers):
        label = f"Part {index + 1} of {len(headers)}"
        if (number := _number(header, "split.no", None)) != index:
            raise MalformedFile(f"{label} says by its split.no, {number}, that it is another part.")
        if (count := _number(header, "split.count", None)) != len(headers):
            raise MalformedFile(f"{label} says by its split.count that there are {count}.")
    _check_tensors(headers)


def _check_tensors(headers: Sequence[GgufHeader]) -> None:
    names: set[str] = set()
    for tensor in (tensor for header in headers for tensor in header.tensors):
        if tensor.name in names:
            raise MalformedFile(f"Two parts hold the tensor {quoted(tensor.name)}.")
        names.add(tensor.name)
    for index, header in enumerate(headers):
        declared = _number(header, "split.tensors.count", None)
        if declared != len(names):
            raise MalformedFile(
                f"Part {index + 1} says that the parts hold {declared} tensors, but they hold {len(names)}."
            )


def _number(header: GgufHeader, key: str, default: int | None) -> int | None:
    value = header.metadata.get(key, default)
    if value is not None and type(value) is not int:
        raise MalformedFile(f"{key} is {quoted(value)}; it takes a whole number.")
    return value
