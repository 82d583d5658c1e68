"""The library as it ships: reading its folders, and finding models in it. Offline; it touches no store."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from modelfiles.library.entry import LibraryEntry, parse_entry, size_class
from registry.errors import BadContent, MalformedFile, UsageError
from registry.formats.facts import ModelFacts
from runtimes.planning.mix import quantized_bytes

FOLDER = Path(__file__).parents[2] / "modelfiles" / "library"
"""Beside this package, wherever slmctl is installed: the program checks that at its start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LibraryModel:
    """A model of the library with its facts, which are those of its unquantized GGUF."""

    entry: LibraryEntry
    facts: ModelFacts

    @property
    def size_class(self) -> str | None:
        """`micro`, `small` or `medium`, by the number of parameters; None for one outside of all."""
        return size_class(self.facts.parameters)

    @property
    def size(self) -> int:
        """Bytes of the weights as Q4_K_M, the build that people take; of a model that ships, as it ships."""
        return self.facts.tensor_bytes if self.entry.ships else quantized_bytes(self.facts, "Q4_K_M")


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What is looked for: a model with all words and tasks and one of the licences, that is no larger than
    `max_size` (in bytes, of `LibraryModel.size`), and that is of `size_class`, where these are given."""

    words: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    licenses: tuple[str, ...] = ()
    max_size: int | None = None
    size_class: str | None = None

    def matches(self, model: LibraryModel) -> bool:
        entry = model.entry
        return (
            all(map(entry.says, self.words))
            and set(self.tasks) <= set(entry.tasks)
            and (not self.licenses or entry.license in self.licenses)
            and (self.max_size is None or model.size <= self.max_size)
            and (self.size_class is None or model.size_class == self.size_class)
        )


def search(wanted: Search, *, folder: Path = FOLDER) -> list[LibraryModel]:
    """The models that match, families by name, the sizes of each from small to large. Raises BadContent."""
    found = (model for model in library(folder) if wanted.matches(model))
    return sorted(found, key=lambda model: (model.entry.family, model.facts.parameters or 0))


def find_model(family: str, tag: str | None, *, folder: Path = FOLDER) -> LibraryModel | None:
    """The model of a family with a tag, in any case, or the family's default; None where there is none.

    Reads one family only. Raises BadContent.
    """
    wanted = next((each for each in _folders(folder) if each.name.casefold() == family.casefold()), None)
    if wanted is None:
        return None
    for each in _folders(wanted):
        if tag is not None and each.name.casefold() != tag.casefold():
            continue
        model = _read_model(wanted.name, each)
        if tag is not None or model.entry.default:
            return model
    return None


def family_of(name: str, *, folder: Path = FOLDER) -> list[LibraryModel]:
    """All models of a family in any case, from small to large; none where the library has no such family.
    Raises BadContent."""
    wanted = next((each for each in _folders(folder) if each.name.casefold() == name.casefold()), None)
    found = [] if wanted is None else [_read_model(wanted.name, each) for each in _folders(wanted)]
    return sorted(found, key=lambda model: model.facts.parameters or 0)


def modelfile_text(entry: LibraryEntry, *, folder: Path = FOLDER) -> bytes:
    """The Modelfile of an entry. Raises BadContent."""
    return _text(folder / entry.family / entry.tag / "Modelfile").encode()


def library(folder: Path = FOLDER) -> Iterator[LibraryModel]:
    """Every model of the library. Raises BadContent where its files are not as they came."""
    for family in _folders(folder):
        for tag in _folders(family):
            yield _read_model(family.name, tag)


def _read_model(family: str, folder: Path) -> LibraryModel:
    try:
        facts = json.loads(_text(folder / "facts.json"))
        return LibraryModel(
            entry=parse_entry(
                family,
                folder.name,
                family_text=_text(folder.parent / "family.toml"),
                about=_text(folder / "about.toml"),
                modelfile=_text(folder / "Modelfile"),
            ),
            facts=ModelFacts.from_json(facts),
        )
    except MalformedFile as error:
        raise _damaged(folder, error.message) from None
    except (ValueError, UsageError) as error:
        raise _damaged(folder, f"{family}/{folder.name}: {error}") from None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise _damaged(path, f"{path.name} cannot be read ({os.strerror(error.errno or 0)})") from None


def _folders(folder: Path) -> Iterable[Path]:
    try:
        found = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(("_", "."))]
    except OSError as error:
        raise _damaged(folder, f"{folder.name} cannot be read ({os.strerror(error.errno or 0)})") from None
    return sorted(found)


def _damaged(path: Path, why: str) -> BadContent:
    return BadContent(
        f"The library that came with slmctl is damaged: {why.removesuffix('.')}.",
        hint=f"Install slmctl again; it lies in {path}.",
    )
