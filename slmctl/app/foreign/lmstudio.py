"""The GGUF models in a folder of LM Studio's: PUBLISHER/MODEL/FILE.gguf.

The folders are named like Hugging Face's repositories, from which LM Studio downloads, and so are the models
here. Nothing says what the bytes should be, so each file is hashed once; and since the folder is the user's,
to put files into and to change them, they are borrowed and never linked. Links to files, and to the folders
of publishers and models, are followed, because people make them.

Source: lmstudio.ai/docs/basics/import-model.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path, PurePath

from slmctl.app.foreign.folders import config_of, files_below, size_of
from slmctl.app.foreign.found import (
    FoundFile,
    FoundModel,
    Place,
    entries_of,
    is_folder,
    is_unfinished,
    reason,
    shown,
)
from slmctl.app.foreign.gguf_sets import is_gguf, models_of, other_format, unsupported


def models_in(place: Place) -> Iterator[FoundModel]:
    """All models in the folder. What is wrong with one is said of it, and the others go on."""
    for publisher in entries_of(place.root):
        if publisher.name.startswith(".") or not is_folder(publisher, follow=True):
            continue
        try:
            repositories = entries_of(Path(publisher.path))
        except OSError as error:
            problem = f"The folder cannot be read ({reason(error)})."
            yield FoundModel(name=shown(f"hf.co/{publisher.name}"), place=place, problem=problem)
            continue
        for entry in repositories:
            if entry.name.startswith(".") or not is_folder(entry, follow=True):
                continue
            if not Path(os.path.realpath(publisher)).is_relative_to(os.path.realpath(entry)):  # else a loop
                yield from _of_repository(Path(entry.path), f"{publisher.name}/{entry.name}", place)


def _of_repository(folder: Path, repository: str, place: Place) -> Iterator[FoundModel]:
    names = list(files_below(folder))
    files: dict[PurePath, FoundFile] = {}
    for name in names:
        problem = None
        if is_gguf(name.name):
            found = _file(folder / name)
            if isinstance(found, FoundFile):
                files[name] = found
                continue
            problem = found
        elif ".gguf" in name.name and is_unfinished(name.name):
            problem = "Its download was not completed."
        if problem is not None:
            yield FoundModel(name=shown(f"hf.co/{repository}:{name}"), place=place, problem=problem)
    yield from models_of(repository, files, place)
    if not files:
        model_format = other_format([str(name) for name in names], config_of(folder))
        if model_format is not None:
            yield unsupported(repository, model_format, size_of(folder / name for name in names), place)


def _file(path: Path) -> FoundFile | str:
    """The file behind a path, or what is wrong with it."""
    try:
        real = Path(os.path.realpath(path, strict=True))
        status = real.lstat()
    except FileNotFoundError:
        return "It is a link to a file that is gone."
    except OSError as error:
        return f"It cannot be looked at ({reason(error)})."
    if not stat.S_ISREG(status.st_mode):
        return "It is not a regular file."
    if not os.access(real, os.R_OK):
        return f"You may not read {shown(real)}."
    return FoundFile(path=real, role="weights", size=status.st_size)
