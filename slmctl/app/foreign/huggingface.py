"""The GGUF models in a cache of huggingface_hub.

models--ORG--NAME/
  refs/REF            the commit that a branch or tag was at
  snapshots/COMMIT/   the repository's files: links to blobs, or the files themselves where there are no links
  blobs/ETAG          the content: named by its sha256 (large files) or by its sha1 as a git blob

A finished blob is never written to again, so it may be linked. Of the refs main counts, else the first by
name, else the only snapshot.
Source: huggingface_hub's documentation, "Understand caching", and its file_download.py.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path, PurePath

from registry.digest import Digest
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

_PREFIX = "models--"
_COMMIT = re.compile(r"[0-9a-f]{40}", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_MAIN = PurePath("main")
_MAX_REF_BYTES = 4096


def models_in(place: Place) -> Iterator[FoundModel]:
    """All models of the cache, by repository. What is wrong with one is said of it, and the others go on."""
    for entry in entries_of(place.root):
        if entry.name.startswith(_PREFIX) and is_folder(entry):
            repository = entry.name.removeprefix(_PREFIX).replace("--", "/")
            try:
                yield from _of_repository(Path(entry.path), repository, place)
            except OSError as error:
                problem = f"{shown(error.filename or entry.path)} cannot be read ({reason(error)})."
                yield FoundModel(name=shown(f"hf.co/{repository}"), place=place, problem=problem)


def _of_repository(folder: Path, repository: str, place: Place) -> Iterator[FoundModel]:
    def wrong(problem: str, name: object = "") -> FoundModel:
        behind = f":{name}" if name else ""
        return FoundModel(name=shown(f"hf.co/{repository}{behind}"), place=place, problem=problem)

    snapshot = _snapshot(folder)
    if snapshot is None:
        if _unfinished(folder):
            yield wrong("Its download was not completed.")
        return
    names = list(files_below(snapshot))
    files: dict[PurePath, FoundFile] = {}
    for name in names:
        if is_gguf(name.name):
            found = _file(folder, snapshot / name)
            if isinstance(found, str):
                yield wrong(found, name)
            else:
                files[name] = found
    yield from models_of(repository, files, place)
    if not any(is_gguf(name.name) for name in names):
        model_format = other_format([str(name) for name in names], config_of(snapshot))
        if model_format is not None:
            size = size_of(snapshot / name for name in names)
            yield unsupported(repository, model_format, size, place)
        elif _unfinished(folder):
            yield wrong("Its download was not completed.")


def _snapshot(folder: Path) -> Path | None:
    """The snapshot of main, else of the first ref, else the only one; None where there is none."""
    refs = sorted(files_below(folder / "refs"), key=lambda name: (name != _MAIN, name))
    for name in refs:
        commit = _ref(folder / "refs" / name)
        if commit is not None and (folder / "snapshots" / commit).is_dir():
            return folder / "snapshots" / commit
    try:
        snapshots = [entry for entry in entries_of(folder / "snapshots") if is_folder(entry)]
    except FileNotFoundError:
        return None
    return Path(snapshots[0].path) if len(snapshots) == 1 else None


def _ref(path: Path) -> str | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as stream:
            text = (stream.read(_MAX_REF_BYTES) or b"").decode("ascii", errors="replace").strip()
    except OSError:
        return None
    return text if _COMMIT.fullmatch(text) else None


def _file(folder: Path, path: Path) -> FoundFile | str:
    """The file behind a name in a snapshot, or what is wrong with it."""
    try:
        real = Path(os.path.realpath(path, strict=True))
        status = real.lstat()
        readable = os.access(real, os.R_OK)
    except FileNotFoundError:
        return "Its blob is missing from the cache."
    except OSError as error:  # a loop of links
        return f"It cannot be looked at ({reason(error)})."
    if not stat.S_ISREG(status.st_mode):
        return "It is not a regular file."
    if not readable:
        return f"You may not read {shown(real)}."
    in_blobs = real.parent == Path(os.path.realpath(folder / "blobs"))
    if path.is_symlink() and not in_blobs:
        return "It is a link that leads out of the cache."
    if not in_blobs:  # a file system without links: the file itself, with no digest in its name
        return FoundFile(path=real, role="weights", size=status.st_size)
    if _SHA256.fullmatch(real.name):
        digest = Digest(real.name)
        return FoundFile(path=real, role="weights", size=status.st_size, digest=digest, may_link=True)
    git_oid = real.name if _COMMIT.fullmatch(real.name) else None
    return FoundFile(path=real, role="weights", size=status.st_size, git_oid=git_oid, may_link=True)


def _unfinished(folder: Path) -> bool:
    try:
        return any(is_unfinished(entry.name) for entry in entries_of(folder / "blobs"))
    except OSError:
        return False
