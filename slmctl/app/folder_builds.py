"""The builds that a folder of safetensors makes: the folder as it is, and the GGUF files made of it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from modelfiles.spec import ModelSpec
from registry.errors import DoesNotFit
from registry.formats.folder_facts import facts_from_folder
from registry.formats.safetensors import SafetensorsHeader, read_header
from registry.store.reader import StoreReader
from runtimes.convert.files import SourceFiles
from slmctl.app.folder_set import FolderSet
from slmctl.app.hub.folders import CONFIG
from slmctl.app.making import MadeFile, Maker, describe_files
from slmctl.app.package import PackageFile
from slmctl.app.packaging import Build
from slmctl.app.taking import Taking
from slmctl.app.wanted import GGUF, SAFETENSORS, Wanted


def folder_builds(
    store: StoreReader, take: Taking, maker: Maker, folder: FolderSet, wanted: Wanted
) -> list[Build]:
    """Store what is kept of the folder, and make what is wanted of that. Raises as `Maker.converted` does."""
    if wanted.only == GGUF:
        kept = [_taken(take, folder, name, role) for name, role in folder.roles.items() if role == "doc"]
        return list(_ggufs(maker, folder, folder.files, kept, wanted))
    itself = _as_it_is(store, take, folder)
    if wanted.only == SAFETENSORS:
        return [itself]
    docs = [file for file in itself.files if file.role == "doc"]
    files = describe_files(store, itself.files, folder.path.name)
    try:
        return [itself, *_ggufs(maker, folder, files, docs, wanted)]
    except DoesNotFit as error:
        keep = "--only safetensors keeps the folder as it is."
        raise type(error)(error.message, hint=f"{error.hint or ''} {keep}".strip()) from None


def _as_it_is(store: StoreReader, take: Taking, folder: FolderSet) -> Build:
    """The folder's files, described by the copies that are stored."""
    headers: dict[str, SafetensorsHeader] = {}
    files = [
        _taken(take, folder, name, role, headers if role == "weights" else None)
        for name, role in folder.roles.items()
    ]
    stored = describe_files(store, files, folder.path.name)
    return Build(
        files=tuple(files),
        facts=facts_from_folder(stored.json(CONFIG), list(headers.values())),
        licenses=folder.licenses,
        spec=folder.spec,
    )


def _taken(
    take: Taking,
    folder: FolderSet,
    name: str,
    role: str,
    headers: dict[str, SafetensorsHeader] | None = None,
) -> PackageFile:
    def check(fd: int) -> None:
        if headers is not None:
            with os.fdopen(os.dup(fd), "rb") as stream:
                headers[name] = read_header(stream)

    return take.plain(folder.files.paths[name], name, role, check)


def _ggufs(
    maker: Maker, folder: FolderSet, files: SourceFiles, docs: Sequence[PackageFile], wanted: Wanted
) -> Iterator[Build]:
    if not wanted.labels:
        yield _build(maker.converted(files, wanted.out_type), folder, docs)
        return
    with maker.converted_for_now(files) as path:
        prepared = [(label, maker.prepared([path], label, wanted.recipe)) for label in wanted.labels]
        maker.check_room(*(each.size for _, each in prepared))
        for label, each in prepared:
            yield _build(maker.quantized(each, label), folder, docs)


def quantized_builds(maker: Maker, paths: Sequence[Path], wanted: Wanted, spec: ModelSpec) -> Iterator[Build]:
    """What is made of a GGUF of the user's, in order of its parts, which is not kept. Raises as `Maker`."""
    prepared = [(label, maker.prepared(paths, label, wanted.recipe)) for label in wanted.labels]
    maker.check_room(*(each.size for _, each in prepared))
    for label, each in prepared:
        made = maker.quantized(each, label)
        licenses = (made.license,) if made.license else ()
        yield Build(files=(made.file,), facts=made.facts, licenses=licenses, spec=spec)


def _build(made: MadeFile, folder: FolderSet, docs: Sequence[PackageFile]) -> Build:
    licenses = folder.licenses or ((made.license,) if made.license else ())
    return Build(files=(made.file, *docs), facts=made.facts, licenses=licenses, spec=folder.spec)
