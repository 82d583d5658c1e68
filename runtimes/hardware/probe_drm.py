"""GPUs of AMD, Intel and Qualcomm, and NPUs, through sysfs."""

from __future__ import annotations

from runtimes.hardware import parse_drm as parse
from runtimes.hardware.findings import Findings
from runtimes.hardware.machine import Device
from runtimes.hardware.signs import ACCEL, DRM, FASTRPC
from runtimes.hardware.system import System

_KFD = "/sys/class/kfd/kfd/topology/nodes"
_INTEL_IGPU = "00:02.0"  # where Intel's processors have their GPU, always
_NPU_LIBRARY = "libze_intel_npu.so"
_LIBRARIES = ("/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/lib")


def probe_drm(system: System, findings: Findings) -> None:
    """Adds GPUs that are no NVIDIA's (those have a probe of their own)."""
    before = len(findings.devices)
    for card in parse.cards(system.names(DRM)):
        device = _card(system, card, findings)
        if device is not None:
            findings.devices.append(device)
    found = findings.devices[before:]
    if found and not any(name.startswith("renderD") for name in system.names("/dev/dri")):
        del findings.devices[before:]
        names = ", ".join(device.name for device in found)
        findings.notes.append(f"The machine has a GPU ({names}), but this process has no /dev/dri/renderD*.")
        findings.miss(f"the GPU ({names}) in this container", "docker run --device /dev/dri")


def _card(system: System, card: str, findings: Findings) -> Device | None:
    folder = f"{DRM}/{card}/device"
    vendor, driver = system.value(f"{folder}/vendor"), system.target(f"{folder}/driver")
    address = system.target(folder)
    name = parse.card_name(
        vendor or "", system.value(f"{folder}/device"), system.value(f"{folder}/product_name")
    )
    number = findings.next_id("gpu")
    if vendor == parse.AMD and driver in {None, "amdgpu"}:
        return _amd(system, folder, address, name, number, driver, findings)
    if vendor == parse.INTEL and driver in {None, "i915", "xe"}:
        return _intel(system, folder, address, name, number, driver)
    if driver is not None and driver.startswith("msm"):
        return Device(
            id=number,
            kind="gpu",
            vendor="qualcomm",
            name="Adreno",
            apis=("vulkan", "opencl"),
            unified=True,
            driver=driver,
            source=f"{folder}/driver",
        )
    return None


def _amd(
    system: System,
    folder: str,
    address: str | None,
    name: str,
    number: str,
    driver: str | None,
    findings: Findings,
) -> Device | None:
    nodes = parse.kfd_nodes(
        {node: system.read(f"{_KFD}/{node}/properties", 65536) or "" for node in system.names(_KFD)}
    )
    alone = next(iter(nodes.values())) if len(nodes) == 1 else (None, None)
    node, target = nodes.get(address or "", alone)
    memory = parse.amd_memory(
        target=target,
        vram=system.number(f"{folder}/mem_info_vram_total"),
        vram_used=system.number(f"{folder}/mem_info_vram_used"),
        gtt=system.number(f"{folder}/mem_info_gtt_total"),
    )
    if target in parse.FOR_DISPLAYS:
        findings.notes.append(
            f"{name} ({target}) drives displays: its two compute units are no help to models."
        )
        return None
    if memory is None:
        findings.notes.append(f"{name}: its driver does not say how much memory it has, so it is left out.")
        return None
    can_rocm = target in parse.ROCM_TARGETS and system.exists("/dev/kfd")
    apis = ("vulkan", "rocm") if memory.unified else ("rocm", "vulkan")
    return Device(
        id=number,
        kind="gpu",
        vendor="amd",
        name=name,
        apis=apis if can_rocm else ("vulkan",),
        total=memory.total,
        free=memory.free,
        unified=memory.unified,
        working_set=memory.working_set,
        bandwidth=None
        if memory.unified
        else parse.amd_bandwidth(system.read(f"{_KFD}/{node}/mem_banks/0/properties", 4096) or "", target),
        capability=target,
        driver=driver,
        address=address,
        note=memory.note,
        source=f"{folder}/mem_info_*",
    )


def _intel(
    system: System, folder: str, address: str | None, name: str, number: str, driver: str | None
) -> Device:
    integrated = address is None or address.endswith(_INTEL_IGPU)
    total, note = (None, None) if integrated else parse.intel_memory(system.read(f"{folder}/resource") or "")
    return Device(
        id=number,
        kind="gpu",
        vendor="intel",
        name=name,
        apis=("vulkan", "sycl", "openvino"),
        total=total,
        unified=integrated,
        driver=driver,
        address=address,
        note=note,
        source=f"{folder}/resource" if total else folder,
    )


def probe_npu(system: System, findings: Findings) -> None:
    """Adds Intel's and AMD's NPUs (/dev/accel), and Qualcomm's (FastRPC)."""
    for name in system.names(ACCEL):
        driver = system.target(f"{ACCEL}/{name}/device/driver")
        vendor = system.value(f"{ACCEL}/{name}/device/vendor")
        if vendor == parse.INTEL or driver == "intel_vpu":
            found = Device(
                id=findings.next_id("npu"),
                kind="npu",
                vendor="intel",
                name="Intel NPU",
                apis=("openvino",),
                unified=True,
                driver=driver or "intel_vpu",
                address=system.target(f"{ACCEL}/{name}/device"),
                source=f"{ACCEL}/{name}",
            )
            if not _has_library(system, _NPU_LIBRARY):
                findings.miss(
                    "the user-space driver of Intel's NPU", "see https://github.com/intel/linux-npu-driver"
                )
            findings.devices.append(found)
        elif vendor in {"0x1022", parse.AMD} or driver == "amdxdna":
            findings.devices.append(
                Device(
                    id=findings.next_id("npu"),
                    kind="npu",
                    vendor="amd",
                    name="AMD XDNA NPU",
                    apis=("vitisai",),
                    unified=True,
                    driver=driver or "amdxdna",
                    address=system.target(f"{ACCEL}/{name}/device"),
                    source=f"{ACCEL}/{name}",
                )
            )
    if system.exists(FASTRPC):
        findings.devices.append(
            Device(
                id=findings.next_id("npu"),
                kind="npu",
                vendor="qualcomm",
                name="Hexagon NPU",
                apis=("qnn",),
                unified=True,
                source=FASTRPC,
            )
        )


def _has_library(system: System, name: str) -> bool:
    return any(each.startswith(name) for folder in _LIBRARIES for each in system.names(folder))
