"""This machine, as a value: all probes together.

Nothing here raises for what a machine says or does not say, and everything is bounded in time: what hangs or
makes no sense is None, and a note says so.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from runtimes.hardware.cache import Cache
from runtimes.hardware.findings import Findings
from runtimes.hardware.machine import Hardware
from runtimes.hardware.missing import add_missing
from runtimes.hardware.probe_bandwidth import with_bandwidth
from runtimes.hardware.probe_container import probe_container, probe_emulator
from runtimes.hardware.probe_cpu import probe_cpu
from runtimes.hardware.probe_engines import probe_engines, was_told_of
from runtimes.hardware.probe_memory import probe_groups, probe_memory
from runtimes.hardware.signs import can_use_gpu, may_have_nvidia, may_have_others
from runtimes.hardware.system import System, this_system


def probe(
    *,
    environment: Mapping[str, str],
    cache_folder: Path | None = None,
    store: Path | None = None,
    measure: bool = True,
    again: bool = False,
    quick: bool = False,
    today: str | None = None,
) -> Hardware:
    """This machine and this process's share of it.

    `environment` is the process's (`Settings.environment`), `cache_folder` where slow answers are kept
    (`Settings.home / "cache"`; None keeps none), `store` a folder on the disk that models are on, which need
    not be there yet. What is cached costs a few milliseconds, NVIDIA's driver a tenth of a second. The first
    time an engine is asked in a child process, and with `measure` the memory is read for 0.3 s; `again` does
    the latter every time, and keeps the better figure, with the date `today`, on which one of long before is
    measured anew. `quick` starts no child and
    measures nothing: it takes what is cached, and else what is known of the engine's wheel; only where the
    engine can use CUDA, or there is a GPU and the engine was never asked, it is as thorough as without.
    """
    system = this_system(environment)
    if quick and not _needs_asking(system, cache_folder):
        return probe_system(system, cache_folder=cache_folder, store=store, ask=False)
    return probe_system(
        system,
        cache_folder=cache_folder,
        store=store,
        measure=measure and not quick,
        again=again,
        today=today,
    )


def _needs_asking(system: System, cache_folder: Path | None) -> bool:
    """Whether a plan would be another one if NVIDIA's driver and the engine were asked."""
    if not can_use_gpu(system):
        return False
    cache = Cache(folder=cache_folder, machine=_machine_id(system))
    told = was_told_of("cuda", cache)
    return told is None or told


def probe_system(
    system: System,
    *,
    cache_folder: Path | None = None,
    store: Path | None = None,
    measure: bool = False,
    again: bool = False,
    today: str | None = None,
    ask: bool = True,
    folders: Sequence[str] | None = None,
) -> Hardware:
    """The machine that `system` shows; `folders` are where engines may be (`sys.path` unless given)."""
    findings = Findings()
    cache = Cache(folder=cache_folder, machine=_machine_id(system))
    if system.platform == "darwin":
        from runtimes.hardware.probe_apple import probe_apple  # each run pays for what is imported here

        mac = probe_apple(system, findings)
        cpu, memory, emulated, container = mac.cpu, mac.memory, mac.emulated, None
    else:
        groups = probe_groups(system)
        cpu = probe_cpu(system, groups, findings.notes)
        memory = probe_memory(system, groups, findings.notes)
        emulated, container = probe_emulator(system), probe_container(system)
        if emulated:
            cpu = dataclasses.replace(cpu, features=())
            findings.notes.append(
                f"This process is translated by {emulated}, so that the CPU's instruction sets are not known."
            )
            findings.miss(
                "the machine's own instructions", "use slmctl built for this machine's architecture"
            )
        if may_have_nvidia(system):
            from runtimes.hardware.probe_nvidia import probe_nvidia  # as above

            probe_nvidia(system, findings, cache=cache, ask=ask)
        if may_have_others(system):
            from runtimes.hardware.probe_drm import probe_drm, probe_npu  # as above

            probe_drm(system, findings)
            probe_npu(system, findings)
    engines = probe_engines(system, cpu, findings, cache=cache, folders=folders, ask=ask)
    memory = with_bandwidth(
        system,
        cpu,
        memory,
        cache=cache,
        notes=findings.notes,
        measure=measure,
        again=again,
        today=today,
    )
    if findings.devices:
        from runtimes.hardware.bandwidths import with_bandwidths  # as above

        findings.devices[:] = with_bandwidths(findings.devices, cpu)
    add_missing(findings, engines, system.platform)
    return Hardware(
        system=system.platform,
        cpu=cpu,
        memory=memory,
        devices=tuple(findings.devices),
        engines=engines,
        container=container,
        emulated=emulated,
        disk_free=_disk_free(store),
        missing=tuple(findings.missing),
        notes=tuple(findings.notes),
    )


def _machine_id(system: System) -> str:
    """What tells this machine's cached answers from another's that shares the home: never the id itself."""
    found = system.value("/etc/machine-id") or system.value("/proc/sys/kernel/random/boot_id") or "unknown"
    return hashlib.sha256(f"slmctl {found}".encode()).hexdigest()[:12]


def _disk_free(store: Path | None) -> int | None:
    """Bytes that this user may still write where the store is, or will be."""
    if store is None:
        return None
    for folder in (store, *store.parents):
        try:
            found = os.statvfs(folder)
        except OSError:
            continue
        return found.f_bavail * found.f_frsize
    return None
