"""How much memory a model may take here: what is free, less what stays free (fit.md 6.2).

Swap is never counted. A cgroup's limit only ever lowers the budget: the host's own remainder counts beside
it, and a limit that is no smaller than the machine is none.
"""

from __future__ import annotations

from dataclasses import dataclass

from runtimes.hardware.machine import Device, Hardware, MemoryLimit

HOST = "host"
MIB = 2**20

_HOST_RESERVE, _CGROUP_RESERVE, _RESERVED_SHARE = 512 * MIB, 128 * MIB, 10  # a tenth, or so much at least
_SMALL_SHARE = 4  # a board of 512 MiB would have nothing left: a quarter is enough below 2 GiB
_DEVICE_MARGIN, _SMALL_DEVICE_MARGIN, _SMALL_DEVICE = 1024 * MIB, 512 * MIB, 8 * 2**30  # llama.cpp's -fitt
_WORKING_SET_SHARE = 95  # percent of what Metal recommends

UTILIZATION = 0.9
"""The share of a device's memory that vLLM takes by default (its gpu_memory_utilization)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What one pool has for a model. `code` is the reason when it does not suffice, `source` what set it."""

    pool: str
    bytes: int
    free: int
    reserve: int
    code: str
    source: str


def binding_limits(hardware: Hardware) -> tuple[MemoryLimit, ...]:
    """The cgroup limits that mean something: those below the machine's own memory."""
    return tuple(limit for limit in hardware.memory.limits if limit.limit < hardware.memory.total)


def host_budget(hardware: Hardware) -> Budget:
    """What the host has: the least of its own remainder and of every cgroup's above this process."""
    memory = hardware.memory
    least = min(_HOST_RESERVE, memory.total // _SMALL_SHARE)
    found = [_budget("MEM_HOST", memory.available, memory.total, least, memory.source)]
    found += [
        _budget("MEM_CGROUP", each.limit - each.usage, each.limit, _CGROUP_RESERVE, _said(each))
        for each in binding_limits(hardware)
    ]
    return min(found, key=lambda budget: (budget.bytes, budget.code, budget.source))


def device_budget(device: Device, hardware: Hardware) -> Budget:
    """What a model that is wholly on `device` has there; for a unified device a bound within the host's."""
    host = host_budget(hardware)
    if not device.unified:
        free = device.free if device.free is not None else device.total or 0
        small = device.total is not None and device.total < _SMALL_DEVICE
        margin = _SMALL_DEVICE_MARGIN if small else _DEVICE_MARGIN
        return _of_device(device, device.id, free, margin)
    bounds = [host]
    if device.working_set is not None:
        set_aside = device.working_set * (100 - _WORKING_SET_SHARE) // 100
        bounds.append(_of_device(device, HOST, device.working_set, set_aside))
    if device.free is not None:
        bounds.append(_of_device(device, HOST, device.free, 0))
    return min(bounds, key=lambda budget: budget.bytes)


def reserved_budget(device: Device) -> Budget:
    """What vLLM may take of a device: its share of the whole, or what is free where that is less."""
    total = device.total or device.free or 0
    free = device.free if device.free is not None else total
    wanted = int(total * UTILIZATION)
    return _of_device(device, device.id, min(free, wanted), 0)


def _budget(code: str, free: int, whole: int, least: int, source: str) -> Budget:
    reserve = max(least, whole // _RESERVED_SHARE)
    left = max(0, free - reserve)
    return Budget(pool=HOST, bytes=left, free=max(0, free), reserve=reserve, code=code, source=source)


def _of_device(device: Device, pool: str, free: int, reserve: int) -> Budget:
    return Budget(
        pool=pool,
        bytes=max(0, free - reserve),
        free=free,
        reserve=reserve,
        code="MEM_DEVICE",
        source=f"{free // MIB:,} MiB free on {device.name}, {reserve // MIB:,} MiB kept in reserve",
    )


def _said(limit: MemoryLimit) -> str:
    return f"{limit.source} = {limit.limit}"
