"""What is there for a model: free memory less a reserve, never more than a cgroup allows."""

from __future__ import annotations

import dataclasses

import pytest

from runtimes.hardware.machine import Hardware, MemoryLimit
from runtimes.hardware.profiles import profile
from runtimes.planning.budget import device_budget, host_budget, reserved_budget
from tests.runtimes.planning.library import MIB, mib

VPS = profile("vps-2cpu-4gb")


def sized(total: int, available: int, *limits: MemoryLimit) -> Hardware:
    memory = dataclasses.replace(VPS.memory, total=total * MIB, available=available * MIB, limits=limits)
    return dataclasses.replace(VPS, memory=memory)


def limit(size: int, used: int = 0, source: str = "/sys/fs/cgroup/memory.max") -> MemoryLimit:
    return MemoryLimit(limit=size * MIB, usage=used * MIB, source=source)


@pytest.mark.parametrize(
    ("hardware", "left", "code"),
    [
        (sized(3911, 3412), 2900, "MEM_HOST"),  # 512 in reserve
        (sized(8060, 7100), 6294, "MEM_HOST"),  # a tenth
        (sized(416, 320), 216, "MEM_HOST"),  # a quarter, where 512 would leave nothing
        (sized(4000, 300), 0, "MEM_HOST"),
        (sized(65536, 60000, limit(2048, 60)), 1783, "MEM_CGROUP"),
        (sized(16384, 12000, limit(1024)), 896, "MEM_CGROUP"),
        # every ancestor counts; the host's own remainder too
        (sized(16384, 12000, limit(4096), limit(1024, 500, "/parent")), 396, "MEM_CGROUP"),
        (sized(16384, 1700, limit(12000)), 62, "MEM_HOST"),
        (sized(4096, 4000, limit(4096, 4096)), 3488, "MEM_HOST"),  # a limit of the whole machine is none
    ],
)
def test_the_host(hardware: Hardware, left: int, code: str) -> None:
    budget = host_budget(hardware)
    assert mib(budget.bytes) == pytest.approx(left, abs=1)
    assert budget.code == code


def test_the_file_that_limits_is_named() -> None:
    budget = host_budget(sized(16384, 12000, limit(4096), limit(1024, 500, "/parent/memory.max")))
    assert budget.source == f"/parent/memory.max = {1024 * MIB}"


@pytest.mark.parametrize(
    ("machine", "left"),
    [
        ("rtx-3060-12gb", 11524 - 1024),
        ("laptop-rtx-3050-4gb", 3812 - 512),
        ("jetson-orin-nano-8gb", 5325 - 762),
        ("macbook-air-m1-8gb", 4301),
        ("h100-mig-1g10gb", 9840 - 1024),
    ],
)
def test_devices(machine: str, left: int) -> None:
    hardware = profile(machine)
    budget = device_budget(hardware.devices[0], hardware)
    assert mib(budget.bytes) == pytest.approx(left, abs=1)
    assert budget.pool == ("host" if hardware.devices[0].unified else "gpu0")


def test_a_unified_device_is_within_the_host_s_memory_and_its_own_bounds() -> None:
    hardware = profile("macbook-pro-m3-max-64gb")
    (device,) = hardware.devices
    small = dataclasses.replace(device, working_set=10_000 * MIB)
    assert mib(device_budget(small, hardware).bytes) == 9500
    assert device_budget(small, hardware).code == "MEM_DEVICE"
    assert device_budget(device, hardware).bytes == host_budget(hardware).bytes
    held = dataclasses.replace(hardware, memory=dataclasses.replace(hardware.memory, limits=(limit(4096),)))
    assert device_budget(device, held).code == "MEM_CGROUP"


def test_vllm_takes_its_share_of_the_whole() -> None:
    (device,) = profile("rtx-4090-24gb").devices
    assert mib(reserved_budget(device).bytes) == 22108
    busy = dataclasses.replace(device, free=10_000 * MIB)
    assert mib(reserved_budget(busy).bytes) == 10_000
