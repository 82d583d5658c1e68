"""What lies in a store's folders beside its blobs: temporaries, ended leases, and what is not ours.

A temporary is a file that only its owner could finish: in `ingest/` its name begins with the owner's lease,
and a table on its way to its place has an owner only while the store's lock is held exclusively. The owner of
a partial blob is who holds its lock, or a lease that lists it. Nothing is judged by its age.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from registry.store.layout import Layout
from registry.store.leases import NAME as LEASE_NAME
from registry.store.leases import FoundLease
from registry.store.partial import PARTIAL, is_held

_HEX = re.compile(r"[0-9a-f]{64}", re.ASCII)
_OF_A_LEASE = re.compile(r"([0-9a-f]{16})\.[0-9]+(?:\.clone)?", re.ASCII)
_WHILE_LOCKED = re.compile(
    r"(?:index\.json|index\.json\.1|oci-layout|slmctl\.json)\.new|note\.[0-9a-f]{64}\.[0-9]+", re.ASCII
)

_PARTIAL = re.compile(r"([0-9a-f]{64})\.(?:partial|journal)(\.new)?", re.ASCII)

_ROOT = frozenset(
    [
        "oci-layout",
        "index.json",
        "index.json.1",
        "slmctl.json",
        "blobs",
        "ingest",
        "leases",
        "locks",
        "cache",
        "quarantine",
        "borrowed",
        "linked",
    ]
)
_TORN = re.compile(r"index\.json\.damaged(?:\.[0-9]+)?", re.ASCII)
_LOCK = re.compile(r"store\.lock|blob-[0-9a-f]{2}\.lock", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Temporary:
    """What an owner that is gone has left: a file in `ingest/` or its lease. `size` in bytes.

    `can_go_on` is for the part of a blob that a killed or failed pull left, and the next one goes on with.
    """

    path: Path
    size: int
    can_go_on: bool = False


def temporaries(layout: Layout, leases: list[FoundLease]) -> list[Temporary]:
    """The files in `ingest/` whose owners are gone. Call it, and look at the leases, with the store's lock
    held exclusively: then what has an owner only while that is locked has none."""
    held = {lease.path.name for lease in leases if lease.held}
    awaited = {digest.hex for lease in leases if lease.held for digest in lease.digests}
    found = []
    for path in _children(layout.ingest):
        match = _OF_A_LEASE.fullmatch(path.name)
        partial = _PARTIAL.fullmatch(path.name)
        if partial is not None and partial[1] not in awaited and not is_held(path):
            is_whole = partial[2] is None and path.with_name(f"{partial[1]}{PARTIAL}").exists()
            found.append(replace(_temporary(path), can_go_on=is_whole))
        elif _WHILE_LOCKED.fullmatch(path.name) or (match is not None and match[1] not in held):
            found.append(_temporary(path))
    return found


def foreign(layout: Layout) -> list[Path]:
    """What nobody of ours put into the store's folders. Blobs that are needed or not are ours."""
    known_parts: dict[Path, Callable[[str], object]] = {
        layout.root: lambda name: name in _ROOT or _TORN.fullmatch(name),
        layout.blobs.parent: lambda name: name == layout.blobs.name,
        layout.blobs: _HEX.fullmatch,
        layout.ingest: lambda name: (
            _WHILE_LOCKED.fullmatch(name) or _OF_A_LEASE.fullmatch(name) or _PARTIAL.fullmatch(name)
        ),
        layout.leases: LEASE_NAME.fullmatch,
        layout.locks: _LOCK.fullmatch,
        layout.quarantine: lambda name: _HEX.fullmatch(name.partition(".")[0]),
    }
    return sorted(
        path
        for folder, is_ours in known_parts.items()
        for path in _children(folder)
        if not is_ours(path.name)
    )


def size_below(path: Path) -> int:
    """The bytes of a file, or of all files in a folder and below it; links are not followed.

    What cannot be looked at, or lies deeper than a path may be long, is not counted.
    """
    size = 0
    left = [path]
    while left:
        path = left.pop()
        with suppress(OSError):
            status = path.lstat()
            if stat.S_ISDIR(status.st_mode):
                left += _children(path)
            else:
                size += status.st_size
    return size


def _temporary(path: Path) -> Temporary:
    size = 0
    with suppress(OSError):
        size = path.lstat().st_size
    return Temporary(path=path, size=size)


def _children(folder: Path) -> Iterator[Path]:
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            yield folder / entry.name
