"""What NVIDIA's driver says of its GPUs, as values. Pure; odd content gives less, never an exception.

Formats: the JSON of runtimes/workers/nvml.py; `nvidia-smi --query-gpu=... --format=csv,noheader,nounits` and
`nvidia-smi -L` (nvidia-smi(1), with the MIG lines of NVIDIA's Multi-Instance GPU User Guide);
CUDA_VISIBLE_DEVICES (CUDA C++ Programming Guide, "CUDA Environment Variables"); /etc/nv_tegra_release
(Jetson Linux).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

QUERY = ("uuid", "name", "memory.total", "memory.free", "driver_version", "pci.bus_id")
QUERY_NEWER = ("compute_cap", "mig.mode.current")
"""Fields of --query-gpu; the newer ones are unknown to drivers before 510, which then refuse all."""

_MOST_DRIVER = 100  # characters
_SLICE = re.compile(r"^\s+MIG\s+(\S+)\s+Device\s+\d+:\s+\(UUID:\s*(MIG-[^)\s]+)\)")
_CARD = re.compile(r"^GPU \d+: .*\(UUID:\s*(GPU-[^)\s]+)\)")
_PROFILE = re.compile(r"\d+g\.(\d{1,4})gb")
_RELEASE = re.compile(r"# R(\d{1,3}) \(release\), REVISION: ([\d.]{1,10})")


@dataclass(frozen=True, slots=True, kw_only=True)
class NvidiaGpu:
    """One GPU, or one MIG slice of one. Sizes in bytes; `free` is of this moment; bytes per second."""

    name: str
    uuid: str | None
    address: str | None
    total: int | None
    free: int | None
    capability: str | None
    bandwidth: int | None = None
    is_slice: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NvidiaAnswer:
    """`problem` is the driver's own word for why there is nothing."""

    driver: str | None = None
    gpus: tuple[NvidiaGpu, ...] = ()
    problem: str | None = None


def nvml(text: str) -> NvidiaAnswer | None:
    """The worker's line; None for anything else. A GPU that is cut into slices is told by them alone."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    if "problem" in document:
        return NvidiaAnswer(problem=_text(document["problem"]) or "unknown")
    gpus: list[NvidiaGpu] = []
    devices = document.get("devices")
    for device in devices if isinstance(devices, list) else []:
        name = _text(device.get("name")) if isinstance(device, dict) else None
        if name is None:
            continue
        major_minor = device.get("capability")
        capability = None
        if isinstance(major_minor, list) and len(major_minor) == 2:
            capability = f"{major_minor[0]!s:.3}.{major_minor[1]!s:.3}"
        address = _text(device.get("address"))
        parts = device.get("mig")
        sliced = isinstance(parts, list)
        whole = _bandwidth(device.get("bus_width"), device.get("memory_clock"))
        gpus += [
            NvidiaGpu(
                name=_text(each.get("name")) or name,
                uuid=_text(each.get("uuid")),
                address=pci_address(address),
                total=_size(each.get("total")),
                free=_size(each.get("free")),
                capability=capability,
                bandwidth=_share(whole, each.get("total"), device.get("total")) if sliced else whole,
                is_slice=sliced,
            )
            for each in (parts if isinstance(parts, list) else [device])
            if isinstance(each, dict)
        ]
    driver = _text(document.get("driver"))
    return NvidiaAnswer(driver=driver and driver[:_MOST_DRIVER], gpus=tuple(gpus))


def smi(table: str, listing: str) -> NvidiaAnswer:
    """nvidia-smi's table of QUERY (and QUERY_NEWER, where it has them) and its -L listing.

    Memory is MiB in the table. A slice is told by the listing alone, where its profile (`1g.10gb`) says about
    how much memory it has; what of that is free is unknown.
    """
    gpus: list[NvidiaGpu] = []
    driver = None
    sliced = _slices(listing)
    for line in table.splitlines():
        cells = [cell.strip()[:200] for cell in line.split(", ")]
        if len(cells) not in {len(QUERY), len(QUERY) + len(QUERY_NEWER)}:
            continue
        uuid, name, total, free, driver, address = cells[: len(QUERY)]
        newer = cells[len(QUERY) :] or ["", ""]
        capability = newer[0] if re.fullmatch(r"\d{1,2}\.\d", newer[0]) else None
        if newer[1] == "Enabled":
            for profile, part in sliced.get(uuid, ()):
                size = _PROFILE.fullmatch(profile)
                gpus.append(
                    NvidiaGpu(
                        name=f"{name[:100]} MIG {profile[:50]}",
                        uuid=part[:200],
                        address=pci_address(address),
                        total=int(int(size[1]) * 1e9) if size else None,
                        free=None,
                        capability=capability,
                        is_slice=True,
                    )
                )
            continue
        gpus.append(
            NvidiaGpu(
                name=name or "NVIDIA GPU",
                uuid=uuid or None,
                address=pci_address(address),
                total=_mib(total),
                free=_mib(free),
                capability=capability,
            )
        )
    return NvidiaAnswer(driver=(driver or "")[:_MOST_DRIVER] or None, gpus=tuple(gpus))


def visible(
    gpus: Sequence[NvidiaGpu], setting: str | None, order: str | None
) -> tuple[NvidiaGpu, ...] | None:
    """The GPUs that CUDA_VISIBLE_DEVICES leaves, in its order; None where that cannot be told.

    Its numbers count from the fastest GPU unless `order` (CUDA_DEVICE_ORDER) is PCI_BUS_ID, so that among
    unlike GPUs they say nothing to somebody who only sees the list. The first wrong entry ends the list.
    """
    if setting is None:
        return tuple(gpus)
    found: list[NvidiaGpu] = []
    for entry in setting.split(","):
        word = entry.strip()
        if word.isascii() and word.isdigit():
            if order != "PCI_BUS_ID" and len({gpu.name for gpu in gpus}) > 1:
                return None
            if len(word) > 4 or int(word) >= len(gpus):
                break
            found.append(gpus[int(word)])
        else:
            fitting = [gpu for gpu in gpus if word and (gpu.uuid or "").startswith(word)]
            if len(fitting) != 1:
                break
            found.append(fitting[0])
    return tuple(dict.fromkeys(found))


def tegra_release(text: str) -> str | None:
    """`# R36 (release), REVISION: 4.0, ...` as `36.4.0`: the version of Jetson Linux."""
    found = _RELEASE.match(text)
    return f"{found[1]}.{found[2]}" if found else None


def pci_address(text: str | None) -> str | None:
    """`00000000:01:00.0` as Linux writes it: `0000:01:00.0`."""
    found = re.fullmatch(r"([0-9a-f]{4,8}):([0-9a-f]{2}:[0-9a-f]{2}\.[0-7])", (text or "").lower())
    return f"{found[1][-4:]}:{found[2]}" if found else None


def _slices(listing: str) -> dict[str, list[tuple[str, str]]]:
    """Profiles and UUIDs of the slices by the UUID of their GPU."""
    found: dict[str, list[tuple[str, str]]] = {}
    card = ""
    for line in listing.splitlines():
        if match := _CARD.match(line):
            card = match[1]
        elif match := _SLICE.match(line):
            found.setdefault(card, []).append((match[1], match[2]))
    return found


def _text(value: object) -> str | None:
    return value.strip("\0 ")[:200] or None if isinstance(value, str) else None


def _size(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 62 else None


def _bandwidth(bus_width: object, megahertz: object) -> int | None:
    """Of the width in bits and the clock that NVML shows: two transfers a clock, whatever the memory is.

    192 bits at 7501 MHz are the 360 GB/s of an RTX 3060, 5120 at 2619 the 3352 of an H100.
    """
    width, clock = _size(bus_width), _size(megahertz)
    return width * clock * 1_000_000 * 2 // 8 or None if width and clock else None


def _share(whole: int | None, part: object, total: object) -> int | None:
    """A slice has the bandwidth of its memory slices (Multi-Instance GPU User Guide)."""
    size, all_of_it = _size(part), _size(total)
    return whole * size // all_of_it or None if whole and size and all_of_it and size <= all_of_it else None


def _mib(text: str) -> int | None:
    return int(text) << 20 if text.isascii() and text.isdigit() and len(text) < 10 else None
