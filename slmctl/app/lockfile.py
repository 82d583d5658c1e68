"""Lock files: models pinned to digests, as text that people read and compare.

    schema = "slmctl.lock/1"

    [[models]]
    name = "qwen3:4b"
    digest = "sha256:..."       # of what the name points at: a manifest, or an index of several
    size = 2497280256           # bytes of all files of all variants, shared ones once
    source = "hf://..."         # only where it came from a registry
    sources = ["hf://...", ..]  # instead, of a model whose builds came from several places

    [[models.variants]]
    id = "gguf-q4_k_m"
    digest = "sha256:..."       # of the variant's manifest
    size = 2497280256

TOML 1.0, models by name, variants by id: the same models give the same text. Its data model is that of
docs/schemas/lock-1.json, which is what `slmctl lock --json` prints. Keys that are not known are an error:
what one slmctl pins, another must not overlook.
"""

from __future__ import annotations

import enum
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from registry.digest import Digest
from registry.errors import BadContent, InvalidReference, MalformedFile, NotFound
from registry.names import parse_new_name
from registry.store.index import NameTable
from registry.store.reader import StoreReader
from slmctl.app.package import Package
from slmctl.app.upstream import public_source

SCHEMA = "slmctl.lock/1"
MAX_BYTES = 8 << 20

_HEADER = "# Written by 'slmctl lock'. 'slmctl lock --check FILE' compares the store with it.\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedVariant:
    """A build and its manifest's digest; `size` is in bytes."""

    id: str
    digest: Digest
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedModel:
    """A full name and the digest that it is pinned to. `sources` are references to the registries that have
    it: one, several for builds of several publishers, or none."""

    name: str
    digest: Digest
    size: int
    sources: tuple[str, ...]
    variants: tuple[LockedVariant, ...]

    @classmethod
    def of(cls, package: Package) -> LockedModel:
        """The pin of a model as it is now."""
        variants = [
            LockedVariant(id=variant.id, digest=variant.digest, size=variant.size)
            for variant in package.variants
        ]
        return cls(
            name=package.name,
            digest=package.digest,
            size=package.size,
            sources=_sources_of(package),
            variants=tuple(sorted(variants, key=lambda variant: (variant.id, variant.digest))),
        )

    def to_json(self) -> dict[str, object]:
        """The row in the document that docs/schemas/lock-1.json describes."""
        return {
            "name": self.name,
            "digest": str(self.digest),
            "size": self.size,
            **({"source": self.sources[0]} if len(self.sources) == 1 else {}),
            **({"sources": list(self.sources)} if len(self.sources) > 1 else {}),
            "variants": [
                {"id": each.id, "digest": str(each.digest), "size": each.size} for each in self.variants
            ],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """The models of a lock file, by name."""

    models: tuple[LockedModel, ...]

    @classmethod
    def of(cls, packages: Sequence[Package]) -> Lock:
        models = {package.name: LockedModel.of(package) for package in packages}
        return cls(models=tuple(sorted(models.values(), key=lambda model: model.name)))

    def to_json(self) -> dict[str, object]:
        """The document without its schema's name."""
        return {"models": [model.to_json() for model in self.models]}

    def to_text(self) -> str:
        """The text of the file. `parse` gives the same value again."""
        blocks = [f"{_HEADER}schema = {json.dumps(SCHEMA)}\n"]
        for model in self.models:
            row = model.to_json()
            variants = cast("list[dict[str, object]]", row.pop("variants"))
            blocks.append(f"[[models]]\n{_pairs(row)}")
            blocks += [f"[[models.variants]]\n{_pairs(variant)}" for variant in variants]
        return "\n".join(blocks)


class State(enum.Enum):
    """How a model in the store compares with its pin."""

    SAME = "same"
    OTHER = "other"
    MISSING = "missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One pin against the store; `found` is the digest that the name has there, None where it is missing."""

    model: LockedModel
    state: State
    found: Digest | None


def parse(data: bytes) -> Lock:
    """Read a lock file. Raises MalformedFile with the place that is wrong."""
    if len(data) > MAX_BYTES:
        raise MalformedFile(f"The lock file has more than {MAX_BYTES >> 20} MiB.")
    try:
        document = tomllib.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise MalformedFile(
            f"The lock file is not valid TOML ({error}).", hint="Write it again with 'slmctl lock'."
        ) from None
    schema = document.pop("schema", None)
    if schema != SCHEMA:
        raise MalformedFile(
            f"The lock file is of the schema {schema!r:.60}; this slmctl reads {SCHEMA}.",
            hint="Write it again with 'slmctl lock', or use the slmctl that wrote it.",
        )
    _only(document, {"models"}, "the file")
    models = tuple(_model(row) for row in _rows(document, "models", "the file"))
    names = [model.name.casefold() for model in models]
    if len(set(names)) != len(names):
        raise MalformedFile("The lock file names a model twice.")
    return Lock(models=tuple(sorted(models, key=lambda model: model.name)))


def compare(lock: Lock, store: StoreReader, names: NameTable | None = None) -> list[Compared]:
    """Hold the pins against the store's names. Blobs are not read: `slmctl verify` does that."""
    names = names or store.names()
    result = []
    for model in lock.models:
        entry = names.find(model.name)
        found = None if entry is None else entry.descriptor.digest
        state = State.MISSING if found is None else State.SAME if found == model.digest else State.OTHER
        result.append(Compared(model=model, state=state, found=found))
    return result


def check(compared: Sequence[Compared]) -> None:
    """Raise unless everything is as it is pinned: BadContent for other digests, else NotFound."""
    other = [each.model.name for each in compared if each.state is State.OTHER]
    missing = [each.model.name for each in compared if each.state is State.MISSING]
    if other:
        raise BadContent(
            f"{_listed(other)} not what the lock file pins.",
            hint="Get the pinned model again, or write the lock anew with 'slmctl lock'.",
        )
    if missing:
        raise NotFound(
            f"{_listed(missing)} pinned by the lock file and not in the store.",
            hint="Import or pull what is missing.",
        )


def _sources_of(package: Package) -> tuple[str, ...]:
    """All places of the model at what they had, or nothing: one of several is not all of it."""
    several = len(package.tracks) > 1 or bool(package.pins)
    found = [public_source(each) for each in (package.pins if several else [package.source])]
    known = tuple(each for each in found if each is not None)
    return known if len(known) == len(found) else ()


def _listed(names: Sequence[str]) -> str:
    return (
        f"{', '.join(names[:5])}{' and more' if len(names) > 5 else ''} {'is' if len(names) == 1 else 'are'}"
    )


def _pairs(row: Mapping[str, object]) -> str:
    # JSON's strings are TOML's, but for DEL, which neither a name nor a digest has
    return "".join(f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in row.items())


def _model(row: Mapping[str, object]) -> LockedModel:
    name = _text(row, "name", "a model")
    _only(row, {"name", "digest", "size", "source", "sources", "variants"}, name)
    try:
        full = parse_new_name(name).full_name
    except InvalidReference:
        full = None
    if full != name:
        raise MalformedFile(f"The lock file names a model {name!r:.120}, which is no full name.")
    return LockedModel(
        name=name,
        digest=_digest(row, name),
        size=_size(row, name),
        sources=_sources(row, name),
        variants=tuple(_variant(each, name) for each in _rows(row, "variants", name)),
    )


def _sources(row: Mapping[str, object], where: str) -> tuple[str, ...]:
    sources = row.get("sources", [])
    if "source" in row:
        if "sources" in row:
            raise MalformedFile(f"The lock file has a source and sources for {where:.120}.")
        sources = [row["source"]]
    if not isinstance(sources, list) or ("sources" in row and len(sources) < 2):
        raise MalformedFile(f"The lock file's sources of {where:.120} are no list of several.")
    for source in sources:
        if not isinstance(source, str) or not source.isprintable() or public_source(source) is None:
            raise MalformedFile(f"The lock file's source of {where:.120} is no reference to a registry.")
    return tuple(sources)


def _variant(row: Mapping[str, object], name: str) -> LockedVariant:
    _only(row, {"id", "digest", "size"}, name)
    return LockedVariant(id=_text(row, "id", name), digest=_digest(row, name), size=_size(row, name))


def _rows(row: Mapping[str, object], key: str, where: str) -> list[dict[str, object]]:
    rows = row.get(key, [])
    if not isinstance(rows, list) or not all(isinstance(each, dict) for each in rows):
        raise MalformedFile(f"The lock file's {key} of {where} are no tables.")
    return rows


def _only(row: Mapping[str, object], known: set[str], where: str) -> None:
    if unknown := sorted(row.keys() - known):
        raise MalformedFile(
            f"The lock file has {unknown[0]!r:.60} in {where:.120}, which slmctl does not know."
        )


def _text(row: Mapping[str, object], key: str, where: str) -> str:
    value = row.get(key)
    if not isinstance(value, str) or not value or not value.isprintable():
        raise MalformedFile(f"The lock file has no {key} for {where:.120}.")
    return value


def _digest(row: Mapping[str, object], where: str) -> Digest:
    try:
        return Digest.parse(row.get("digest"))
    except BadContent as error:
        raise MalformedFile(f"The lock file has no digest for {where:.120}: {error.message}") from None


def _size(row: Mapping[str, object], where: str) -> int:
    size = row.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < 1 << 63:
        raise MalformedFile(f"The lock file has no size for {where:.120}.")
    return size
