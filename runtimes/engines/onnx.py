"""ONNX Runtime GenAI on paper: a folder is made for one execution provider, and runs there or nowhere.

Its worker comes later. Providers and their suffixes: fit.md section 5 (Foundry Local's catalogue).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from runtimes.engines.paper import Placement, Refusal
from runtimes.hardware.machine import Device, Hardware
from runtimes.planning.onnx_memory import onnx_need
from runtimes.planning.values import Build, Need, Shape

_PROVIDERS: Mapping[str, tuple[str, str | None]] = MappingProxyType(
    {
        "cpu": ("cpu", None),
        "cuda": ("cuda", "gpu"),
        "trt-rtx": ("cuda", "gpu"),
        "dml": ("dml", "gpu"),
        "webgpu": ("vulkan", "gpu"),
        "qnn": ("qnn", "npu"),
        "vitis": ("vitis", "npu"),
        "openvino": ("openvino", "npu"),
        "openvino-gpu": ("openvino", "gpu"),
    }
)
"""For each provider, what a device must offer (`Device.apis`) and of what kind it is; None for the CPU."""

_STATIC = 1024 + 128
"""Tokens of prompt and answer that OpenVINO compiles for an NPU by default; beyond about 2,000 Meteor Lake's
answers are garbage (openvino.genai issue 3255)."""


class OnnxOnPaper:
    name = "onnxruntime-genai"
    reserves = False
    splits = False

    def gate(self, hardware: Hardware) -> Refusal | None:
        return None

    def refuses(self, build: Build) -> Refusal | None:
        if build.facts.format != "onnx":
            return Refusal(
                code="FORMAT_NO_RUNTIME",
                detail=f"ONNX Runtime GenAI runs ONNX folders, not {build.facts.format}.",
            )
        return None

    def placements(self, build: Build, hardware: Hardware) -> Iterator[Placement | Refusal]:
        provider = provider_of(build)
        api, kind = _PROVIDERS[provider]
        if kind is None:
            yield Placement(device=None, api="cpu")
            return
        devices = [each for each in hardware.devices if each.kind == kind and _offers(each, api, hardware)]
        if not devices:
            detail = f"This build is for {provider}; there is no such {kind} here."
            yield Refusal(code="EP_MISSING", detail=detail)
        for device in sorted(devices, key=lambda each: each.id):
            yield Placement(device=device, api=api)

    def cache_types(self, placement: Placement) -> tuple[str, ...]:
        return ("f32",) if placement.device is None else ("f16",)  # the builder keeps the inputs' type

    def need(self, build: Build, shape: Shape, placement: Placement, features: frozenset[str]) -> Need:
        device = placement.device
        pool = None if device is None or device.unified else device.id
        return onnx_need(build, shape, device_pool=pool)

    def most_context(self, placement: Placement) -> int | None:
        """How long prompt and answer together may be where the graph is compiled for one shape."""
        device = placement.device
        return (
            _STATIC if placement.api == "openvino" and device is not None and device.kind == "npu" else None
        )


def provider_of(build: Build) -> str:
    """The execution provider that an ONNX build is for, by the end of its id (`onnx-int4-cpu`)."""
    words = f"{build.variant}-{build.quantization or ''}".lower()
    fitting = [name for name in _PROVIDERS if name in words]
    return max(fitting, key=len) if fitting else "cpu"


def _offers(device: Device, api: str, hardware: Hardware) -> bool:
    return api in device.apis or (api == "dml" and hardware.system == "win32")


ONNX_ON_PAPER = OnnxOnPaper()
