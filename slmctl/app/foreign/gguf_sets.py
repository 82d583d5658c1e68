"""Which models a folder of GGUF files holds: one per set of weights, and what lies beside them.

paths -> sets (the parts of a sharded file together) -> headers -> roles -> models, named by quantization
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath

from registry.errors import MalformedFile, NotFound, OperationFailed, SlmctlError, UsageError
from registry.formats.gguf import GgufHeader
from registry.formats.gguf_facts import facts_from_gguf
from registry.formats.shards import ShardName
from registry.store.ingest import SourceFile
from slmctl.app.foreign.found import FoundFile, FoundModel, Place, is_unfinished, named, shown
from slmctl.app.gguf_names import is_beside, label_in, projector_order
from slmctl.app.sources import read_gguf, role_of


@dataclass(frozen=True, slots=True, kw_only=True)
class _Set:
    """A file, or the parts of one in order; `name` is its path in the repository without part and ending."""

    name: PurePath
    files: tuple[FoundFile, ...]
    headers: tuple[GgufHeader, ...]
    role: str

    @property
    def label(self) -> str | None:
        """The quantization that its name ends in, as Hugging Face has it, upper case."""
        return label_in(self.name.name)


def models_of(repository: str, files: Mapping[PurePath, FoundFile], place: Place) -> list[FoundModel]:
    """The models of a repository `ORG/NAME`: its files by the paths they have in it.

    Each is called `hf.co/ORG/NAME:QUANTIZATION`; where two would have one name, by their files' names. What
    cannot be taken in is among them, with its problem.
    """
    found: list[FoundModel] = []
    sets: list[_Set] = []
    for name, paths in _grouped(files).items():
        try:
            sets.append(_read(name, paths, files))
        except (SlmctlError, OSError) as error:
            problem = error.message if isinstance(error, SlmctlError) else f"It cannot be read ({error})."
            found.append(_problem(repository, name, place, problem))
    weights = [each for each in sets if each.role == "weights"]
    labels = [_label_of(each) for each in weights]
    for each, label in zip(weights, labels, strict=True):
        alone = labels.count(label) == 1
        found.append(_model(repository, each, label if alone else each.name.name, sets, place))
    if not weights:
        for each in sets:
            what = f"It is a {each.role} without the model that it belongs to."
            found.append(_problem(repository, each.name, place, what))
    return found


def _grouped(files: Mapping[PurePath, FoundFile]) -> dict[PurePath, list[PurePath]]:
    """Paths by the sets they belong to."""
    sets: dict[PurePath, list[PurePath]] = {}
    for path in sorted(files):
        try:
            part = ShardName.parse(path.name)
        except MalformedFile:
            part = None
        name = path.with_name(part.prefix if part else path.name[: -len(".gguf")] or path.name)
        sets.setdefault(name, []).append(path)
    return sets


def _read(name: PurePath, paths: Sequence[PurePath], files: Mapping[PurePath, FoundFile]) -> _Set:
    """Look at the headers of a set. Raises MalformedFile, NotFound, UsageError, OperationFailed."""
    parts = [ShardName.parse(path.name) for path in paths]
    first = parts[0]
    if first is not None:
        numbers = [part.number for part in parts if part is not None]
        if numbers != list(range(1, first.count + 1)):
            missing = next(n for n in range(1, first.count + 1) if n not in numbers)
            raise NotFound(f"Part {missing} of its {first.count} files is not there.")
    elif len(paths) > 1:
        raise UsageError("Two files of one name are no set.")
    headers = []
    for path in paths:
        with SourceFile(files[path].path) as source:
            headers.append(read_gguf(source.fd, path.name))
    try:
        role = role_of(headers)
        if role == "weights":
            facts_from_gguf(headers)  # the parts are one whole
    except UsageError as error:
        raise OperationFailed(f"{path.name!r:.200}: {error.message}") from None
    except MalformedFile as error:
        raise MalformedFile(f"{path.name!r:.200}: {error.message}") from None
    found = tuple(replace(files[path], role=role) for path in paths)
    return _Set(name=name, files=found, headers=tuple(headers), role=role)


def _label_of(each: _Set) -> str:
    return each.label or (facts_from_gguf(each.headers).quantization or "latest")


def _model(repository: str, each: _Set, selector: str, sets: Sequence[_Set], place: Place) -> FoundModel:
    name = named(f"hf.co/{repository}:{selector}", place)
    if isinstance(name, FoundModel):
        return name
    notes: tuple[str, ...] = ()
    projectors = [other for other in sets if other.role == "projector" and is_beside(other.name, each.name)]
    chosen = min(projectors, key=lambda each: projector_order(each.name), default=None)
    if chosen is not None and len(projectors) > 1:
        notes = (f"Of its {len(projectors)} projectors it gets {shown(chosen.name.name)}.",)
    files = (*each.files, *(chosen.files if chosen else ()))
    return FoundModel(name=name, place=place, files=files, notes=notes)


def _problem(repository: str, name: PurePath, place: Place, problem: str) -> FoundModel:
    return FoundModel(name=shown(f"hf.co/{repository}:{name}"), place=place, problem=problem)


def is_gguf(name: str) -> bool:
    return name.lower().endswith(".gguf") and not name.startswith(".") and not is_unfinished(name)


def other_format(names: Sequence[str], config: bytes) -> str | None:
    """What a repository without GGUF files holds, by its files' names and its config.json; None for nothing
    that is a model's."""
    if any(os.path.basename(name) == "genai_config.json" for name in names):  # noqa: PTH119
        return "ONNX"
    if any(name.endswith(".safetensors") for name in names):
        return "MLX" if b'"quantization"' in config and b'"group_size"' in config else "safetensors"
    if any(name.endswith(".onnx") for name in names):
        return "ONNX"
    return None


def unsupported(repository: str, model_format: str, size: int, place: Place) -> FoundModel:
    """A model that slmctl knows and cannot take in."""
    what = {
        "safetensors": "It is a safetensors folder: 'slmctl create NAME --from FOLDER' makes a GGUF of it.",
        "MLX": "It is an MLX folder, and slmctl has no MLX engine yet.",
        "ONNX": "It is an ONNX model, and slmctl has no ONNX engine yet.",
    }[model_format]
    file = FoundFile(path=place.root / repository, role="weights", size=size)
    return FoundModel(
        name=shown(f"hf.co/{repository}"),
        place=place,
        files=(file,),
        model_format=model_format.lower(),
        problem=what,
    )
