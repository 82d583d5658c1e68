"""What was typed at the prompt, kept from one session to the next in a file of slmctl's home."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

_KEPT_BYTES = 1 << 20


class HistoryFile:
    """One JSON string per line, the newest last; readable by its owner alone.

    A history that cannot be read is empty and one that cannot be written is not kept: no session fails of it.
    Sessions may share the file; each entry is appended with one write.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> list[str]:
        """The entries of the last megabyte, oldest first."""
        try:
            with os.fdopen(os.open(self._path, os.O_RDONLY | os.O_NONBLOCK), "rb") as stream:
                size = stream.seek(0, os.SEEK_END)
                stream.seek(max(0, size - _KEPT_BYTES))
                lines = stream.read(_KEPT_BYTES).splitlines()
        except OSError:
            return []
        entries = []
        for line in lines:
            with contextlib.suppress(ValueError, RecursionError):  # half a line, or not ours
                entry = json.loads(line)
                if isinstance(entry, str) and entry:
                    entries.append(entry)
        return entries

    def append(self, entry: str) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path, flags, 0o600)
            try:
                os.write(descriptor, json.dumps(entry).encode() + b"\n")
            finally:
                os.close(descriptor)
