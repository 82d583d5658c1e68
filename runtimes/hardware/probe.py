"""This machine, as a value: all probes together.

Nothing here raises for what a machine says or does not say, and everything is bounded in time: what hangs or
makes no sense is None, and a note says so.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from runtimes.hardware.cache import Cache
from runtimes.hardware.machine import Hardware
from runtimes.hardware.probe_cpu import probe_cpu
from runtimes.hardware.probe_engines import probe_engines
from runtimes.hardware.probe_memory import probe_groups, probe_memory
from runtimes.hardware.system import System, this_system


def probe(
    *, environment: Mapping[str, str], cache_folder: Path | None = None, store: Path | None = None
) -> Hardware:
    """This machine and this process's share of it.

    `environment` is the process's (`Settings.environment`), `cache_folder` where slow answers are kept
    (`Settings.home / "cache"`; None keeps none), `store` a folder on the disk that models are on, which need
    not be there yet. What is cached costs a few milliseconds; the first time an engine is asked in a child
    process, and the memory is read for 0.3 s.
    """
    return probe_system(this_system(environment), cache_folder=cache_folder, store=store)


def probe_system(
    system: System,
    *,
    cache_folder: Path | None = None,
    store: Path | None = None,
    folders: Sequence[str] | None = None,
) -> Hardware:
    """The machine that `system` shows; `folders` are where engines may be (`sys.path` unless given)."""
    notes: list[str] = []
    groups = probe_groups(system)
    cpu = probe_cpu(system, groups, notes)
    memory = probe_memory(system, groups, notes)
    cache = Cache(folder=cache_folder, machine=_machine_id(system))
    engines, devices = probe_engines(system, cpu, (), cache=cache, notes=notes, folders=folders)
    return Hardware(
        system=system.platform,
        cpu=cpu,
        memory=memory,
        devices=devices,
        engines=engines,
        disk_free=_disk_free(store),
        notes=tuple(notes),
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
