"""MLX on paper: MLX folders on Apple silicon, on NVIDIA GPUs under Linux, and slowly on a CPU.

Its worker comes later. Install gates: fit.md section 5.
"""

from __future__ import annotations

from collections.abc import Iterator

from runtimes.engines.paper import Placement, Refusal, capability, graphics, version_parts
from runtimes.hardware.machine import Device, Hardware
from runtimes.planning.mlx_memory import mlx_need
from runtimes.planning.values import Build, Need, Shape

_ARM = frozenset({"arm64", "aarch64"})
_CAPABILITY, _DRIVER = 7.5, (550,)  # mlx[cuda12]


class MlxOnPaper:
    name = "mlx"
    reserves = False
    splits = False

    def gate(self, hardware: Hardware) -> Refusal | None:
        cpu = hardware.cpu
        if hardware.system == "darwin":
            if hardware.emulated is not None or cpu.architecture not in _ARM:
                return Refusal(
                    code="ISA_MISSING", detail="MLX needs Apple silicon and a Python that is not translated."
                )
            return None
        if hardware.system != "linux":
            return Refusal(code="EP_MISSING", detail=f"There is no MLX for {hardware.system}.")
        if cpu.architecture not in _ARM and "avx2" not in cpu.features and not graphics(hardware):
            return Refusal(code="ISA_MISSING", detail="MLX on a CPU needs AVX2.")
        return None

    def refuses(self, build: Build) -> Refusal | None:
        if build.facts.format != "mlx":
            return Refusal(
                code="FORMAT_NO_RUNTIME", detail=f"MLX runs MLX folders, not {build.facts.format}."
            )
        if build.facts.causal is False:
            return Refusal(code="ARCH_UNSUPPORTED", detail="mlx-lm has no embedding models.")
        return None

    def placements(self, build: Build, hardware: Hardware) -> Iterator[Placement | Refusal]:
        if hardware.system != "darwin":
            yield Placement(device=None, api="cpu")
        for device in graphics(hardware):
            yield _on(device)

    def cache_types(self, placement: Placement) -> tuple[str, ...]:
        return ("f16",)  # bf16 in truth, as large; its 8-bit cache is worse than llama.cpp's

    def most_context(self, placement: Placement) -> int | None:
        return None

    def need(self, build: Build, shape: Shape, placement: Placement, features: frozenset[str]) -> Need:
        device = placement.device
        pool = None if device is None or device.unified else device.id
        return mlx_need(build, shape, device_pool=pool)


def _on(device: Device) -> Placement | Refusal:
    if "metal" in device.apis:
        return Placement(device=device, api="metal")
    number = capability(device)
    if number is None or number < _CAPABILITY:
        detail = f"MLX needs Metal, or CUDA with compute capability {_CAPABILITY}; {device.name} has neither."
        return Refusal(code="EP_MISSING", detail=detail, place=device.id)
    driver = version_parts(device.driver)
    if driver and driver < _DRIVER:
        detail = f"{device.name} has driver {device.driver}; MLX needs {_DRIVER[0]}."
        return Refusal(code="DRIVER_OLD", detail=detail, place=device.id)
    return Placement(device=device, api="cuda")


MLX_ON_PAPER = MlxOnPaper()
