"""Which of the devices that were found are those that an engine sees. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from runtimes.hardware.machine import Device
from runtimes.hardware.parse_llamacpp import INTEGRATED_KIND, SeenDevice

_VENDORS = {"nvidia": "nvidia", "geforce": "nvidia", "amd": "amd", "radeon": "amd", "intel": "intel"}
_SIZE_SHARE = 0.12
"""Two views of one device's memory differ by what its driver and firmware keep."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """All devices, and the ids of those that the engine sees, in the engine's order."""

    devices: tuple[Device, ...]
    ids: tuple[str, ...]
    is_momentary: bool = False
    """Whether free memory of a device is known by the engine alone: its answer is then worth no cache."""


def matched(devices: Sequence[Device], seen: Sequence[SeenDevice]) -> Seen:
    """Match by PCI address, else by way of computing, name and size; what nobody else found is added.

    The engine's word counts: a device that it does not name cannot be used by it, and one that only it names
    can. CPUs that a driver offers as a GPU (llvmpipe) and RPC peers are no devices.
    """
    known = list(devices)
    ids: list[str] = []
    for each in seen:
        if each.api is None or "llvmpipe" in each.description.lower():
            continue
        found = _find(known, each, ids)
        if found is None:
            found = _new(each, len([device for device in known if device.kind != "npu"]))
            known.append(found)
        else:
            known[known.index(found)] = _completed(found, each)
        ids.append(found.id)
    before = {device.id for device in devices if device.free is not None or device.unified}
    momentary = any(each.free is not None and each.id not in before for each in known)
    return Seen(devices=tuple(known), ids=tuple(ids), is_momentary=momentary)


def _completed(device: Device, seen: SeenDevice) -> Device:
    """With the engine's word on memory: Metal's working set, and what no probe could tell."""
    if seen.api == "metal" and seen.total:
        source = f"{device.source}; working set: llama.cpp's {seen.name}"
        return dataclasses.replace(device, working_set=seen.total, source=source)
    if device.unified or device.free is not None:
        return device
    return dataclasses.replace(device, total=device.total or seen.total or None, free=seen.free)


def _find(devices: Sequence[Device], seen: SeenDevice, taken: Sequence[str]) -> Device | None:
    free = [device for device in devices if device.id not in taken and device.kind == "gpu"]
    by_address = [device for device in free if seen.address and _is_at(device, seen.address)]
    if by_address:  # of several, which are slices of one card, that of the size
        return next((device for device in by_address if _same_size(device, seen)), by_address[0])
    fitting = [device for device in free if seen.api in device.apis]
    named = [device for device in fitting if _alike(device.name, seen.description)]
    sized = [device for device in named or fitting if _same_size(device, seen)]
    return next(iter(sized or named), fitting[0] if len(fitting) == 1 else None)


def _is_at(device: Device, address: str) -> bool:
    """Whether it is that PCI device; drivers write the domain with four digits or eight."""
    return (device.address or "").lower().lstrip("0") == address.lower().lstrip("0")


def _alike(one: str, other: str) -> bool:
    first, second = one.lower(), other.lower()
    return first in second or second in first


def _same_size(device: Device, seen: SeenDevice) -> bool:
    if not device.total or not seen.total:
        return False
    return abs(device.total - seen.total) <= _SIZE_SHARE * device.total


def _new(seen: SeenDevice, number: int) -> Device:
    vendor = next(
        (vendor for word, vendor in _VENDORS.items() if word in seen.description.lower()), "unknown"
    )
    if seen.api == "metal":
        vendor = "apple"
    unified = seen.kind == INTEGRATED_KIND or seen.api == "metal"
    return Device(
        id=f"gpu{number}",
        kind="gpu",
        vendor=vendor,
        name=seen.description[:200] or seen.name,
        apis=(seen.api or "unknown",),
        total=seen.total or None,
        free=None if unified else seen.free,
        unified=unified,
        working_set=seen.total or None if seen.api == "metal" else None,
        address=seen.address,
        source=f"llama.cpp's {seen.name}",
    )
