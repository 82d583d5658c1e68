"""The GGUF builds of a repository, by the names of its files.

files -> sets (the parts of a sharded file together) -> what each is by its name -> builds
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from registry.errors import MalformedFile
from registry.formats.shards import ShardName
from registry.remotes.base import HubFile
from slmctl.app.file_names import file_path
from slmctl.app.gguf_names import label_in, projector_order
from slmctl.app.hub.variant import HubPart, HubVariant
from slmctl.app.package import variant_id

_ENDING = ".gguf"
_MAX_ADAPTERS = 100
_PROJECTOR = re.compile(r"(?:^|[-._])mmproj(?:$|[-._])", re.IGNORECASE)
_ADAPTER = re.compile(r"(?:^|[-._])(?:lora|adapter)(?:$|[-._])", re.IGNORECASE)
_NO_MODEL = re.compile(r"(?:^|[-._])(?:imatrix|vocab)(?:$|[-._])", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufSet:
    """A file, or the parts of a sharded one in order; `stem` is its path without part number and ending."""

    stem: PurePosixPath
    files: tuple[HubFile, ...]
    problem: str | None = None

    @property
    def label(self) -> str | None:
        """The quantization by the file's name, else by that of the folder it lies in."""
        return label_in(self.stem.name) or label_in(self.stem.parent.name)

    @property
    def role(self) -> str | None:
        """What it is by its name; None for what is no part of a model. The header decides later."""
        name = self.stem.name
        if _NO_MODEL.search(name):
            return None
        if _PROJECTOR.search(name):
            return "projector"
        return "adapter" if _ADAPTER.search(name) else "weights"


def gguf_sets(files: Sequence[HubFile]) -> list[GgufSet]:
    """All sets among `files`, by their paths."""
    found: dict[tuple[PurePosixPath, int], dict[int, HubFile]] = {}
    for file in sorted(files, key=lambda each: each.path):
        path = PurePosixPath(file.path)
        if not path.name.lower().endswith(_ENDING) or path.name.startswith("."):
            continue
        try:
            part = ShardName.parse(path.name)
        except MalformedFile:
            part = None
        if part is None:
            found[path.with_name(path.name[: -len(_ENDING)]), 1] = {1: file}
        else:
            found.setdefault((path.with_name(part.prefix), part.count), {})[part.number] = file
    return [_set(stem, count, parts) for (stem, count), parts in sorted(found.items())]


def _set(stem: PurePosixPath, count: int, parts: dict[int, HubFile]) -> GgufSet:
    missing = next((number for number in range(1, count + 1) if number not in parts), None)
    problem = None if missing is None else f"Part {missing} of its {count} files is not in the repository."
    return GgufSet(stem=stem, files=tuple(parts[number] for number in sorted(parts)), problem=problem)


def gguf_variants(files: Sequence[HubFile]) -> list[HubVariant]:
    """The GGUF builds among `files`, each with its projector; ids may occur twice."""
    sets = gguf_sets(files)
    projectors: dict[PurePosixPath, GgufSet] = {}  # the best of each folder
    adapters: dict[PurePosixPath, list[HubFile]] = {}
    for each in sets:
        folder = each.stem.parent
        if each.role == "adapter":
            adapters.setdefault(folder, []).append(each.files[0])
        elif each.role == "projector" and each.problem is None:
            projectors[folder] = min(projectors.get(folder, each), each, key=_projector_order)
    return [_variant(each, projectors, adapters) for each in sets if each.role == "weights"]


def with_adapter(variant: HubVariant, adapter: HubFile) -> HubVariant:
    """The build completed by a LoRA adapter."""
    part = HubPart(path=file_path("adapter", 0, 1), role="adapter", file=adapter)
    return replace(variant, parts=(*variant.parts, part))


def _projector_order(each: GgufSet) -> tuple[int, str]:
    return projector_order(each.stem)


def _variant(
    each: GgufSet,
    projectors: Mapping[PurePosixPath, GgufSet],
    adapters: Mapping[PurePosixPath, Sequence[HubFile]],
) -> HubVariant:
    """A build with what lies in its folder, or above."""
    folders = each.stem.parents
    beside = [projectors[folder] for folder in folders if folder in projectors]
    projector = min(beside, key=_projector_order, default=None)
    parts = [*_parts("weights", each), *(_parts("projector", projector) if projector else ())]
    return HubVariant(
        id=variant_id("gguf", each.label),
        format="gguf",
        label=each.label,
        name=str(each.stem),
        parts=tuple(parts),
        adapters=tuple(file for folder in folders for file in adapters.get(folder, ())[:_MAX_ADAPTERS]),
        problem=each.problem,
    )


def _parts(role: str, each: GgufSet) -> list[HubPart]:
    count = len(each.files)
    return [
        HubPart(path=file_path(role, number, count), role=role, file=file)
        for number, file in enumerate(each.files)
    ]
