"""Machines that ship with slmctl, by name, and machines in files."""

from __future__ import annotations

import dataclasses
import difflib
import json
import os
from pathlib import Path

from registry.errors import MalformedFile, UsageError
from registry.formats.regular import open_regular
from runtimes.hardware.document import from_json
from runtimes.hardware.machine import Hardware

_FOLDER = Path(__file__).parent / "profiles"
_MOST_BYTES = 1 << 20
_HINT = "'slmctl hardware --profiles' lists those that ship; 'slmctl hardware --save FILE' makes one."


def profile_names() -> tuple[str, ...]:
    """The names of all profiles that ship, sorted."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.json")))


def profile(given: str) -> Hardware:
    """The machine of that name, or in that file: what has a slash in it, or ends in .json, is a file.

    Raises UsageError for a name that is none and a file that cannot be read, MalformedFile for one that says
    something else.
    """
    if "/" in given or given.endswith(".json"):
        return _load(Path(given).expanduser(), f"The profile {given!r:.100}")
    if given not in profile_names():
        near = [name for name in profile_names() if given and given.lower() in name]
        near = near or difflib.get_close_matches(given, profile_names(), n=1)
        hint = f"Did you mean {near[0]!r}? {_HINT}" if near else _HINT
        raise UsageError(f"There is no profile {given!r:.60}.", hint=hint)
    return _load(_FOLDER / f"{given}.json", f"The profile {given!r}")


def _load(path: Path, what: str) -> Hardware:
    try:
        with open_regular(path, what) as stream:
            data = stream.read(_MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = os.strerror(error.errno or 0) if isinstance(error, OSError) else str(error)
        raise UsageError(f"{what} cannot be read ({reason}).", hint=_HINT) from None
    if len(data) > _MOST_BYTES:
        raise MalformedFile(f"{what} is longer than {_MOST_BYTES >> 20} MiB.", hint=_HINT)
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        raise MalformedFile(f"{what} is no JSON document.", hint=_HINT) from None
    try:
        hardware = from_json(value)
    except MalformedFile as error:
        raise MalformedFile(f"{what} will not do. {error.message}", hint=error.hint or _HINT) from None
    return dataclasses.replace(hardware, name=hardware.name or path.stem[:100])
