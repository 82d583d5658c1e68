"""The processor of a Linux machine: /proc/cpuinfo, the auxiliary vector and /sys/devices/system."""

from __future__ import annotations

from collections.abc import Mapping

from runtimes.hardware import parse_cpu as parse
from runtimes.hardware.machine import Cpu
from runtimes.hardware.probe_memory import Groups
from runtimes.hardware.system import System

_FIRST_BYTES = 8192  # of /proc/cpuinfo, which takes the kernel milliseconds where there are many CPUs
_CPUS = "/sys/devices/system/cpu"
_NODES = "/sys/devices/system/node"

ARM = frozenset({"aarch64", "arm64"})
X86 = frozenset({"x86_64", "amd64", "AMD64"})


def probe_cpu(system: System, groups: Groups, notes: list[str]) -> Cpu:
    """Never raises; a CPU that cannot be read is one logical CPU of the process's architecture."""
    cpuinfo = system.read("/proc/cpuinfo", _FIRST_BYTES) or ""
    first = parse.first_processor(cpuinfo)
    online = parse.cpu_list(system.value(f"{_CPUS}/online")) or system.affinity or frozenset({0})
    allowed = online & system.affinity if system.affinity else online
    allowed = allowed or online
    siblings = _siblings(system, allowed)
    fast = _fast(system, allowed)
    features = _features(system, first)
    if not features and system.machine in X86 | ARM:
        notes.append("/proc/cpuinfo does not say which instruction sets this CPU has.")
    source = "/proc/cpuinfo, /sys/devices/system/cpu"
    if groups.quota_source:
        source = f"{source}, {groups.quota_source}"
    return Cpu(
        model=parse.model(cpuinfo, system.value("/proc/device-tree/model")),
        architecture="aarch64" if system.machine in ARM else system.machine,
        features=features,
        logical=len(online),
        physical=parse.cores(siblings, allowed) if siblings else None,
        performance=parse.cores(siblings, fast) if fast else None,
        affinity=len(allowed) if system.affinity else None,
        quota=groups.quota,
        numa_nodes=_nodes(system),
        source=source,
    )


def _features(system: System, first: Mapping[str, str]) -> tuple[str, ...]:
    if system.machine in ARM:
        found = parse.hwcap_features(system.read_bytes("/proc/self/auxv", 4096) or b"")
        return parse.arm_features(first.get("Features", "")) if found is None else found
    return parse.x86_features(first.get("flags", ""))


def _siblings(system: System, allowed: frozenset[int]) -> dict[int, frozenset[int]]:
    """The CPUs of each one's core, where the system says so for all of them."""
    found = {}
    for cpu in allowed:
        folder = f"{_CPUS}/cpu{cpu}/topology"
        text = system.value(f"{folder}/core_cpus_list") or system.value(f"{folder}/thread_siblings_list")
        if numbers := parse.cpu_list(text):
            found[cpu] = numbers
    if len(found) == len(allowed):
        return found
    named = parse.cores_of_cpuinfo(system.read("/proc/cpuinfo") or "")
    if not allowed <= named.keys():
        return {}
    return {cpu: frozenset(each for each in named if named[each] == named[cpu]) for cpu in allowed}


def _fast(system: System, allowed: frozenset[int]) -> frozenset[int]:
    """The fast ones among `allowed` where there are two kinds: Intel's P cores, or Arm's by capacity."""
    if fast := parse.cpu_list(system.value("/sys/devices/cpu_core/cpus")):
        return fast & allowed if parse.cpu_list(system.value("/sys/devices/cpu_atom/cpus")) else frozenset()
    capacities = {
        cpu: capacity
        for cpu in allowed
        if (capacity := system.number(f"{_CPUS}/cpu{cpu}/cpu_capacity")) is not None
    }
    return parse.fast(capacities) if len(capacities) == len(allowed) else frozenset()


def _nodes(system: System) -> int:
    """NUMA nodes that have CPUs; one where the system has no such folder."""
    names = [name for name in system.names(_NODES) if name[:4] == "node" and name[4:].isdigit()]
    with_cpus = [name for name in names if parse.cpu_list(system.value(f"{_NODES}/{name}/cpulist"))]
    return max(1, len(with_cpus))
