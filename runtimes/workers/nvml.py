"""The child process that asks NVIDIA's driver about its GPUs through NVML: one line of JSON on stdout.

Run by path with `python -P`; imports nvidia-ml-py and the standard library only. It is a process of its own
because a wedged driver never answers, and because NVML is the driver's code.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import pynvml as nvml


def tried(ask: Callable[..., Any], *arguments: Any) -> Any:
    """The answer, None where the device or the driver has no such thing."""
    try:
        answer = ask(*arguments)
    except (nvml.NVMLError, AttributeError, TypeError):
        return None
    return answer.decode(errors="replace") if isinstance(answer, bytes) else answer


def memory(handle: Any) -> dict[str, int | None]:
    """Bytes; the second version tells apart what the driver keeps for itself."""
    found = tried(lambda: nvml.nvmlDeviceGetMemoryInfo(handle, version=nvml.nvmlMemory_v2))
    found = found or tried(nvml.nvmlDeviceGetMemoryInfo, handle)
    return {"total": getattr(found, "total", None), "free": getattr(found, "free", None)}


def slices(handle: Any) -> list[dict[str, Any]]:
    found = []
    for number in range(tried(nvml.nvmlDeviceGetMaxMigDeviceCount, handle) or 0):
        part = tried(nvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, number)
        if part is not None:
            found.append(
                {
                    "name": tried(nvml.nvmlDeviceGetName, part),
                    "uuid": tried(nvml.nvmlDeviceGetUUID, part),
                    **memory(part),
                }
            )
    return found


def device(number: int) -> dict[str, Any]:
    handle = tried(nvml.nvmlDeviceGetHandleByIndex, number)
    if handle is None:
        return {"name": None}
    mode = tried(nvml.nvmlDeviceGetMigMode, handle)
    return {
        "name": tried(nvml.nvmlDeviceGetName, handle),
        "uuid": tried(nvml.nvmlDeviceGetUUID, handle),
        "address": getattr(tried(nvml.nvmlDeviceGetPciInfo, handle), "busId", b""),
        "bus_width": tried(nvml.nvmlDeviceGetMemoryBusWidth, handle),
        "memory_clock": tried(nvml.nvmlDeviceGetMaxClockInfo, handle, nvml.NVML_CLOCK_MEM),
        "capability": tried(nvml.nvmlDeviceGetCudaComputeCapability, handle),
        "mig": slices(handle) if mode and mode[0] else None,
        **memory(handle),
    }


def plain(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def main() -> None:
    try:
        nvml.nvmlInit()
        count = nvml.nvmlDeviceGetCount()
    except nvml.NVMLError as error:
        document: dict[str, Any] = {"problem": str(error)}
    else:
        driver = tried(nvml.nvmlSystemGetDriverVersion)
        document = {"driver": driver, "devices": [device(number) for number in range(count)]}
    sys.stdout.write(json.dumps(document, default=plain) + "\n")


if __name__ == "__main__":
    main()
