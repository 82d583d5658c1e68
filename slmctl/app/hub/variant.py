"""One build that a repository of files holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from registry.remotes.base import HubFile

NOTHING_READ: Mapping[str, bytes] = MappingProxyType({})
"""For who has read none of a repository's files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HubPart:
    """A file of a variant: `path` is its name in the package, `role` one of PackageFile's."""

    path: str
    role: str
    file: HubFile


@dataclass(frozen=True, slots=True, kw_only=True)
class HubVariant:
    """A build, as far as the files' names and the small files that were read say what it is.

    `label` is the quantization as its publisher writes it, None where no name says it; `name` is what tells
    it from others in the repository: a file's path without part number and ending, or a folder's path (empty
    for the repository's own). `adapters` are LoRA files that fit beside it and are not among its parts.
    `problem`, one sentence, says why it cannot be had.
    """

    id: str
    format: str
    label: str | None
    name: str
    parts: tuple[HubPart, ...]
    adapters: tuple[HubFile, ...] = ()
    problem: str | None = None

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(part.file.size for part in self.parts)

    @property
    def weights(self) -> tuple[HubFile, ...]:
        """The weight files, in order."""
        return self.of_role("weights")

    def of_role(self, role: str) -> tuple[HubFile, ...]:
        """The files of a role, in order."""
        return tuple(part.file for part in self.parts if part.role == role)
