"""What a torn table of names still tells: it has an entry a line, and those before the tear are whole."""

from __future__ import annotations

import json

from registry.errors import MalformedFile
from registry.store.index import Entry, NameTable


def whole_entries(raw: bytes) -> list[Entry]:
    """The entries that can still be read in what is left of a table."""
    entries: list[Entry] = []
    for line in raw.split(b"\n"):
        try:
            row = json.loads(line.strip().removesuffix(b","))
            table = NameTable.parse(json.dumps({"schemaVersion": 2, "manifests": [row]}).encode())
        except (ValueError, RecursionError, MalformedFile):
            continue
        entries += table.entries.values()
    return entries
