"""What sysfs says of AMD's and Intel's GPUs, as values. Pure; odd content gives less, never an exception.

Formats, all in the Linux kernel's documentation: gpu/amdgpu/driver-misc (mem_info_vram_total and its
relatives, bytes), the KFD topology (drivers/gpu/drm/amd/amdkfd/kfd_topology.c: `name number` lines), PCI's
`resource` (PCI/sysfs-pci.rst: first, last, flags of each range).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runtimes.hardware.parse_memory import decimal

AMD, INTEL, QUALCOMM = "0x1002", "0x8086", "0x17cb"

_APUS = frozenset(
    [
        "gfx902",
        "gfx909",
        "gfx90c",
        "gfx1013",
        "gfx1033",
        "gfx1035",
        "gfx1036",
        "gfx1037",
        "gfx1103",
        "gfx1150",
        "gfx1151",
        "gfx1152",
        "gfx1153",
    ]
)
"""Targets that are parts of a processor (LLVM, AMDGPU usage, "Processors": APU)."""

FOR_DISPLAYS = frozenset({"gfx1036", "gfx1037"})
"""In processors of AMD's for desktops (Raphael and its followers), which compute faster than they do."""

_CARVED_OUT = 2 << 30
"""A GPU whose target is unknown and that has no more memory than this is taken for a part of a processor."""

ROCM_TARGETS = frozenset(
    [
        "gfx908",
        "gfx90a",
        "gfx942",
        "gfx950",
        "gfx1030",
        "gfx1031",
        "gfx1032",
        "gfx1100",
        "gfx1101",
        "gfx1102",
        "gfx1150",
        "gfx1151",
        "gfx1200",
        "gfx1201",
    ]
)
"""What builds of llama.cpp for ROCm have code for (README of xllamacpp, and AMD's Instinct line)."""

_INTEL_NAMES = {
    "0x56a0": "Intel Arc A770",
    "0x56a1": "Intel Arc A750",
    "0x56a5": "Intel Arc A380",
    "0xe20b": "Intel Arc B580",
    "0xe20c": "Intel Arc B570",
    "0x64a0": "Intel Arc 140V",
    "0x7d55": "Intel Arc Graphics (Meteor Lake)",
    "0x7d45": "Intel Graphics (Meteor Lake)",
    "0x46a6": "Intel Iris Xe (Alder Lake)",
    "0x9a49": "Intel Iris Xe (Tiger Lake)",
    "0xa7a0": "Intel Iris Xe (Raptor Lake)",
}
_AMD_NAMES = {
    "0x744c": "AMD Radeon RX 7900 XT or XTX",
    "0x747e": "AMD Radeon RX 7800 XT or 7700 XT",
    "0x7480": "AMD Radeon RX 7600",
    "0x73bf": "AMD Radeon RX 6800 or 6900 XT",
    "0x1586": "AMD Radeon 8060S",
    "0x15bf": "AMD Radeon 780M",
    "0x1900": "AMD Radeon 780M",
    "0x150e": "AMD Radeon 890M",
    "0x1681": "AMD Radeon 680M",
    "0x7550": "AMD Radeon RX 9070 or 9070 XT",
}
"""PCI device ids of what people have most (pci.ids); others go by their number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AmdMemory:
    """What a GPU of AMD's may use. A unified one has `working_set`, others `total` and `free`; bytes."""

    unified: bool
    total: int | None = None
    free: int | None = None
    working_set: int | None = None
    note: str | None = None


def amd_memory(
    *, target: str | None, vram: int | None, vram_used: int | None, gtt: int | None
) -> AmdMemory | None:
    """Whether the memory is the GPU's own, and how much of it there is; None where sysfs says nothing.

    The GPU in a processor has a piece carved out of the memory (VRAM) and may map more of it (GTT, by default
    half): one pool with the host's, of which GTT is the limit. They are never added up. Where the piece is
    larger than what may be mapped, it counts as the GPU's own: the host's total does not have it.
    """
    if vram is None:
        return None
    own = AmdMemory(unified=False, total=vram, free=max(0, vram - (vram_used or 0)))
    integrated = target in _APUS if target else vram <= _CARVED_OUT
    if not integrated or (gtt is not None and vram > gtt):
        return own
    mib = (gtt or 0) >> 20
    return AmdMemory(
        unified=True,
        working_set=gtt,
        note=f"Shares the host's memory ({vram >> 20} MiB of its own, {mib} MiB that it may map).",
    )


def kfd_node(text: str) -> tuple[str, str] | None:
    """PCI address and target (`gfx1100`) of a KFD node's properties; None for a CPU's node."""
    found = _numbers(text)
    version, place = found.get("gfx_target_version", 0), found.get("location_id", 0)
    if not version or not 0 < version < 1_000_000:
        return None
    target = f"gfx{version // 10000}{version // 100 % 100}{version % 100:x}"
    domain = found.get("domain", 0) & 0xFFFF
    return f"{domain:04x}:{place >> 8 & 0xFF:02x}:{place >> 3 & 0x1F:02x}.{place & 7}", target


def amd_bandwidth(bank: str, target: str | None) -> int | None:
    """Bytes per second, of a KFD memory bank's width in bits and clock in MHz.

    HBM (gfx9's) moves two bits a clock on each wire, GDDR6 (later cards') sixteen of this clock: 320 bits at
    1249 MHz are the 799 GB/s of an RX 7900 XT.
    """
    found = _numbers(bank)
    width, clock = found.get("width", 0), found.get("mem_clk_max", 0)
    if target is None or not 0 < width < 1 << 16 or not 0 < clock < 1 << 16:
        return None
    transfers = 2 if target.startswith("gfx9") else 16
    return width * clock * 1_000_000 * transfers // 8


def bar_size(resource: str, number: int) -> int | None:
    """The size of one of a PCI device's ranges; None where it has none."""
    lines = resource.splitlines()
    words = lines[number].split() if number < len(lines) else []
    try:
        first, last = int(words[0], 16), int(words[1], 16)
    except (IndexError, ValueError):
        return None
    return last - first + 1 if 0 < first < last < 1 << 64 else None


def intel_memory(resource: str) -> tuple[int | None, str | None]:
    """How much memory a card of Intel's has, from the window that shows it, and a note where it is closed.

    With Resizable BAR the window (the third range) is as large as the memory; without it 256 MiB.
    """
    size = bar_size(resource, 2)
    if size is None or size <= 256 << 20:
        return (
            None,
            "Without Resizable BAR (a setting of the firmware) its memory cannot be told, and is slow.",
        )
    return size, None


def card_name(vendor: str, device: str | None, product: str | None) -> str:
    """What to call a card: the name that it has, the one that its number has, or its number."""
    if product and product.isprintable():
        return product[:100]
    names = _AMD_NAMES if vendor == AMD else _INTEL_NAMES if vendor == INTEL else {}
    maker = {AMD: "AMD", INTEL: "Intel", QUALCOMM: "Qualcomm"}.get(vendor, "unknown")
    return names.get(device or "", f"{maker} GPU {device or ''}".strip()[:100])


def cards(names: Sequence[str]) -> tuple[str, ...]:
    """Of /sys/class/drm the cards themselves, without their connectors (`card0-DP-1`), in their order."""
    found = [name for name in names if name[:4] == "card" and decimal(name[4:]) is not None]
    return tuple(sorted(found, key=lambda name: int(name[4:])))


def kfd_nodes(nodes: Mapping[str, str]) -> Mapping[str, tuple[str, str]]:
    """Node and target by PCI address, of the properties of all nodes."""
    found = {}
    for name, text in nodes.items():
        if (node := kfd_node(text)) is not None:
            found[node[0]] = (name, node[1])
    return found


def _numbers(text: str) -> Mapping[str, int]:
    """KFD's lines of a name and a number."""
    pairs = (line.partition(" ") for line in text.splitlines())
    return {name: value for name, _, number in pairs if (value := decimal(number.strip())) is not None}
