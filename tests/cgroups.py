"""Memory cgroups that a test makes: version 1 or 2, whichever this machine has.

A group lies in the group of the tests themselves, or at the top of the hierarchy where that is not allowed
(version 2 has no groups beside processes). There is no swap in it, so that what does not fit ends.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tests.processes import until

_V1_FILES = ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes")
_V2_FILES = ("memory.max", "memory.swap.max")


@dataclass(frozen=True)
class MemoryGroup:
    """`limit` is in bytes; `limit_file` is the file that says so."""

    path: Path
    version: int
    limit: int

    @property
    def limit_file(self) -> Path:
        return self.path / (_V1_FILES if self.version == 1 else _V2_FILES)[0]

    @property
    def kills(self) -> int:
        """How many processes the kernel has killed here because the memory was full."""
        file = self.path / ("memory.oom_control" if self.version == 1 else "memory.events")
        counts = dict(line.split() for line in file.read_text().splitlines())
        return int(counts["oom_kill"])

    @property
    def peak(self) -> int:
        """The most that was in use at once, page cache counted, in bytes."""
        return int(
            (self.path / ("memory.max_usage_in_bytes" if self.version == 1 else "memory.peak")).read_text()
        )

    def around(self, command: Sequence[str]) -> list[str]:
        """The command, started in the group."""
        script = 'echo $$ > "$1" && shift && exec "$@"'
        return ["sh", "-c", script, "sh", str(self.path / "cgroup.procs"), *command]


class NoMemoryGroup(Exception):
    """Why this machine lets the tests make none."""


@contextmanager
def memory_group(name: str, limit: int) -> Iterator[MemoryGroup]:
    """A group of that name with that limit; removed when its last process has ended. Raises NoMemoryGroup."""
    complaints = []
    for version, parent in _parents():
        path = parent / f"{name}-{os.getpid()}"
        enabled = False
        try:
            enabled = version == 2 and _delegate(parent)
            path.mkdir()
            try:
                group = MemoryGroup(path, version, limit)
                _set_limit(group)
            except OSError:
                path.rmdir()
                raise
        except OSError as error:
            complaints.append(f"{parent}: {error.strerror}")
            continue
        try:
            yield group
        finally:
            until(lambda path=path: _removed(path))  # type: ignore[misc]
            if enabled:
                with suppress(OSError):
                    (parent / "cgroup.subtree_control").write_text("-memory")
        return
    raise NoMemoryGroup("; ".join(complaints) or "no cgroups with memory are mounted")


def _parents() -> Iterator[tuple[int, Path]]:
    """Where a group could be made, with the version: the own group, then the top."""
    own = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        own["" if not controllers else "memory" if "memory" in controllers.split(",") else controllers] = path
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, options, *_ = line.split()
        mount = Path(place)
        if kind == "cgroup" and "memory" in options.split(","):
            yield from ((1, parent) for parent in _in(mount, own.get("memory")))
        elif kind == "cgroup2" and "memory" in (mount / "cgroup.controllers").read_text().split():
            yield from ((2, parent) for parent in _in(mount, own.get("")))


def _in(mount: Path, path: str | None) -> list[Path]:
    inside = mount / str(PurePosixPath(path or "/").relative_to("/"))
    return [inside, mount] if inside.is_dir() and inside != mount else [mount]


def _delegate(parent: Path) -> bool:
    """Let groups of version 2 in `parent` have memory limits; whether that was new. Raises OSError."""
    file = parent / "cgroup.subtree_control"
    if "memory" in file.read_text().split():
        return False
    file.write_text("+memory")
    return True


def _set_limit(group: MemoryGroup) -> None:
    group.limit_file.write_text(str(group.limit))
    swap = group.path / (_V1_FILES if group.version == 1 else _V2_FILES)[1]
    if swap.exists():
        swap.write_text(str(group.limit if group.version == 1 else 0))


def _removed(path: Path) -> bool | None:
    """Remove a group; None while the kernel says that somebody is in it."""
    try:
        path.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return None
    return True
