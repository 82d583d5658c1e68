"""What a plan must know about a machine: the value behind the schema `slmctl.hardware/1`.

A probe fills it from this machine, a profile from a file (`runtimes/hardware/profiles`), a test from captured
text; a plan sees no difference. Sizes are bytes, rates bytes per second, times seconds; an unknown is None.
Every figure that decides something has its `source`, for the explanation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Cpu:
    """The processor, as far as this process may use it.

    `logical` is how many CPUs the machine has. `features` are instruction sets in Linux's spelling without
    underscores (`sse42 avx avx2 fma f16c bmi2 avxvnni avx512f avx512vnni avx512bf16 amxint8`; `neon dotprod
    i8mm sve sve2 sme bf16`), sorted. `physical` counts the cores that this process may run on, `performance`
    those of them that are of the fast kind, where there are two kinds. `affinity` is how many logical CPUs
    this process may run on; `quota` is how many it may keep busy (a cgroup's), in CPUs.
    """

    model: str | None
    architecture: str
    features: tuple[str, ...]
    logical: int
    physical: int | None = None
    performance: int | None = None
    affinity: int | None = None
    quota: float | None = None
    numa_nodes: int = 1
    source: str

    @property
    def threads(self) -> int:
        """Threads that decode: the fast cores within the budget, rounded down, at least one (fit.md 4.3)."""
        cores = self.performance or self.physical or self.logical
        return max(1, math.floor(min(cores, self.affinity or cores, self.quota or cores)))


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryLimit:
    """One cgroup's limit: `usage` is without the page cache that the kernel gives back (inactive_file)."""

    limit: int
    usage: int
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Memory of the host. `limits` are those of all cgroups above this process that have one.

    `bandwidth` is what reading from it brings, as measured by the probe (`measured`) or by the data sheet.
    """

    total: int
    available: int
    limits: tuple[MemoryLimit, ...] = ()
    swap: int = 0
    bandwidth: int | None = None
    bandwidth_measured: bool = False
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A GPU or NPU. `apis` are what can drive it: `cuda rocm metal vulkan sycl opencl openvino qnn`.

    `unified` devices share the host's memory: `free` is then None or a limit within it (`working_set`,
    Metal's recommendedMaxWorkingSetSize), never to be added to it. `capability` is CUDA's compute capability
    (8.9), AMD's gfx target, None elsewhere. `address` is the PCI one (`0000:01:00.0`). A MIG slice is a
    device of its own.
    """

    id: str
    kind: str
    vendor: str
    name: str
    apis: tuple[str, ...]
    total: int | None = None
    free: int | None = None
    unified: bool = False
    working_set: int | None = None
    bandwidth: int | None = None
    capability: str | None = None
    driver: str | None = None
    uuid: str | None = None
    address: str | None = None
    note: str | None = None
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineBuild:
    """One engine on this machine. What its own build says wins over every heuristic.

    `apis` are the ways its build can compute (`cpu`, `cuda`, ...), `features` the CPU instruction sets it was
    made for (None: it picks by itself, or is not known), `devices` the ids of devices it sees (None:
    unknown). `install` is the command that brings it, where it is not there. `note` says what is odd about
    it: that this CPU cannot run it, or that it does not use all of it.
    """

    name: str
    installed: bool
    version: str | None = None
    apis: tuple[str, ...] = ()
    features: tuple[str, ...] | None = None
    devices: tuple[str, ...] | None = None
    install: str | None = None
    note: str | None = None
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedFigure:
    """The two parameters of decoding (fit.md 4.1) for one engine at one place (`cpu` or a device's id).

    `overhead` is seconds per layer and token, `efficiency` the share of the bandwidth that is reached.
    `basis` is `measured`, `same-device` or `prior`; `engine` None stands for any.
    """

    engine: str | None
    place: str
    overhead: float
    efficiency: float
    basis: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """One machine. `name` is a profile's; `container` is what this runs in (`docker`, `kubernetes`, `wsl2`).

    `emulated` says that the process is translated (`rosetta`), so that features and devices are not the real
    ones. `disk_free` is where models are stored.
    """

    name: str | None = None
    system: str
    cpu: Cpu
    memory: Memory
    devices: tuple[Device, ...] = ()
    engines: tuple[EngineBuild, ...] = ()
    speeds: tuple[SpeedFigure, ...] = ()
    container: str | None = None
    emulated: str | None = None
    disk_free: int | None = None
    missing: tuple[tuple[str, str], ...] = ()
    """What is not there and would help, with the command that brings it."""
    sources: tuple[str, ...] = ()
    """Where a profile's figures are from."""
    notes: tuple[str, ...] = ()
    """What could not be found out, and why: a sentence each."""

    def engine(self, name: str) -> EngineBuild | None:
        """The engine of that name, None where nothing is known of it."""
        return next((each for each in self.engines if each.name == name), None)
