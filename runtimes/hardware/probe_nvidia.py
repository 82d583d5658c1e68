"""NVIDIA's GPUs: NVML in a child, nvidia-smi where that fails; and Jetsons, whose GPU has no own memory."""

from __future__ import annotations

import dataclasses
import os
import sys

from runtimes.hardware import parse_nvidia as parse
from runtimes.hardware.cache import Cache
from runtimes.hardware.findings import Findings
from runtimes.hardware.machine import Device
from runtimes.hardware.signs import (
    NVIDIA_CONTROL,
    NVIDIA_DRIVER,
    NVIDIA_WSL,
    TEGRA_COMPATIBLE,
    TEGRA_RELEASE,
    is_jetson,
)
from runtimes.hardware.system import System
from runtimes.launch import worker_argv

NVML_SECONDS = 5.0
"""Without persistence mode a driver initializes each of its GPUs first, which takes a second or two."""


def probe_nvidia(system: System, findings: Findings, *, cache: Cache, ask: bool = True) -> None:
    """Adds what there is; asks nobody where there is no way to NVIDIA's driver.

    Without `ask` no child is started: the GPUs are those of the last time, and what is free is not known.
    """
    if is_jetson(system):
        findings.devices.append(_jetson(system, findings))
        return
    if not any(system.exists(path) for path in (NVIDIA_CONTROL, NVIDIA_WSL)):
        if system.exists(NVIDIA_DRIVER):
            findings.notes.append("NVIDIA's driver is loaded, but this container has no /dev/nvidiactl.")
            findings.miss(
                "the NVIDIA GPU in this container",
                "docker run --gpus all (podman: --device nvidia.com/gpu=all)",
            )
        return
    key = [system.read(NVIDIA_DRIVER, 4096) or "", os.uname().release]
    kept = None if ask else parse.nvml(cache.text("nvml", key) or "")
    if ask:
        answer, source = _ask(system, findings, cache, key)
    elif kept is not None:
        answer, source = kept, "NVML, when it was asked last"
        answer = dataclasses.replace(
            answer, gpus=tuple(dataclasses.replace(gpu, free=None) for gpu in answer.gpus)
        )
    else:
        return
    gpus = parse.visible(
        answer.gpus,
        system.environment.get("CUDA_VISIBLE_DEVICES"),
        system.environment.get("CUDA_DEVICE_ORDER"),
    )
    if gpus is None:
        findings.notes.append("CUDA_VISIBLE_DEVICES counts GPUs in CUDA's own order; all are shown here.")
        gpus = answer.gpus
    for gpu in gpus:
        findings.devices.append(
            Device(
                id=findings.next_id("gpu"),
                kind="gpu",
                vendor="nvidia",
                name=gpu.name,
                apis=("cuda",) if gpu.is_slice or not system.exists(NVIDIA_CONTROL) else ("cuda", "vulkan"),
                total=gpu.total,
                free=gpu.free,
                bandwidth=gpu.bandwidth,
                capability=gpu.capability,
                driver=answer.driver,
                uuid=gpu.uuid,
                address=gpu.address,
                note="A MIG slice; a process can use one at a time." if gpu.is_slice else None,
                source=source,
            )
        )


def _ask(system: System, findings: Findings, cache: Cache, key: list[str]) -> tuple[parse.NvidiaAnswer, str]:
    said = system.run(worker_argv("nvml", python=sys.executable), seconds=NVML_SECONDS)
    answer = parse.nvml(said.text or "")
    if answer is not None and answer.problem is None:
        cache.keep("nvml", key, said.text or "")
        return answer, "NVML"
    problem = said.problem if answer is None else f"NVML says {answer.problem!r}"
    table = None if said.hangs else _table(system)  # it would hang in the same driver
    if table is None:
        findings.notes.append(
            f"NVIDIA's driver did not say which GPUs it has ({problem or 'no answer'}), nor did nvidia-smi."
        )
        return parse.NvidiaAnswer(), "nvidia-smi"
    listing = system.run(["nvidia-smi", "-L"]).text or "" if "Enabled" in table else ""
    return parse.smi(table, listing), "nvidia-smi"


def _table(system: System) -> str | None:
    for fields in ((*parse.QUERY, *parse.QUERY_NEWER), parse.QUERY):
        said = system.run(["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"])
        if said.text and said.problem is None:
            return said.text
        if said.text is None:  # it is not there, or hangs
            return None
    return None


def _jetson(system: System, findings: Findings) -> Device:
    """The integrated GPU. NVML tells no memory of it: it is the host's."""
    compatible = (system.value(TEGRA_COMPATIBLE) or "").replace("\0", " ")
    capability = next((value for chip, value in _TEGRA.items() if chip in compatible), None)
    release = parse.tegra_release(system.value(TEGRA_RELEASE) or "")
    model = system.value("/proc/device-tree/model") or "NVIDIA Jetson"
    if not any(
        system.exists(path)
        for path in ("/dev/nvhost-gpu", "/dev/nvhost-ctrl-gpu", "/dev/nvgpu", NVIDIA_CONTROL)
    ):
        findings.notes.append("This is a Jetson, but its GPU is not in this container.")
        findings.miss("the Jetson's GPU in this container", "docker run --runtime nvidia")
    return Device(
        id=findings.next_id("gpu"),
        kind="gpu",
        vendor="nvidia",
        name=f"{model} GPU",
        apis=("cuda",),
        unified=True,
        capability=capability,
        driver=release and f"Jetson Linux {release}",
        note="Shares the host's memory.",
        source="/etc/nv_tegra_release, /proc/device-tree",
    )


_TEGRA = {"tegra264": "11.0", "tegra234": "8.7", "tegra194": "7.2", "tegra186": "6.2", "tegra210": "5.3"}
"""Compute capability of Thor, Orin, Xavier, TX2 and Nano (NVIDIA, "CUDA GPU Compute Capability")."""
