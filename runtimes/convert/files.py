"""The files that a model is made from: a folder's or a package's, by name, each known to be safe to open.

A name that a model's own files mention (`weight_map` of an index) is looked up here and never joined to a
path, so none leads out. A link is followed only where it stays in the folder, or goes from a snapshot of the
Hugging Face cache (hub/models--ORG--NAME/snapshots/COMMIT/) to the blobs beside it.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

from registry.errors import MalformedFile, NotFound, OperationFailed
from registry.formats.quote import quoted
from registry.formats.sniff import SNIFF_BYTES, describe

MAX_FILES = 10_000
MAX_TEXT_BYTES = 64 << 20
"""A tokenizer.json of 260,000 tokens has 33 MB."""

_HINT = "Download the model again from where its makers publish it."


@dataclass(frozen=True, slots=True)
class SourceFiles:
    """Paths of regular files by name, with `/` between a folder and what is in it.

    `shown` is what messages call the whole.
    """

    paths: Mapping[str, Path]
    shown: str

    @classmethod
    def of_folder(cls, folder: Path) -> SourceFiles:
        """What a folder holds, and the folders in it (one level: sentence-transformers keeps its settings
        there); hidden files are not looked at.

        Raises NotFound where there is no folder, MalformedFile for a link that leads out of it and for more
        than 10,000 files, OperationFailed where it cannot be read.
        """
        try:
            root = Path(os.path.realpath(folder, strict=True))
            found = _listed(root, folder.name or root.name)
        except (FileNotFoundError, NotADirectoryError):
            raise NotFound(f"There is no folder {quoted(str(folder), 200)} to convert from.") from None
        except OSError as error:
            why = os.strerror(error.errno or 0)
            raise OperationFailed(f"The folder {quoted(str(folder), 200)} cannot be read ({why}).") from None
        return cls(MappingProxyType(found), quoted(root.name, 100))

    @classmethod
    def of_files(cls, paths: Mapping[str, Path], shown: str = "the package") -> SourceFiles:
        """The files of a variant: checked names, and the blobs that hold them."""
        real = {name: Path(os.path.realpath(path)) for name, path in paths.items()}
        return cls(MappingProxyType(real), quoted(shown, 100))

    def __contains__(self, name: object) -> bool:
        return name in self.paths

    def open(self, name: str) -> BinaryIO:
        """A file to read. Raises NotFound where the set has none of this name, MalformedFile for what is no
        regular file, OperationFailed where it cannot be read."""
        path = self.paths.get(name)
        if path is None:
            raise NotFound(f"{self.shown} has no file {quoted(name, 200)}.", hint=_HINT)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError as error:
            why = os.strerror(error.errno or 0)
            raise OperationFailed(f"The file {quoted(name, 200)} cannot be read ({why}).") from None
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise MalformedFile(f"{quoted(name, 200)} is no regular file.", hint=_HINT)
        return os.fdopen(fd, "rb")

    def data(self, name: str, limit: int = MAX_TEXT_BYTES) -> bytes:
        """All of a file. Raises as `open`, and MalformedFile for more than `limit` bytes."""
        with self.open(name) as stream:
            raw = stream.read(limit + 1)
        if len(raw) > limit:
            raise MalformedFile(f"{quoted(name, 200)} has more than {limit} bytes.", hint=_HINT)
        return raw

    def text(self, name: str, limit: int = MAX_TEXT_BYTES) -> str:
        """All of a text in UTF-8. Raises as `data`, and MalformedFile for what is none."""
        try:
            return self.data(name, limit).decode("utf-8-sig")
        except UnicodeDecodeError:
            raise MalformedFile(f"{quoted(name, 200)} is not a text in UTF-8.", hint=_HINT) from None

    def json(self, name: str, limit: int = MAX_TEXT_BYTES) -> Mapping[str, object]:
        """An object in JSON. Raises as `text`, and MalformedFile for what is none."""
        raw = self.data(name, limit)
        try:
            value = json.loads(raw.decode("utf-8-sig"))
        except (ValueError, RecursionError):
            looks = describe(raw[:SNIFF_BYTES])
            said = f": it looks like {looks}" if looks and looks != "JSON text" else ""
            raise MalformedFile(f"{quoted(name, 200)} is not valid JSON{said}.", hint=_HINT) from None
        if not isinstance(value, dict):
            raise MalformedFile(f"{quoted(name, 200)} is not a JSON object.", hint=_HINT)
        return MappingProxyType(value)

    def optional_json(self, name: str, limit: int = MAX_TEXT_BYTES) -> Mapping[str, object]:
        """The same; an empty object where there is no such file."""
        return self.json(name, limit) if name in self else MappingProxyType({})


def _listed(root: Path, shown: str) -> dict[str, Path]:
    """Names to real paths. Raises OSError, and MalformedFile as `of_folder`."""
    allowed = [root]
    if root.parent.name == "snapshots":
        allowed.append(root.parent.parent / "blobs")
    found: dict[str, Path] = {}
    folders = [("", root)]
    while folders:
        prefix, folder = folders.pop()
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                name = prefix + entry.name
                if len(found) + len(folders) >= MAX_FILES:
                    raise MalformedFile(f"The folder {quoted(shown, 200)} has more than {MAX_FILES} files.")
                if entry.is_dir(follow_symlinks=False):
                    if not prefix:
                        folders.append((name + "/", Path(entry.path)))
                    continue
                real = _followed(entry, name, allowed)
                if real is not None:
                    found[name] = real
    return dict(sorted(found.items()))


def _followed(entry: os.DirEntry[str], name: str, allowed: list[Path]) -> Path | None:
    """The file itself; None for a folder behind a link."""
    if not entry.is_symlink():
        return Path(entry.path)
    try:
        real = Path(os.path.realpath(entry.path, strict=True))
    except OSError:
        raise MalformedFile(f"{quoted(name, 200)} is a link that leads nowhere.", hint=_HINT) from None
    if not any(real.is_relative_to(folder) for folder in allowed):
        raise MalformedFile(
            f"{quoted(name, 200)} is a link that leads out of its folder.",
            hint="Put the file itself into the folder, if it is the model's.",
        )
    return None if real.is_dir() else real
