"""What builds of llama.cpp say of themselves, as values. Pure; odd content gives less, never an exception.

Formats: `llama_print_system_info` and `common_params_parse`'s --list-devices and --version (llama.cpp,
src/llama.cpp and common/arg.cpp), the JSON of runtimes/workers/llamacpp_inspect.py.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

_FEATURES = {
    "SSE3": "sse3",
    "SSSE3": "ssse3",
    "AVX": "avx",
    "AVX_VNNI": "avxvnni",
    "AVX2": "avx2",
    "F16C": "f16c",
    "FMA": "fma",
    "BMI2": "bmi2",
    "AVX512": "avx512f",
    "AVX512_VBMI": "avx512vbmi",
    "AVX512_VNNI": "avx512vnni",
    "AVX512_BF16": "avx512bf16",
    "AMX_INT8": "amxint8",
    "NEON": "neon",
    "FP16_VA": "fp16",
    "DOTPROD": "dotprod",
    "MATMUL_INT8": "i8mm",
    "SVE": "sve",
    "SME": "sme",
}
"""Names of ggml_backend_cpu_get_features (ggml/src/ggml-cpu/ggml-cpu.cpp), by ours."""

_BACKENDS = {
    "CPU": "cpu",
    "CUDA": "cuda",
    "ROCm": "rocm",
    "HIP": "rocm",
    "MTL": "metal",
    "Metal": "metal",
    "Vulkan": "vulkan",
    "SYCL": "sycl",
    "OpenCL": "opencl",
    "GPUOpenCL": "opencl",
    "OPENVINO": "openvino",
    "HTP": "hexagon",
}
"""ggml's backends, by the way of computing that `Device.apis` calls it; a device adds its number."""

CPU_KIND = 0
"""GGML_BACKEND_DEVICE_TYPE_CPU; 1 is a GPU, 2 an integrated one, 3 an accelerator without memory (BLAS)."""

INTEGRATED_KIND = 2

# compiled when they are used: most runs have an answer in JSON
_DEVICE = r"^ +(\S+): (.*) \((\d{1,9}) MiB, (\d{1,9}) MiB free\)$"
_VERSION = r"^version: (\S+) \(([^)\n]*)\)"


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenDevice:
    """A device as a build of llama.cpp names it (`CUDA0`); `address` is its PCI address, where it says so.

    `kind` is ggml's number, None where the build does not say; sizes are bytes.
    """

    name: str
    api: str | None
    description: str
    total: int
    free: int
    kind: int | None = None
    address: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnWords:
    """What a build says: how it can compute, its CPU kernels, and all devices but the CPU.

    `text` is its answer.
    """

    text: str
    apis: tuple[str, ...]
    features: tuple[str, ...]
    devices: tuple[SeenDevice, ...]


def inspected(text: str) -> OwnWords | None:
    """The worker's line; None for anything else."""
    try:
        document = json.loads(text)
        devices = tuple(
            SeenDevice(
                name=str(each["name"]),
                api=api_of(str(each["name"])),
                description=str(each["description"]),
                total=_size(each["total"]),
                free=_size(each["free"]),
                kind=int(each["kind"]),
                address=str(each["address"]) or None,
            )
            for each in document["devices"]
        )
        info = str(document["system_info"])
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError):
        return None
    backends, features = system_info(info)
    seen = tuple(each for each in devices if each.kind != CPU_KIND)
    apis = {*backends, "cpu", *(each.api for each in seen if each.api)}
    return OwnWords(text=text, apis=tuple(sorted(apis)), features=features, devices=seen)


def system_info(line: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """`CUDA : ARCHS = 750 | CPU : SSE3 = 1 | AVX = 0 |` as ways of computing and instruction sets.

    Text before the first backend (llama-server's `n_threads = 4 / 8`) is passed over.
    """
    apis: set[str] = set()
    features: set[str] = set()
    backend = None
    for part in line.split("|"):
        named, colon, rest = part.partition(" : ")
        if colon:
            backend = named.strip()
            if backend in _BACKENDS:
                apis.add(_BACKENDS[backend])
        name, equals, value = (rest if colon else part).partition(" = ")
        if backend == "CPU" and equals and value.strip() == "1" and name.strip() in _FEATURES:
            features.add(_FEATURES[name.strip()])
    return tuple(sorted(apis)), tuple(sorted(features))


def listed_devices(text: str) -> tuple[SeenDevice, ...]:
    """The answer to `llama-server --list-devices`, which leaves out the CPU."""
    return tuple(
        SeenDevice(
            name=name,
            api=api_of(name),
            description=description,
            total=int(total) << 20,
            free=int(free) << 20,
        )
        for name, description, total, free in re.findall(_DEVICE, text, re.MULTILINE)
    )


def version(text: str) -> str | None:
    """`version: 9128 (856c3adac)` as `b9128`."""
    found = re.search(_VERSION, text, re.MULTILINE)
    if found is None:
        return None
    return f"b{found[1][:40]}" if found[1].isdigit() else found[1][:40]


def api_of(device: str) -> str | None:
    """`CUDA0` is driven by `cuda`."""
    return _BACKENDS.get(device.rstrip("0123456789"))


def _size(value: object) -> int:
    """Bytes; 0 for what no device has, such as the largest number that there is."""
    return value if isinstance(value, int) and 0 <= value < 1 << 50 else 0
