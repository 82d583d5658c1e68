"""A folder of safetensors, as makers publish a model: which of its files are the model, and what it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from modelfiles.spec import ModelSpec
from registry.errors import MalformedFile, UsageError
from registry.formats.folder_facts import facts_from_folder
from registry.formats.quote import quoted
from registry.formats.safetensors import read_header
from runtimes.convert.files import SourceFiles
from runtimes.convert.source import Source
from slmctl.app.dialects.described import role_of_name
from slmctl.app.file_names import checked_path
from slmctl.app.folder_set import FolderSet
from slmctl.app.hub.card import read_card
from slmctl.app.hub.defaults import GENERATION_CONFIG, from_generation_config
from slmctl.app.hub.folders import CARD, CONFIG, INDEX, is_config, is_module

_HIGHEST_TEXT_BYTES = 4 << 20


def read_folder(path: Path) -> FolderSet:
    """Look at the headers of a folder's weights, and at what it says of itself.

    Raises UsageError for a folder without a config.json, MalformedFile for files that break their formats'
    rules or lead out of the folder, NotFound, OperationFailed.
    """
    files = SourceFiles.of_folder(path)
    if CONFIG not in files:
        raise UsageError(
            f"The folder {files.shown} holds safetensors and no {CONFIG}, which says what they are.",
            hint="Put the config.json of the model beside them.",
        )
    source = Source.of(files)
    weights = sorted({tensor.file for tensor in source.tensors.values()})
    headers = []
    for name in weights:
        with files.open(name) as stream:
            try:
                headers.append(read_header(stream))
            except MalformedFile as error:
                raise MalformedFile(f"{quoted(name, 200)}: {error.message}", hint=error.hint) from None
    roles = dict.fromkeys(weights, "weights") | dict(_beside(files, weights))
    for name in roles:
        files.open(name).close()  # no pipe, nothing that may not be read
    return FolderSet(
        path=path,
        files=files,
        roles={checked_path(name): role for name, role in roles.items()},
        facts=facts_from_folder(files.json(CONFIG), headers),
        spec=_spec(files),
        licenses=_licenses(files),
    )


def _beside(files: SourceFiles, weights: list[str]) -> Iterator[tuple[str, str]]:
    """What belongs to the model beside its weights: as of a repository of the hub, and what one may read."""
    for name in files.paths:
        path = PurePosixPath(name)
        if name in weights:
            continue
        if name == INDEX or (len(path.parts) == 1 and is_config(name)) or is_module(path):
            yield name, "config"
        elif len(path.parts) == 1 and role_of_name(name) == "doc":
            yield name, "doc"


def _spec(files: SourceFiles) -> ModelSpec:
    if GENERATION_CONFIG not in files:
        return ModelSpec()
    return ModelSpec(parameters=from_generation_config(files.data(GENERATION_CONFIG, _HIGHEST_TEXT_BYTES)))


def _licenses(files: SourceFiles) -> tuple[str, ...]:
    return read_card(files.data(CARD)).licenses if CARD in files else ()
