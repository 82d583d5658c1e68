"""What is not here and would help, with the command that brings it. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from runtimes.hardware import known_engines as known
from runtimes.hardware.findings import Findings
from runtimes.hardware.machine import Device, EngineBuild

_PREFERRED = ("cuda", "metal", "rocm", "vulkan")


def add_missing(findings: Findings, engines: Sequence[EngineBuild], platform: str) -> None:
    """Adds llama.cpp where there is none, and the build of it that this machine's GPU or its CPU wants."""
    engine = next((each for each in engines if each.name == known.LLAMA_CPP), None)
    if engine is None or not engine.installed:
        findings.miss("llama.cpp", _first_command(findings, platform) or known.XLLAMACPP)
        return
    if not engine.apis and engine.install:
        findings.miss("a build of llama.cpp that this CPU can run", engine.install)
    for device in findings.devices:
        api = _api_for(device, platform)
        if api is not None and device.id not in (engine.devices or ()):
            name = {"cuda": "CUDA", "rocm": "ROCm", "vulkan": "Vulkan", "metal": "Metal"}[api]
            findings.miss(f"a build of llama.cpp for {device.name} ({name})", _command(device, api))
    if engine.note and engine.features is not None and not engine.devices:
        findings.miss("a build of llama.cpp for all of this CPU", known.XLLAMACPP_FROM_SOURCE)


def _first_command(findings: Findings, platform: str) -> str | None:
    """The command for the build that drives the first GPU; None where there is none."""
    for device in findings.devices:
        if (api := _api_for(device, platform)) is not None:
            return _command(device, api)
    return None


def _api_for(device: Device, platform: str) -> str | None:
    """The way of computing that a build can be had for; None for an NPU, or where there is none."""
    if device.kind != "gpu":
        return None
    wanted = [api for api in device.apis if api in _PREFERRED]
    if platform == "darwin":
        return "metal" if "metal" in wanted else None
    return wanted[0] if wanted else None


def _command(device: Device, api: str) -> str:
    if device.unified and api == "cuda":  # a Jetson: the wheels for CUDA are for cards
        return f"CMAKE_ARGS=-DGGML_CUDA=ON {known.XLLAMACPP_FROM_SOURCE}"
    return known.xllamacpp_for(api)
