"""llama.cpp on paper: any GGUF on the CPU, and on the devices that its build can drive."""

from __future__ import annotations

from collections.abc import Iterator

from registry.formats.ggml_types import GGML_TYPES_BY_NAME
from runtimes.engines.paper import Placement, Refusal, graphics, version_parts
from runtimes.hardware.machine import Device, Hardware
from runtimes.planning.memory import llamacpp_need
from runtimes.planning.values import Build, Need, Shape

_APIS = ("cuda", "metal", "rocm", "vulkan", "sycl", "opencl")
_FORKS = frozenset({"bitnet-25", "bitnet-b1.58"})
_CUDA_DRIVER = (525, 60)
"""CUDA 12's oldest driver on Linux (NVIDIA's CUDA compatibility table)."""


class LlamaCppOnPaper:
    name = "llama.cpp"
    reserves = False
    splits = True

    def gate(self, hardware: Hardware) -> Refusal | None:
        cpu = hardware.cpu
        if cpu.architecture in ("x86_64", "amd64") and cpu.features and "sse42" not in cpu.features:
            return Refusal(code="ISA_MISSING", detail="llama.cpp's builds for x86 need SSE 4.2.")
        engine = hardware.engine(self.name)
        if engine is None or not engine.installed:
            return None
        if not engine.apis:
            note = engine.note or "its build cannot run here."
            return Refusal(code="ISA_MISSING", detail=f"llama.cpp: {note}")
        lacking = sorted(set(engine.features or ()) - set(cpu.features)) if cpu.features else ()
        if lacking:
            detail = f"This build of llama.cpp needs {', '.join(lacking)}, which the CPU does not have."
            return Refusal(code="ISA_MISSING", detail=detail)
        return None

    def refuses(self, build: Build) -> Refusal | None:
        facts = build.facts
        if facts.format != "gguf":
            return Refusal(code="FORMAT_NO_RUNTIME", detail=f"llama.cpp runs GGUF files, not {facts.format}.")
        unknown = sorted({row.type for row in facts.tensors} - GGML_TYPES_BY_NAME.keys())
        if unknown:
            return Refusal(
                code="TYPE_UNSUPPORTED", detail=f"llama.cpp does not know the tensor type {unknown[0]}."
            )
        if facts.architecture in _FORKS:
            return Refusal(
                code="ARCH_UNSUPPORTED", detail=f"{facts.architecture} is a fork's own; bitnet.cpp runs it."
            )
        return None

    def placements(self, build: Build, hardware: Hardware) -> Iterator[Placement | Refusal]:
        yield Placement(device=None, api="cpu")
        for device in graphics(hardware):
            yield self._on(device, hardware)

    def cache_types(self, placement: Placement) -> tuple[str, ...]:
        return ("f16", "q8_0")

    def most_context(self, placement: Placement) -> int | None:
        return None

    def need(self, build: Build, shape: Shape, placement: Placement, features: frozenset[str]) -> Need:
        device = placement.device
        return llamacpp_need(
            build,
            shape,
            device_pool=None if device is None else device.id,
            unified=device is not None and device.unified,
            features=features,
            api=placement.api,
        )

    def _on(self, device: Device, hardware: Hardware) -> Placement | Refusal:
        engine = hardware.engine(self.name)
        if engine is None or not engine.installed or not engine.apis:
            usable = [api for api in _APIS if api in device.apis]
        else:
            usable = [api for api in _APIS if api in device.apis and api in engine.apis]
        if device.unified and device.vendor == "amd" and "vulkan" in usable:
            usable = ["vulkan"]  # ROCm sees only what the firmware set aside (llama.cpp issue 19818)
        unseen = engine is not None and engine.devices is not None and device.id not in engine.devices
        if not usable or (unseen and engine is not None and engine.installed):
            ways = ", ".join(device.apis) or "no way known"
            return Refusal(
                code="EP_MISSING",
                detail=f"The installed build of llama.cpp cannot use {device.name} ({ways}).",
                place=device.id,
            )
        driver = version_parts(device.driver)
        if usable[0] == "cuda" and driver and driver < _CUDA_DRIVER:
            return Refusal(
                code="DRIVER_OLD",
                detail=f"{device.name} has driver {device.driver}; CUDA 12 needs 525.60.",
                place=device.id,
            )
        return Placement(device=device, api=usable[0])


LLAMA_CPP_ON_PAPER = LlamaCppOnPaper()
