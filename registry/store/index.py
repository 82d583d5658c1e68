"""`index.json`: the only table of names.

An entry is an OCI descriptor whose `org.opencontainers.image.ref.name` is a full name with its tag. Entries
that others wrote, and fields we do not know, are kept as they are. Names are found as they are written, or
else in any case, as Ollama compares them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from registry import mediatypes
from registry.errors import BadContent, MalformedFile
from registry.manifest import Descriptor
from registry.names import DEFAULT_TAG

MAX_INDEX_BYTES = 256 << 20

_OURS = frozenset({mediatypes.REF_NAME, mediatypes.SLMCTL_SOURCE, mediatypes.SLMCTL_LINKED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A name and what it points at.

    `linked` is RFC 3339 text, `source` the pinned reference it came from; neither is in the descriptor.
    """

    name: str
    descriptor: Descriptor
    source: str | None
    linked: str | None


@dataclass(frozen=True)
class NameTable:
    """The parsed table, a value: `with_entry` and `without` make new ones.

    `generation` says which file answered: "current", "previous" (index.json was damaged or gone) or "none"
    (a store without names).
    """

    document: Mapping[str, object]
    entries: Mapping[str, Entry]
    generation: str = field(default="current", compare=False)

    @classmethod
    def empty(cls) -> NameTable:
        document = {"schemaVersion": 2, "mediaType": mediatypes.OCI_INDEX, "manifests": []}
        return cls(document=document, entries={}, generation="none")

    @classmethod
    def parse(cls, raw: bytes, generation: str = "current") -> NameTable:
        """Read the table; raises MalformedFile when it is torn or not an OCI index."""
        try:
            document = json.loads(raw)
        except (ValueError, RecursionError):
            raise MalformedFile("The store's index.json is not valid JSON.") from None
        if not isinstance(document, dict) or document.get("schemaVersion") != 2:
            raise MalformedFile("The store's index.json is not an OCI index.")
        rows = document.get("manifests")
        if not isinstance(rows, list):
            raise MalformedFile("The store's index.json has no list of manifests.")
        entries = {}
        for row in rows:
            entry = _entry(row)
            if entry is not None:
                entries[entry.name] = entry
        return cls(document=document, entries=entries, generation=generation)

    @cached_property
    def _folded(self) -> dict[str, str]:
        return {name.casefold(): name for name in self.entries}

    def find(self, name: str) -> Entry | None:
        """The entry of exactly this full name, else of one that differs only in case.

        Other tools write names without a tag; such an entry is found as `latest`.
        """
        bare = name.removesuffix(f":{DEFAULT_TAG}")
        for wanted in (name, self._folded.get(name.casefold()), bare, self._folded.get(bare.casefold())):
            if wanted is not None and wanted in self.entries:
                return self.entries[wanted]
        return None

    def with_entry(self, entry: Entry) -> NameTable:
        """The table with `entry` in the place of an entry of the same name, or at the end."""
        annotations = {**entry.descriptor.annotations, mediatypes.REF_NAME: entry.name}
        if entry.source is not None:
            annotations[mediatypes.SLMCTL_SOURCE] = entry.source
        if entry.linked is not None:
            annotations[mediatypes.SLMCTL_LINKED] = entry.linked
        row = {**entry.descriptor.to_json(), "annotations": annotations}
        rows = self._rows()
        places = [position for position, old in enumerate(rows) if _name(old) == entry.name]
        if places:
            rows[places[0]] = row
            for position in reversed(places[1:]):  # another tool's doublets would hide what is said here
                del rows[position]
        else:
            rows.append(row)
        return replace(
            self, document={**self.document, "manifests": rows}, entries={**self.entries, entry.name: entry}
        )

    def without(self, names: Iterable[str]) -> NameTable:
        gone = frozenset(names)
        rows = [row for row in self._rows() if _name(row) not in gone]
        entries = {name: entry for name, entry in self.entries.items() if name not in gone}
        return replace(self, document={**self.document, "manifests": rows}, entries=entries)

    def roots(self) -> list[Descriptor]:
        """What every entry points at, foreign ones included. Raises MalformedFile for a row that hides it."""
        return [Descriptor.from_json(row, f"entry {position}") for position, row in enumerate(self._rows())]

    def to_bytes(self) -> bytes:
        """One entry a line: readable, and a one-line change stays one in a diff."""
        rest = {key: value for key, value in self.document.items() if key != "manifests"}
        rows = ",\n".join(json.dumps(row, sort_keys=True, ensure_ascii=False) for row in self._rows())
        head = json.dumps(rest, ensure_ascii=False)[:-1]
        body = f"[\n{rows}\n]" if rows else "[]"
        return f'{head}{", " if rest else ""}"manifests": {body}}}\n'.encode()

    def _rows(self) -> list[object]:
        rows = self.document["manifests"]
        assert isinstance(rows, list)
        return list(rows)


def _name(row: object) -> str | None:
    annotations = row.get("annotations") if isinstance(row, dict) else None
    name = annotations.get(mediatypes.REF_NAME) if isinstance(annotations, dict) else None
    return name if isinstance(name, str) and name else None


def _entry(row: object) -> Entry | None:
    """The entry in `row`; None for a foreign row that names nothing or cannot be read."""
    name = _name(row)
    if name is None:
        return None
    assert isinstance(row, dict)
    annotations: dict[str, object] = row["annotations"]
    source, linked = annotations.get(mediatypes.SLMCTL_SOURCE), annotations.get(mediatypes.SLMCTL_LINKED)
    if not isinstance(source, str | None) or not isinstance(linked, str | None):
        return None
    others = {key: text for key, text in annotations.items() if key not in _OURS}
    try:
        descriptor = Descriptor.from_json({**row, "annotations": others}, "entry")
    except BadContent:
        return None
    return Entry(name=name, descriptor=descriptor, source=source, linked=linked)
