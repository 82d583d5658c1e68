"""What is found in other tools' stores, as values. Nothing found is believed before it is looked at."""

from __future__ import annotations

import enum
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from registry.digest import Digest
from registry.errors import InvalidReference
from registry.names import parse_new_name

UNFINISHED = (".incomplete", ".part", ".partial", "-partial", ".crdownload", ".download", ".tmp")
"""How the names of files end that are still being downloaded."""


class Tool(enum.Enum):
    """A tool whose models can be adopted; the value is its word in JSON and in a name's source."""

    OLLAMA = "ollama"
    HUGGINGFACE = "huggingface"
    LMSTUDIO = "lmstudio"

    @property
    def shown(self) -> str:
        return _SHOWN[self]


_SHOWN = {Tool.OLLAMA: "Ollama", Tool.HUGGINGFACE: "huggingface_hub", Tool.LMSTUDIO: "LM Studio"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A store of a tool: an absolute folder. `problem` says why nothing can be found in it."""

    tool: Tool
    root: Path
    problem: str | None = None

    @property
    def source(self) -> str:
        """The source of a name whose model came from here: such a name moves when it is adopted again."""
        return f"{self.tool.value}://{os.fsencode(self.root).decode('utf-8', errors='replace')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundFile:
    """A file of another tool. `path` is absolute and no symbolic link; `size` is in bytes.

    `digest` is what the tool says it is, None where it does not say: then it has to be hashed. `git_oid` is
    its sha1 as a git blob, where that is all that the tool says. `may_link`: the tool replaces such files and
    never writes to one in place.
    """

    path: Path
    role: str
    size: int
    digest: Digest | None = None
    git_oid: str | None = None
    may_link: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundModel:
    """A model in a place. With a `problem` it cannot be taken in; `manifest` is Ollama's, byte for byte.

    `name` is a full name; with a problem it may be whatever stands there. `model_format` is "gguf" or what
    it is instead; `notes` are sentences.
    """

    name: str
    place: Place
    files: tuple[FoundFile, ...] = ()
    manifest: bytes | None = None
    model_format: str = "gguf"
    problem: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of all files, one that is named twice counted once."""
        return sum({file.path: file.size for file in self.files}.values())


def checked_name(text: str) -> str:
    """The full name that `text` spells. Raises InvalidReference."""
    return parse_new_name(text).full_name


def named(text: str, place: Place) -> str | FoundModel:
    """The full name that `text` spells, or a model that cannot be taken in because it is none."""
    try:
        return checked_name(text)
    except InvalidReference as error:
        return FoundModel(name=shown(text), place=place, problem=error.message)


def shown(text: str | Path) -> str:
    """A name from a foreign disk for people: short, on one line."""
    text = os.fsencode(str(text)).decode("utf-8", errors="replace")
    return text[:200] if text.isprintable() else repr(text)[:200]


def reason(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else str(error)


def is_unfinished(name: str) -> bool:
    return name.endswith(UNFINISHED)


def entries_of(folder: Path) -> Sequence[os.DirEntry[str]]:
    """What is in a folder, by name. Raises OSError."""
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)


def is_folder(entry: os.DirEntry[str], *, follow: bool = False) -> bool:
    try:
        return entry.is_dir(follow_symlinks=follow)
    except OSError:  # a loop of links
        return False
