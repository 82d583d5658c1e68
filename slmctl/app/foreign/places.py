"""Where other tools keep their models.

Sources: Ollama's FAQ and Linux installer (OLLAMA_MODELS, ~/.ollama/models, /usr/share/ollama/.ollama/models);
huggingface_hub's environment variables (HF_HUB_CACHE, HF_HOME, XDG_CACHE_HOME); LM Studio's documentation
(lmstudio.ai/docs/basics/import-model: ~/.lmstudio/models/publisher/model/file.gguf) and the open source of
its `lms` (findLMStudioHome: ~/.lmstudio-home-pointer, else ~/.cache/lm-studio, else ~/.lmstudio), whose
settings.json names another folder in `downloadsFolder`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from registry.errors import NotFound, OperationFailed, UsageError
from slmctl.app.foreign.found import Place, Tool, entries_of, reason, shown

SYSTEM_OLLAMA = Path("/usr/share/ollama/.ollama/models")

_HUB_REPOSITORY = "models--"
_MAX_TEXT_BYTES = 1 << 20


def usual_places(environment: Mapping[str, str], system_ollama: Path = SYSTEM_OLLAMA) -> list[Place]:
    """The stores that are there, each once; one that a variable names is listed with its problem, too."""
    home = _home(environment)
    found: dict[Path, Place] = {}
    for tool, path, asked in _candidates(environment, home, system_ollama):
        root = _real(path)
        problem = _problem(root)
        if root in found or (problem is not None and not asked and not _exists(root)):
            continue
        found[root] = Place(tool=tool, root=root, problem=problem)
    return list(found.values())


def place_at(path: Path) -> Place:
    """What kind of store a folder that was named is. Raises NotFound, UsageError, OperationFailed."""
    try:
        root = _real(path.expanduser())
    except (RuntimeError, ValueError):
        raise NotFound(f"There is no folder {shown(path)!r}.", hint="Check the path.") from None
    if not _exists(root):
        raise NotFound(f"There is no folder {shown(path)!r}.", hint="Check the path.")
    problem = _problem(root)
    if problem is not None:
        if not root.is_dir():
            raise UsageError(f"{shown(path)!r} is not a folder.", hint="Name the folder of a tool's models.")
        raise OperationFailed(f"The folder {shown(path)!r} cannot be read: {problem}")
    for below in (root, root / "models", root / ".ollama" / "models"):
        if (below / "manifests").is_dir() and (below / "blobs").is_dir():
            return Place(tool=Tool.OLLAMA, root=_real(below))
    for below in (root, root / "hub"):
        if _problem(below) is None and any(
            entry.name.startswith(_HUB_REPOSITORY) for entry in entries_of(below)
        ):
            return Place(tool=Tool.HUGGINGFACE, root=_real(below))
    folder = root / "models" if root.name in {".lmstudio", "lm-studio"} else root
    if _problem(folder) is None and any(entry.is_dir() for entry in entries_of(folder)):
        return Place(tool=Tool.LMSTUDIO, root=_real(folder))
    raise UsageError(
        f"{shown(path)!r} looks like no store of Ollama, Hugging Face or LM Studio.",
        hint="One has manifests/ and blobs/, models--ORG--NAME/ or PUBLISHER/MODEL/ in it.",
    )


def _real(path: Path) -> Path:
    """The folder behind a path: it says where a name came from, whichever way it was reached."""
    return Path(os.path.realpath(path))


def _candidates(
    environment: Mapping[str, str], home: Path | None, system_ollama: Path
) -> Iterator[tuple[Tool, Path, bool]]:
    """Tools and folders, and whether somebody asked for that very folder."""
    if path := environment.get("OLLAMA_MODELS", "").strip().strip("\"'"):
        yield Tool.OLLAMA, Path(path), True
    if home is not None:
        yield Tool.OLLAMA, home / ".ollama" / "models", False
    yield Tool.OLLAMA, system_ollama, False
    yield from _huggingface(environment, home)
    if home is not None:
        for folder in _lmstudio(home):
            yield Tool.LMSTUDIO, folder, False


def _huggingface(environment: Mapping[str, str], home: Path | None) -> Iterator[tuple[Tool, Path, bool]]:
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if path := environment.get(variable):
            yield Tool.HUGGINGFACE, _expanded(path, home), True
            return
    if path := environment.get("HF_HOME"):
        yield Tool.HUGGINGFACE, _expanded(path, home) / "hub", True
        return
    if cache := environment.get("XDG_CACHE_HOME"):
        yield Tool.HUGGINGFACE, _expanded(cache, home) / "huggingface" / "hub", False
    elif home is not None:
        yield Tool.HUGGINGFACE, home / ".cache" / "huggingface" / "hub", False


def _lmstudio(home: Path) -> Sequence[Path]:
    homes = [home / ".cache" / "lm-studio", home / ".lmstudio"]
    pointer = _read(home / ".lmstudio-home-pointer").decode("utf-8", errors="surrogateescape").strip()
    if pointer.startswith("/") and "\0" not in pointer:
        homes.insert(0, Path(pointer))
    folders = []
    for each in homes:
        try:
            settings = json.loads(_read(each / "settings.json"))
        except (ValueError, RecursionError):
            settings = None
        chosen = settings.get("downloadsFolder") if isinstance(settings, dict) else None
        if isinstance(chosen, str) and chosen.startswith("/") and "\0" not in chosen:
            folders.append(Path(chosen))
        folders.append(each / "models")
    return folders


def _home(environment: Mapping[str, str]) -> Path | None:
    try:
        return Path(environment["HOME"]) if environment.get("HOME") else Path.home()
    except RuntimeError:
        return None


def _expanded(path: str, home: Path | None) -> Path:
    return home / path[2:] if home is not None and path.startswith("~/") else Path(path)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a folder above it cannot be read
        return True


def _problem(root: Path) -> str | None:
    try:
        with os.scandir(root):
            return None
    except OSError as error:
        return f"{reason(error)}."


def _read(path: Path) -> bytes:
    """A small file; nothing where it is not there, or is none."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):
        return b""
    with os.fdopen(fd, "rb") as stream:
        try:
            return stream.read(_MAX_TEXT_BYTES) or b""
        except OSError:
            return b""
