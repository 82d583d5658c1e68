"""`index.json`: the only table of names.

An entry is an OCI descriptor whose `org.opencontainers.image.ref.name` is a full name with its tag. Entries
that others wrote, and fields we do not know, are kept as they are. Names are found as they are written, or
else in any case, as Ollama compares them.

What refers to a manifest (OCI image specification 1.1, "subject") has an entry without a name, which says to
what; it stays as long as that does.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from registry import mediatypes
from registry.digest import Digest
from registry.errors import BadContent, MalformedFile
from registry.manifest import Descriptor
from registry.names import DEFAULT_TAG

MAX_INDEX_BYTES = 256 << 20

_OURS = frozenset(
    {
        mediatypes.REF_NAME,
        mediatypes.SLMCTL_SOURCE,
        mediatypes.SLMCTL_LINKED,
        mediatypes.SLMCTL_TRACKS,
        mediatypes.SLMCTL_PINS,
        mediatypes.SLMCTL_CLAIMED,
        mediatypes.SLMCTL_MADE,
    }
)
_CLAIMED = "true"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A name and what it points at.

    `linked` is RFC 3339 text, `source` the pinned reference it came from; neither is in the descriptor.
    `tracks` are the references that the next pull asks, where they are not the source without its pin.
    `pins` are the pinned references of all its places where it has several, the source first.
    `claimed` says that the source is only what a bundle says of itself: nobody here has asked that place.
    `made` are the ids of variants that the source does not have: they were made here of what it has.
    """

    name: str
    descriptor: Descriptor
    source: str | None
    linked: str | None
    tracks: tuple[str, ...] = ()
    pins: tuple[str, ...] = ()
    claimed: bool = False
    made: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Referrer:
    """A manifest that is about another, `subject`; `descriptor` is its own, with its artifact type."""

    subject: Digest
    descriptor: Descriptor


@dataclass(frozen=True)
class NameTable:
    """The parsed table, a value: `with_entry` and `without` make new ones.

    Rows become entries when they are asked for: a command that needs one name does not pay for ten thousand.
    `generation` says which file answered: "current", "previous" (index.json was damaged or gone) or "none"
    (a store without names).
    """

    document: Mapping[str, object]
    generation: str = field(default="current", compare=False)

    @classmethod
    def empty(cls) -> NameTable:
        document = {"schemaVersion": 2, "mediaType": mediatypes.OCI_INDEX, "manifests": []}
        return cls(document=document, generation="none")

    @classmethod
    def parse(cls, raw: bytes, generation: str = "current") -> NameTable:
        """Read the table; raises MalformedFile when it is torn or not an OCI index."""
        try:
            document = json.loads(raw)
        except (ValueError, RecursionError):
            raise MalformedFile("The store's index.json is not valid JSON.") from None
        if not isinstance(document, dict) or document.get("schemaVersion") != 2:
            raise MalformedFile("The store's index.json is not an OCI index.")
        if not isinstance(document.get("manifests"), list):
            raise MalformedFile("The store's index.json has no list of manifests.")
        return cls(document=document, generation=generation)

    @cached_property
    def entries(self) -> Mapping[str, Entry]:
        """All entries by name, without the rows that name nothing or cannot be read."""
        return _entries(self._rows())

    @cached_property
    def _rows_by_folded_name(self) -> Mapping[str, list[object]]:
        found: dict[str, list[object]] = {}
        for row in self._rows():
            if (name := _name(row)) is not None:
                found.setdefault(name.casefold(), []).append(row)
        return found

    def find(self, name: str) -> Entry | None:
        """The entry of exactly this full name, else of one that differs only in case.

        Other tools write names without a tag; such an entry is found as `latest`.
        """
        for wanted in (name, name.removesuffix(f":{DEFAULT_TAG}")):
            alike = _entries(self._rows_by_folded_name.get(wanted.casefold(), []))
            if wanted in alike:
                return alike[wanted]
            if alike:
                return list(alike.values())[-1]
        return None

    def has(self, digest: Digest) -> bool:
        """Whether any row, a foreign one too, points at `digest`."""
        wanted = str(digest)
        return any(isinstance(row, dict) and row.get("digest") == wanted for row in self._rows())

    def with_entry(self, entry: Entry) -> NameTable:
        """The table with `entry` in the place of an entry of the same name, or at the end."""
        return self.with_entries([entry])

    def with_entries(self, entries: Sequence[Entry]) -> NameTable:
        """As `with_entry` for each of `entries`, in one pass over the table."""
        left = {entry.name: entry for entry in entries}
        named = frozenset(left)
        rows = []
        for row in self._rows():
            name = _name(row)
            if name not in named:
                rows.append(row)
            elif name in left:  # another tool's doublets would hide what is said here
                rows.append(_row(left.pop(name)))
        rows += map(_row, left.values())
        return replace(self, document={**self.document, "manifests": rows})

    def without(self, names: Iterable[str]) -> NameTable:
        gone = frozenset(names)
        rows = [row for row in self._rows() if _name(row) not in gone]
        return replace(self, document={**self.document, "manifests": rows})

    def roots(self) -> list[Descriptor]:
        """What every entry points at, foreign ones included, without `referrers`.

        Raises MalformedFile for a row that hides it.
        """
        return [
            Descriptor.from_json(row, f"entry {position}")
            for position, row in enumerate(self._rows())
            if _referrer(row) is None
        ]

    @cached_property
    def referrers(self) -> tuple[Referrer, ...]:
        """What refers to manifests, those that are gone included."""
        return tuple(found for row in self._rows() if (found := _referrer(row)) is not None)

    def with_referrers(self, referrers: Iterable[Referrer]) -> NameTable:
        """The table with these at its end, each once."""
        new = {referrer.descriptor.digest: referrer for referrer in referrers}
        rows = [*self._without_referrers(frozenset(new)), *map(_referring_row, new.values())]
        return replace(self, document={**self.document, "manifests": rows}) if new else self

    def without_referrers(self, digests: Iterable[Digest]) -> NameTable:
        """The table without the referrers that have these digests."""
        gone = frozenset(digests)
        rows = self._without_referrers(gone)
        return replace(self, document={**self.document, "manifests": rows}) if gone else self

    def _without_referrers(self, gone: frozenset[Digest]) -> list[object]:
        return [
            row
            for row in self._rows()
            if (found := _referrer(row)) is None or found.descriptor.digest not in gone
        ]

    def to_bytes(self) -> bytes:
        """One entry a line: readable, and a one-line change stays one in a diff."""
        rest = {key: value for key, value in self.document.items() if key != "manifests"}
        head = json.dumps(rest, ensure_ascii=False)[:-1]
        text = f'{head}{", " if rest else ""}"manifests": {_lines(self._rows())}}}\n'
        return text.encode(errors="backslashreplace")  # of a lone surrogate that is JSON's own escape

    def _rows(self) -> list[object]:
        rows = self.document["manifests"]
        assert isinstance(rows, list)
        return list(rows)


def _lines(rows: list[object]) -> str:
    """The list as JSON, a row a line. One call of the encoder: one for each row takes three times as long."""
    if not rows:
        return "[]"
    between = f"row {os.urandom(16).hex()}"  # nobody's text
    parted = [part for row in rows for part in (between, row)][1:]
    text = json.dumps(parted, sort_keys=True, ensure_ascii=False)
    return "[\n" + text[1:-1].replace(f', "{between}", ', ",\n") + "\n]"


def _entries(rows: Iterable[object]) -> dict[str, Entry]:
    return {entry.name: entry for row in rows if (entry := _entry(row)) is not None}


def _row(entry: Entry) -> dict[str, object]:
    annotations = {**entry.descriptor.annotations, mediatypes.REF_NAME: entry.name}
    if entry.source is not None:
        annotations[mediatypes.SLMCTL_SOURCE] = entry.source
    if entry.linked is not None:
        annotations[mediatypes.SLMCTL_LINKED] = entry.linked
    if entry.tracks:
        annotations[mediatypes.SLMCTL_TRACKS] = " ".join(entry.tracks)
    if entry.pins:
        annotations[mediatypes.SLMCTL_PINS] = " ".join(entry.pins)
    if entry.claimed:
        annotations[mediatypes.SLMCTL_CLAIMED] = _CLAIMED
    if entry.made:
        annotations[mediatypes.SLMCTL_MADE] = " ".join(entry.made)
    return {**entry.descriptor.to_json(), "annotations": annotations}


def _referring_row(referrer: Referrer) -> dict[str, object]:
    annotations = {**referrer.descriptor.annotations, mediatypes.SLMCTL_SUBJECT: str(referrer.subject)}
    return {**referrer.descriptor.to_json(), "annotations": annotations}


def _referrer(row: object) -> Referrer | None:
    """The referrer in `row`; None for a row that names a model, or is another tool's."""
    annotations = row.get("annotations") if isinstance(row, dict) else None
    if not isinstance(annotations, dict) or mediatypes.SLMCTL_SUBJECT not in annotations:
        return None
    others = {key: text for key, text in annotations.items() if key != mediatypes.SLMCTL_SUBJECT}
    try:
        subject = Digest.parse(annotations[mediatypes.SLMCTL_SUBJECT])
        assert isinstance(row, dict)
        descriptor = Descriptor.from_json({**row, "annotations": others}, "entry")
    except BadContent:
        return None
    return None if _name(row) is not None else Referrer(subject=subject, descriptor=descriptor)


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
    tracks, pins = (annotations.get(key, "") for key in (mediatypes.SLMCTL_TRACKS, mediatypes.SLMCTL_PINS))
    if (
        not isinstance(source, str | None)
        or not isinstance(linked, str | None)
        or not isinstance(tracks, str)
        or not isinstance(pins, str)
        or not isinstance(made := annotations.get(mediatypes.SLMCTL_MADE, ""), str)
    ):
        return None
    others = {key: text for key, text in annotations.items() if key not in _OURS}
    try:
        descriptor = Descriptor.from_json({**row, "annotations": others}, "entry")
    except BadContent:
        return None
    claimed = mediatypes.SLMCTL_CLAIMED in annotations
    return Entry(
        name=name,
        descriptor=descriptor,
        source=source,
        linked=linked,
        tracks=tuple(tracks.split()),
        pins=tuple(pins.split()),
        claimed=claimed,
        made=tuple(made.split()),
    )
