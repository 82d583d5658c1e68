"""What this process runs in, and who translates it."""

from __future__ import annotations

from runtimes.hardware import parse_container as parse
from runtimes.hardware.parse_cpu import first_processor
from runtimes.hardware.system import System


def probe_container(system: System) -> str | None:
    return parse.container(
        environment_has_kubernetes="KUBERNETES_SERVICE_HOST" in system.environment,
        has_dockerenv=system.exists("/.dockerenv"),
        has_containerenv=system.exists("/run/.containerenv"),
        systemd=system.value("/run/systemd/container"),
        groups=system.read("/proc/self/cgroup", 65536) or "",
        kernel=system.read("/proc/version", 4096) or "",
    )


def probe_emulator(system: System) -> str | None:
    cpuinfo = first_processor(system.read("/proc/cpuinfo", 8192) or "")
    return parse.emulator(machine=system.machine, cpuinfo=dict(cpuinfo))
