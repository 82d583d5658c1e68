"""/proc/meminfo and the files of control groups, as values. Pure; odd content gives None, never an exception.

Formats: proc_meminfo(5), proc_pid_mountinfo(5), cgroups(7), and of the Linux kernel's documentation
admin-guide/cgroup-v2.rst, admin-guide/cgroup-v1/memory.rst and scheduler/sched-bwc.rst.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_NO_LIMIT = 1 << 62
"""cgroup v1 has no word for `no limit`: it shows the largest multiple of the page size below 2**63."""


def meminfo(text: str) -> Mapping[str, int]:
    """`MemTotal:  16316412 kB` and the other lines, in bytes; lines of another form are left out."""
    found = {}
    for line in text.splitlines():
        name, colon, rest = line.partition(":")
        words = rest.split()
        if colon and words and (value := decimal(words[0])) is not None:
            found[name.strip()] = value * (1024 if words[1:] == ["kB"] else 1)
    return found


def available(memory: Mapping[str, int]) -> int | None:
    """What can be had without swapping: MemAvailable, or what kernels before 3.14 let one guess."""
    if "MemAvailable" in memory:
        return memory["MemAvailable"]
    if "MemFree" not in memory:
        return None
    return memory["MemFree"] + memory.get("Buffers", 0) + memory.get("Cached", 0) - memory.get("Shmem", 0)


def decimal(text: str) -> int | None:
    """A number as the kernel writes it."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hierarchy:
    """A mounted tree of control groups: `version` 1 or 2, the `controllers` that v1 has at this mount.

    `root` is the group that the mount shows at `point`: not `/` in a container without its own namespace.
    """

    version: int
    controllers: frozenset[str]
    root: str
    point: str


def hierarchies(mountinfo: str) -> tuple[Hierarchy, ...]:
    """The cgroup mounts of /proc/self/mountinfo, in its order."""
    found = []
    for line in mountinfo.splitlines():
        before, separator, after = line.partition(" - ")
        left, right = before.split(" "), after.split(" ")
        if not separator or len(left) < 6 or len(right) < 3:
            continue
        if right[0] == "cgroup2":
            version, controllers = 2, frozenset[str]()
        elif right[0] == "cgroup":
            version, controllers = 1, frozenset(right[2].split(","))
        else:
            continue
        root, point = _unescaped(left[3]), _unescaped(left[4])
        found.append(Hierarchy(version=version, controllers=controllers, root=root, point=point))
    return tuple(found)


def memberships(text: str) -> Mapping[str, str]:
    """/proc/self/cgroup: the group of each v1 controller by its name, and of v2 by the empty name."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        parts = line.split(":", 2)
        if len(parts) == 3 and parts[2].startswith("/"):
            for controller in parts[1].split(","):
                found.setdefault(controller, parts[2])
    return found


def ancestry(hierarchy: Hierarchy, group: str) -> tuple[str, ...]:
    """The folders of `group` and of all groups above it that the mount shows, innermost first.

    A group outside of what the mount shows (`/../x`, or a host's path in a container) has the mount point
    alone: that is the outermost group whose limits can be read, and it holds for this process too.
    """
    root = hierarchy.root.rstrip("/")
    inside = group[len(root) :] if group == root or group.startswith(root + "/") else ""
    parts = [part for part in inside.split("/") if part and part != "."]
    if ".." in parts:
        parts = []
    return tuple(
        "/".join([hierarchy.point.rstrip("/"), *parts[:length]]) or "/"
        for length in range(len(parts), -1, -1)
    )


def limit(text: str | None) -> int | None:
    """A limit in bytes: of memory.max, memory.high (`max` is none) or memory.limit_in_bytes."""
    value = decimal((text or "").strip())
    return None if value is None or value >= _NO_LIMIT else value


def stat(text: str | None) -> Mapping[str, int]:
    """memory.stat of either version: `inactive_file 4096` and the others, as they are."""
    found = {}
    for line in (text or "").splitlines():
        name, _, number = line.partition(" ")
        if (value := decimal(number.strip())) is not None:
            found[name] = value
    return found


def quota(maximum: str | None) -> float | None:
    """cpu.max in CPUs: `150000 100000` is 1.5, `max 100000` is none."""
    words = (maximum or "").split()
    if not words:
        return None
    return cpus(words[0], words[1] if len(words) > 1 else "100000")


def cpus(allowed: str | None, period: str | None) -> float | None:
    """cpu.cfs_quota_us over cpu.cfs_period_us; a quota of -1 is none."""
    time, of = decimal((allowed or "").strip()), decimal((period or "").strip())
    return time / of if time and of else None


def _unescaped(path: str) -> str:
    """proc_pid_mountinfo(5): blank, tab, newline and backslash stand as three octal digits."""
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        path = path.replace(code, char)
    return path
