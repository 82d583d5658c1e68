"""Memory that this process may use, and CPUs that it may keep busy: /proc/meminfo and all control groups."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from runtimes.hardware import parse_memory as parse
from runtimes.hardware.machine import Memory, MemoryLimit
from runtimes.hardware.system import System


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """What control groups allow: limits of memory, innermost first, and the smallest quota of CPUs."""

    limits: tuple[MemoryLimit, ...] = ()
    quota: float | None = None
    quota_source: str | None = None


def probe_memory(system: System, groups: Groups, notes: list[str]) -> Memory:
    """Linux's. Raises nothing: a system that says nothing has 0 bytes, and a note."""
    found = parse.meminfo(system.read("/proc/meminfo") or "")
    total, available = found.get("MemTotal"), parse.available(found)
    if total is None or available is None:
        notes.append("/proc/meminfo says nothing, so that no memory can be counted on.")
    elif "MemAvailable" not in found:
        notes.append("/proc/meminfo has no MemAvailable; what is free was taken from its other lines.")
    total = total or 0
    return Memory(
        total=total,
        available=max(0, min(available or 0, total)),
        limits=tuple(each for each in groups.limits if each.limit < total) if total else groups.limits,
        swap=found.get("SwapTotal", 0),
        source="/proc/meminfo",
    )


def probe_groups(system: System) -> Groups:
    """The limits of every group that this process is in, of both versions where both are mounted."""
    hierarchies = parse.hierarchies(system.read("/proc/self/mountinfo") or "")
    members = parse.memberships(system.read("/proc/self/cgroup") or "")
    limits: dict[str, MemoryLimit] = {}
    quotas: list[tuple[float, str]] = []
    for each in hierarchies:
        if each.version == 2:
            for folder in parse.ancestry(each, members.get("", "/")):
                limits.update((found.source, found) for found in _limits_v2(system, folder))
                quotas += _quota_v2(system, folder)
            continue
        if "memory" in each.controllers:
            folders = parse.ancestry(each, members.get("memory", "/"))
            limits.update((found.source, found) for found in _limits_v1(system, folders))
        if "cpu" in each.controllers:
            for folder in parse.ancestry(each, members.get("cpu", "/")):
                quotas += _quota_v1(system, folder)
    smallest = min(quotas, default=None)
    return Groups(
        limits=tuple(limits.values()),
        quota=smallest[0] if smallest else None,
        quota_source=smallest[1] if smallest else None,
    )


def _limits_v2(system: System, folder: str) -> Iterator[MemoryLimit]:
    """memory.max kills, memory.high slows down to a crawl: neither is to be reached."""
    found = [
        (parse.limit(system.read(f"{folder}/{name}", 64)), name) for name in ("memory.max", "memory.high")
    ]
    limits = [(value, name) for value, name in found if value is not None]
    if limits:
        smallest, name = min(limits)
        used = parse.limit(system.read(f"{folder}/memory.current", 64)) or 0
        cache = parse.stat(system.read(f"{folder}/memory.stat")).get("inactive_file", 0)
        yield MemoryLimit(limit=smallest, usage=max(0, used - cache), source=f"{folder}/{name}")


def _limits_v1(system: System, folders: Sequence[str]) -> Iterator[MemoryLimit]:
    smallest = 1 << 62
    for folder in folders:
        own = parse.limit(system.read(f"{folder}/memory.limit_in_bytes", 64))
        if own is not None:
            smallest = min(smallest, own)
            yield MemoryLimit(
                limit=own, usage=_usage_v1(system, folder), source=f"{folder}/memory.limit_in_bytes"
            )
    above = parse.stat(system.read(f"{folders[0]}/memory.stat")).get("hierarchical_memory_limit", smallest)
    if above < smallest:  # of a group that is out of sight, and uses at least what this one does
        source = f"{folders[0]}/memory.stat hierarchical_memory_limit"
        yield MemoryLimit(limit=above, usage=_usage_v1(system, folders[0]), source=source)


def _usage_v1(system: System, folder: str) -> int:
    used = parse.limit(system.read(f"{folder}/memory.usage_in_bytes", 64)) or 0
    stat = parse.stat(system.read(f"{folder}/memory.stat"))
    return max(0, used - stat.get("total_inactive_file", stat.get("inactive_file", 0)))


def _quota_v2(system: System, folder: str) -> list[tuple[float, str]]:
    value = parse.quota(system.read(f"{folder}/cpu.max", 64))
    return [] if value is None else [(value, f"{folder}/cpu.max")]


def _quota_v1(system: System, folder: str) -> list[tuple[float, str]]:
    allowed = system.read(f"{folder}/cpu.cfs_quota_us", 64)
    value = parse.cpus(allowed, system.read(f"{folder}/cpu.cfs_period_us", 64))
    return [] if value is None else [(value, f"{folder}/cpu.cfs_quota_us")]
