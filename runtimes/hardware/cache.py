"""What is slow to find out about a machine and stays as it is, in files of the user's.

A file holds one answer and all that it depends on; when any of that has changed, there is no answer. Nothing
here fails: a cache that cannot be read is empty, one that cannot be written stays so.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_MOST_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    """A folder that need not be there; None keeps nothing. `machine` tells its files from others'."""

    folder: Path | None
    machine: str

    def text(self, name: str, key: Sequence[str]) -> str | None:
        """The answer that was kept under `name` with an equal `key`."""
        found = self._read(name)
        return found[1] if found is not None and found[0] == list(key) else None

    def text_beginning(self, name: str, key: Sequence[str]) -> str | None:
        """As `text`, of a key that begins with `key`."""
        found = self._read(name)
        return found[1] if found is not None and found[0][: len(key)] == list(key) else None

    def _read(self, name: str) -> tuple[list[object], str] | None:
        if self.folder is None:
            return None
        try:
            with self._path(self.folder, name).open("rb") as stream:
                found = json.loads(stream.read(_MOST_BYTES))
        except (OSError, ValueError, RecursionError):
            return None
        if not isinstance(found, dict):
            return None
        key, text = found.get("key"), found.get("text")
        return (key, text) if isinstance(key, list) and isinstance(text, str) else None

    def keep(self, name: str, key: Sequence[str], text: str) -> None:
        """Replace the answer under `name`; whole or not at all, whoever else does the same."""
        if self.folder is None:
            return
        path = self._path(self.folder, name)
        new = path.with_name(f"{path.name}.{os.getpid()}")
        with contextlib.suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                new.write_text(json.dumps({"key": list(key), "text": text}), encoding="utf-8")
                new.replace(path)
            finally:
                new.unlink(missing_ok=True)

    def _path(self, folder: Path, name: str) -> Path:
        return folder / f"{self.machine}-{name}.json"
