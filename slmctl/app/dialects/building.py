"""What files of an artifact make a model: which weights are a build each, and what goes with all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from registry.errors import DoesNotFit, UsageError
from registry.formats.facts import ModelFacts
from registry.formats.gguf import GgufHeader
from registry.formats.gguf_facts import facts_from_gguf
from registry.store.reader import StoreReader
from slmctl.app.dialects.described import Described, format_by_names, gguf_sets
from slmctl.app.dialects.folders import folder_facts
from slmctl.app.events import Note, OnEvent
from slmctl.app.file_names import file_path
from slmctl.app.package import PackageFile
from slmctl.app.packaging import Build
from slmctl.app.sources import read_gguf, role_of


def builds_of(
    store: StoreReader, files: Sequence[PackageFile], said: Described, on_event: OnEvent
) -> list[Build]:
    """The builds that `files`, which are in the store, make: of GGUF one for each set of weights, of all
    other formats one. Raises DoesNotFit, UsageError, MalformedFile."""
    weights = [file for file in files if file.role == "weights"]
    if not weights:
        raise DoesNotFit(f"The {said.dialect} artifact holds no weights that slmctl knows.")
    is_gguf = [file.path.lower().endswith(".gguf") for file in weights]
    if not any(is_gguf):
        return [_folder(store, files, weights, said)]
    others = [file for file, each in zip(weights, is_gguf, strict=True) if not each]
    if others:
        on_event(Note(text=f"Of the weights only GGUF files are taken, not {others[0].path}."))
    ggufs = [file for file in files if file.role in _GGUF_ROLES and file.path.lower().endswith(".gguf")]
    rest = [file for file in files if file.role not in _GGUF_ROLES]
    return _gguf_builds(store, ggufs, rest, said)


def _gguf_builds(
    store: StoreReader, files: Sequence[PackageFile], rest: Sequence[PackageFile], said: Described
) -> list[Build]:
    models: list[tuple[list[PackageFile], list[GgufHeader]]] = []
    extras: dict[str, list[PackageFile]] = {}
    by_path = {file.path: file for file in files}
    for paths in gguf_sets(by_path):
        group = [by_path[path] for path in paths]
        headers = [_header(store, file) for file in group]
        role = role_of(headers)
        named = [
            replace(file, role=role, path=file_path(role, number, len(group)))
            for number, file in enumerate(group)
        ]
        if role == "weights":
            models.append((named, headers))
        elif role in extras:
            raise UsageError(f"The artifact has two {role}s, and a model has one.")
        else:
            extras[role] = named
    if not models:
        raise DoesNotFit(f"The {said.dialect} artifact holds no weights of a model, only what completes one.")
    beside = [*(file for each in extras.values() for file in each), *rest]
    builds = []
    for named, headers in models:
        licenses = said.licenses or tuple(header.license for header in headers[:1] if header.license)
        builds.append(
            Build(
                files=tuple(_in_order([*named, *beside])),
                facts=facts_from_gguf(headers),
                licenses=licenses,
                spec=said.spec,
            )
        )
    ids = [build.id for build in builds]
    if len(set(ids)) != len(ids):
        twice = next(each for each in ids if ids.count(each) > 1)
        raise UsageError(f"The artifact has two models that are both {twice}; slmctl cannot tell them apart.")
    return builds


def _header(store: StoreReader, file: PackageFile) -> GgufHeader:
    with store.open_blob(file.descriptor) as stream:
        return read_gguf(stream.fileno(), file.path)


def _folder(
    store: StoreReader, files: Sequence[PackageFile], weights: Sequence[PackageFile], said: Described
) -> Build:
    """A folder of safetensors or ONNX weights."""
    blobs = {file.path: file.descriptor for file in files}
    paths = sorted(file.path for file in weights)
    facts = folder_facts(store, blobs, paths, said.format, said.quantization)
    facts = facts or ModelFacts(  # nothing says more, and nothing can run it
        format=format_by_names(file.path for file in weights) or said.format or "unknown",
        architecture="unknown",
        quantization=said.quantization,
    )
    return Build(files=tuple(_in_order(files)), facts=facts, licenses=said.licenses, spec=said.spec)


_GGUF_ROLES = frozenset({"weights", "projector", "adapter"})
_ORDER = {"weights": 0, "projector": 1, "adapter": 2, "draft": 3, "config": 4, "doc": 5}


def _in_order(files: Sequence[PackageFile]) -> list[PackageFile]:
    """Weights first, then by path: the order in which the layers came does not matter."""
    return sorted(files, key=lambda file: (_ORDER.get(file.role, len(_ORDER)), file.path))
