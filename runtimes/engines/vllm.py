"""vLLM on paper: safetensors on NVIDIA GPUs under Linux, for many requests at once.

It takes its share of a device whatever the model (fit.md 2.3), so that one request alone is no reason for it.
Its worker comes later. Install gates: fit.md section 5.
"""

from __future__ import annotations

from collections.abc import Iterator

from runtimes.engines.paper import Placement, Refusal, capability, graphics
from runtimes.hardware.machine import Device, Hardware
from runtimes.planning.values import Build, Need, Shape
from runtimes.planning.vllm_memory import vllm_need

_CAPABILITY, _FP8_CAPABILITY = 7.0, 8.9


class VllmOnPaper:
    name = "vllm"
    reserves = True
    splits = False

    def gate(self, hardware: Hardware) -> Refusal | None:
        if hardware.system != "linux":
            return Refusal(code="EP_MISSING", detail="vLLM runs on Linux.")
        if any("cuda" in device.apis for device in graphics(hardware)):
            return None
        if "avx512f" not in hardware.cpu.features:
            return Refusal(
                code="ISA_MISSING", detail="vLLM needs an NVIDIA GPU; on a CPU it would need AVX-512."
            )
        return Refusal(code="EP_MISSING", detail="vLLM needs an NVIDIA GPU; there is no wheel for the CPU.")

    def refuses(self, build: Build) -> Refusal | None:
        if build.facts.format != "safetensors":
            return Refusal(
                code="FORMAT_NO_RUNTIME", detail=f"vLLM runs safetensors, not {build.facts.format}."
            )
        return None

    def placements(self, build: Build, hardware: Hardware) -> Iterator[Placement | Refusal]:
        for device in graphics(hardware):
            yield _on(device, build)

    def cache_types(self, placement: Placement) -> tuple[str, ...]:
        number = capability(placement.device) if placement.device is not None else None
        return ("f16", "fp8") if number is not None and number >= _FP8_CAPABILITY else ("f16",)

    def most_context(self, placement: Placement) -> int | None:
        return None

    def need(self, build: Build, shape: Shape, placement: Placement, features: frozenset[str]) -> Need:
        device = placement.device
        assert device is not None
        return vllm_need(build, shape, device_pool=device.id)


def _on(device: Device, build: Build) -> Placement | Refusal:
    number = capability(device)
    label = (build.quantization or build.facts.quantization or "").lower()
    least = _FP8_CAPABILITY if label.startswith("fp8") else _CAPABILITY
    if number is None or device.unified:
        return Refusal(code="EP_MISSING", detail=f"vLLM cannot use {device.name}.", place=device.id)
    if number < least:
        what = "FP8 weights" if least == _FP8_CAPABILITY else "vLLM"
        detail = f"{what} need compute capability {least}; {device.name} has {number}."
        return Refusal(code="EP_MISSING", detail=detail, place=device.id)
    return Placement(device=device, api="cuda")


VLLM_ON_PAPER = VllmOnPaper()
