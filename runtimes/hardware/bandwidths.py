"""How fast the memory of GPUs is, by their names, where nobody on the machine says. Pure.

Figures are the makers' specifications, in GB/s (10**9 bytes); for GPUs in a processor those of the memory
that such machines come with. NVML and KFD say better where they are there: width and clock of the memory.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from runtimes.hardware.machine import Cpu, Device

_KNOWN: tuple[tuple[str, float], ...] = (
    # NVIDIA: a laptop's before the card of the same name; nvidia.com, specifications of each
    (r"RTX 4090 Laptop", 576),
    (r"RTX 4080 Laptop", 432),
    (r"RTX 40[67]0 Laptop", 256),
    (r"RTX 4050 Laptop", 192),
    (r"RTX 3060 Laptop", 336),
    (r"RTX 3050(?: Ti)? Laptop", 192),
    (r"RTX 5090", 1792),
    (r"RTX 5080", 960),
    (r"RTX 5070 Ti", 896),
    (r"RTX 5070", 672),
    (r"RTX 5060", 448),
    (r"RTX 4090", 1008),
    (r"RTX 4080", 716),
    (r"RTX 4070 Ti SUPER", 672),
    (r"RTX 4070", 504),
    (r"RTX 4060 Ti", 288),
    (r"RTX 4060", 272),
    (r"RTX 3090", 936),
    (r"RTX 3080 Ti", 912),
    (r"RTX 3080", 760),
    (r"RTX 3070 Ti", 608),
    (r"RTX 30(?:70|60 Ti)", 448),
    (r"RTX 3060", 360),
    (r"RTX 3050", 224),
    (r"RTX 2080 Ti", 616),
    (r"RTX 20[78]0", 448),
    (r"RTX 2060", 336),
    (r"GTX 1080 Ti", 484),
    (r"GTX 1080", 320),
    (r"GTX 1070", 256),
    (r"GTX 1060", 192),
    (r"GTX 1050", 112),
    (r"H200", 4800),
    (r"H100 PCIe", 2039),
    (r"H100", 3350),
    (r"A100.*80GB", 1935),
    (r"A100", 1555),
    (r"L40S?", 864),
    (r"\bL4\b", 300),
    (r"\bA10G?\b", 600),
    (r"\bT4\b", 320),
    # Jetsons: NVIDIA, Jetson modules, technical specifications
    (r"Orin Nano.*Super", 102),
    (r"Orin Nano", 68),
    (r"Orin NX", 102),
    (r"AGX Orin", 204.8),
    (r"AGX Xavier", 136.5),
    (r"Jetson Nano", 25.6),
    # Apple: technical specifications of the Macs
    (r"Apple M1 Ultra", 800),
    (r"Apple M1 Max", 400),
    (r"Apple M1 Pro", 200),
    (r"Apple M1", 68.3),
    (r"Apple M2 Ultra", 800),
    (r"Apple M2 Max", 400),
    (r"Apple M2 Pro", 200),
    (r"Apple M2", 100),
    (r"Apple M3 Ultra", 819),
    (r"Apple M3 Max, 14 cores", 300),
    (r"Apple M3 Max", 400),
    (r"Apple M3 Pro", 150),
    (r"Apple M3", 100),
    (r"Apple M4 Max, 14 cores", 410),
    (r"Apple M4 Max", 546),
    (r"Apple M4 Pro", 273),
    (r"Apple M4", 120),
    (r"Apple M5", 153.6),
    # Intel: ARK; Lunar and Meteor Lake with the memory that they are sold with
    (r"Arc A770", 560),
    (r"Arc A(?:750|580)", 512),
    (r"Arc A380", 186),
    (r"Arc B580", 456),
    (r"Arc B570", 380),
    (r"Arc 1[34]0V", 136.5),
    (r"Meteor Lake", 89.6),
    (r"Iris Xe", 51.2),
    # AMD: specifications of the cards and processors
    (r"RX 7900 XT\b", 800),
    (r"RX 7800 XT", 624),
    (r"RX 7600", 288),
    (r"RX 6800|RX 6900", 512),
    (r"RX 9070", 640),
    (r"8060S|gfx1151", 256),
    (r"890M|gfx1150", 120),
    (r"780M|gfx1103", 89.6),
    (r"680M|gfx1035", 76.8),
    # Qualcomm: product briefs
    (r"Adreno X1|Oryon", 135),
)
"""Patterns, tried from the top, in a device's name, its target and the processor's name."""


def with_bandwidths(devices: Sequence[Device], cpu: Cpu) -> tuple[Device, ...]:
    """The GPUs with the bandwidth of their kind, where they have none."""
    return tuple(_completed(device, cpu) for device in devices)


def known_bandwidth(name: str) -> int | None:
    """Bytes per second; None for what is not in the table."""
    for pattern, gigabytes in _KNOWN:
        if re.search(pattern, name):
            return round(gigabytes * 1e9)
    return None


def _completed(device: Device, cpu: Cpu) -> Device:
    if device.kind != "gpu" or device.bandwidth is not None:
        return device
    name = f"{device.name} {device.capability or ''}".strip()
    if device.vendor == "apple":
        name = f"{name}, {cpu.physical} cores"
    elif device.unified and device.vendor == "qualcomm":
        name = f"{name} {cpu.model or ''}"
    found = known_bandwidth(name)
    if found is None:
        return device
    source = f"{device.source}; bandwidth: specifications of the kind"
    return dataclasses.replace(device, bandwidth=found, source=source)
