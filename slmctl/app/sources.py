"""What FROM, ADAPTER and DRAFT name: files, which are looked at, or models in the store.

texts -> files or names -> sets of files (the parts of a sharded one together) -> what each set is
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

from modelfiles.authoring import is_path
from registry.errors import InvalidReference, MalformedFile, NotFound, OperationFailed, UsageError
from registry.formats.facts import ModelFacts
from registry.formats.gguf import GgufHeader, read_header
from registry.formats.gguf_facts import facts_from_gguf
from registry.formats.shards import find_shards
from registry.names import ModelRef, parse
from registry.store.ingest import SourceFile
from runtimes.convert.files import SourceFiles
from slmctl.app.folder_set import FolderSet

Role: TypeAlias = Literal["weights", "projector", "adapter", "draft"]

_GGUF, _SAFETENSORS = ".gguf", ".safetensors"
_PICKLES = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl"})
_BAD_FILE_HINT = "Download the file again, or convert the model anew."


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSet:
    """One GGUF file, or all parts of a sharded one in order, with its headers; `shown` is for messages."""

    paths: tuple[Path, ...]
    headers: tuple[GgufHeader, ...]
    role: Role

    @property
    def shown(self) -> str:
        return repr(self.paths[0].name)[:200]

    @property
    def architecture(self) -> str | None:
        return self.headers[0].architecture


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What a model is made from: models of the store and builds, in order, and what completes them. `peft` is
    an adapter in PEFT's format, of which a GGUF is to be made."""

    bases: tuple[ModelRef | FileSet | FolderSet, ...]
    extras: Mapping[Role, FileSet]
    peft: SourceFiles | None = None

    @property
    def folders(self) -> tuple[FolderSet, ...]:
        return tuple(base for base in self.bases if isinstance(base, FolderSet))

    @property
    def builds(self) -> tuple[FileSet, ...]:
        return tuple(base for base in self.bases if isinstance(base, FileSet))

    @property
    def sets(self) -> tuple[FileSet, ...]:
        """All sets of files, in the order in which they are stored."""
        return (*self.builds, *self.extras.values())


def find_sources(
    bases: Sequence[str | ModelRef],
    *,
    adapter: str | None = None,
    drafts: Sequence[str] = (),
    folder: Path,
    move: bool = False,
) -> Sources:
    """Look for all that is named, and at the header of every file. Relative paths start from `folder`.

    A ModelRef is a model's name whatever files there are. Raises UsageError, NotFound, OperationFailed, and
    MalformedFile for a file that is none of a model's.
    """
    found: list[ModelRef | FileSet | FolderSet] = []
    extras: dict[Role, FileSet] = {}
    seen: set[Path] = set()
    for base in bases:
        files = [] if isinstance(base, ModelRef) else _files(base, folder)
        if not files:
            name = base if isinstance(base, ModelRef) else parse(base)
            if name not in found:
                found.append(name)
        for paths in files:
            if isinstance(paths, FolderSet):
                if paths.path.resolve() not in seen:
                    seen.add(paths.path.resolve())
                    found.append(paths)
                continue
            real = paths[0].resolve()
            if real in seen:  # of a sharded set, several parts may be named
                continue
            seen.add(real)
            each = _read(paths, move)
            if each.role == "weights":
                found.append(each)
            else:
                _add(extras, each)
    peft = None if adapter is None else _peft_folder(adapter, folder)
    if adapter is not None and peft is None:
        _add(extras, _named(adapter, "ADAPTER", folder, move))
    for text in drafts:
        draft = _named(text, "DRAFT", folder, move)
        if draft.paths[0].resolve() in seen:
            raise UsageError(
                f"DRAFT names {draft.shown}, which FROM names too.",
                hint="A draft is another, smaller model with the same vocabulary.",
            )
        if "draft" not in extras or extras["draft"].paths != draft.paths:
            _add(extras, draft)
    return Sources(bases=tuple(found), extras=extras, peft=peft)


def read_gguf(fd: int, name: str) -> GgufHeader:
    """The header of an open file. Raises MalformedFile that names it."""
    with os.fdopen(os.dup(fd), "rb") as stream:
        try:
            return read_header(stream)
        except MalformedFile as error:
            raise MalformedFile(f"{name!r}: {error.message}", hint=error.hint or _BAD_FILE_HINT) from None


def role_of(headers: Sequence[GgufHeader]) -> Role:
    """What a set of files is for, by `general.type` and the architecture that llama.cpp gives projectors.

    Raises UsageError for what is no part of a model.
    """
    header = headers[0]
    kind = header.metadata.get("general.type")
    if kind == "mmproj" or header.architecture == "clip":
        return "projector"
    if kind == "adapter":
        return "adapter"
    if isinstance(kind, str) and kind not in ("model", ""):
        raise UsageError(f"It holds no model but {kind[:40]!r}.", hint="Name the file with the weights.")
    return "weights"


def facts_of(files: FileSet) -> ModelFacts:
    """The facts of a build. Raises MalformedFile that names the file."""
    try:
        return facts_from_gguf(files.headers)
    except MalformedFile as error:
        raise MalformedFile(f"{files.shown}: {error.message}", hint=error.hint or _BAD_FILE_HINT) from None


def _add(extras: dict[Role, FileSet], files: FileSet) -> None:
    other = extras.get(files.role)
    if other is not None and other.paths != files.paths:
        raise UsageError(
            f"There are two of the kind {files.role}: {other.shown} and {files.shown}.",
            hint="A model has one; leave one of them out.",
        )
    extras[files.role] = files


def _peft_folder(text: str, folder: Path) -> SourceFiles | None:
    """The files of an adapter as PEFT saves it; None for anything else."""
    path, status = _look_at(text, folder)
    if status is None or not stat.S_ISDIR(status.st_mode) or not (path / "adapter_config.json").is_file():
        return None
    return SourceFiles.of_folder(path)


def _named(text: str, keyword: Literal["ADAPTER", "DRAFT"], folder: Path, move: bool) -> FileSet:
    """The files that ADAPTER or DRAFT names."""
    path, status = _look_at(text, folder)
    if status is None or not text:
        what = " or of a folder in PEFT's format" if keyword == "ADAPTER" else ""
        hint = f"{keyword} takes the path of a GGUF file{what}; looked for {path}."
        raise NotFound(f"There is no file {text!r:.120} for {keyword}.", hint=hint)
    found = _sets_at(path, status)
    if len(found) > 1:
        what = f"The folder {text!r:.120} holds {len(found)} models; {keyword} takes one."
        raise UsageError(what, hint="Name the file.")
    files = _read(found[0], move)
    if files.role != ("adapter" if keyword == "ADAPTER" else "weights"):
        what = "a LoRA adapter" if keyword == "ADAPTER" else "a model"
        raise UsageError(f"{keyword} names {files.shown}, which is not {what}.", hint="Name another file.")
    return files if keyword == "ADAPTER" else replace(files, role="draft")


def _files(text: str, folder: Path) -> Sequence[list[Path] | FolderSet]:
    """The sets of files that FROM means; none when it names a model. An empty text is the folder itself."""
    path, status = _look_at(text or ".", folder)
    if status is not None and not stat.S_ISDIR(status.st_mode):
        if path.suffix == _SAFETENSORS:
            hint = f"Name its folder, which has the config.json too: {path.parent}"
            raise UsageError(f"{path.name!r:.120} alone is no model.", hint=hint)
        return _sets_at(path, status)
    if status is not None and _holds(path, _GGUF):
        return _sets_at(path, status)
    if status is not None and (_holds(path, _SAFETENSORS) or (path / "config.json").is_file()):
        from slmctl.app.folder_files import read_folder  # numpy takes long to import, and few have folders

        return [read_folder(path)]
    if not _looks_like_a_path(text or "."):
        return []
    if status is not None:
        return _sets_at(path, status)
    if "://" in text and not text.startswith("file://"):
        raise UsageError(f"FROM takes no address of a file: {text!r:.120}.", hint="Download the file first.")
    raise NotFound(f"There is no file {text!r:.120} to make a model from.", hint=f"Looked for {path}.")


def _look_at(text: str, folder: Path) -> tuple[Path, os.stat_result | None]:
    """Where a text points, and what is there; None for nothing."""
    try:
        path = folder / Path(text.removeprefix("file://")).expanduser()
        return path, path.stat()
    except FileNotFoundError:
        return path, None
    except (OSError, RuntimeError, ValueError) as error:  # too long, no permission; a ~user that nobody is
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        raise OperationFailed(
            f"The file {text!r:.120} cannot be looked at ({reason}).", hint="Check the path."
        ) from None


def _sets_at(path: Path, status: os.stat_result) -> list[list[Path]]:
    """A file with the other parts of its set, or all sets of GGUF files in a folder, by name."""
    if not stat.S_ISDIR(status.st_mode):
        return [find_shards(path)]
    try:
        inside = sorted(path.iterdir())
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise OperationFailed(f"The folder {path.name!r:.120} cannot be read ({reason}).") from None
    found: dict[Path, list[Path]] = {}
    for each in inside:
        if each.suffix.lower() == _GGUF and not each.name.startswith("."):
            parts = find_shards(each)
            found[parts[0]] = parts
    if not found:
        if pickle := next((each for each in inside if each.suffix.lower() in _PICKLES), None):
            raise MalformedFile(
                f"The weights are in a pickle, {pickle.name!r:.120}, which can run code and is never opened.",
                hint="Use a copy of the model that has its weights in safetensors.",
            )
        hint = "Name a GGUF file, or a folder of safetensors."
        raise UsageError(f"The folder {path.name!r:.120} holds no GGUF file and no safetensors.", hint=hint)
    return list(found.values())


def _holds(path: Path, ending: str) -> bool:
    """Whether a folder holds a file with such a name."""
    try:
        return any(each.suffix.lower() == ending for each in path.iterdir())
    except OSError:
        return False


def _looks_like_a_path(text: str) -> bool:
    try:
        return is_path(text)
    except InvalidReference as error:
        raise UsageError(
            f"{error.message.removesuffix('.')}; and there is no such file.",
            hint="FROM takes a file's path or a model's name.",
        ) from None


def _read(paths: Sequence[Path], move: bool) -> FileSet:
    """Look at the headers of a set's files."""
    headers = []
    for path in paths:
        if move and path.is_symlink():
            raise UsageError(
                f"{path.name!r} is a symbolic link, which --move will not follow.",
                hint="Name the file itself.",
            )
        with SourceFile(path) as source:
            headers.append(read_gguf(source.fd, path.name))
    try:
        role = role_of(headers)
    except UsageError as error:
        raise UsageError(f"{paths[0].name!r:.200}: {error.message}", hint=error.hint) from None
    return FileSet(paths=tuple(paths), headers=tuple(headers), role=role)
