"""Whether a model has room here, by the size of its files alone: what `list` shows, without reading facts.

`plan` looks closer: at the cache, the engine, the GPU. This is a few milliseconds, and mostly right.
"""

from __future__ import annotations

from runtimes.hardware.machine import Cpu, Hardware
from runtimes.hardware.probe_memory import probe_groups, probe_memory
from runtimes.hardware.system import this_system
from runtimes.planning.budget import host_budget
from slmctl.config import Settings

_LEAST_BESIDE = 192 << 20
"""What the process, its buffers and the shortest cache take at least (fit.md 2.3)."""


def room(settings: Settings) -> int:
    """Bytes that a model's files may have, that it can still be loaded by an engine on this machine now."""
    system = this_system(settings.environment)
    memory = probe_memory(system, probe_groups(system), [])
    nobody = Cpu(model=None, architecture="", features=(), logical=1, source="")
    budget = host_budget(Hardware(system=system.platform, cpu=nobody, memory=memory))
    return max(0, budget.bytes - _LEAST_BESIDE)
