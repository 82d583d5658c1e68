"""Where engines could run, and the reason codes for where they cannot."""

from __future__ import annotations

import dataclasses

import pytest

from runtimes.engines.llamacpp_paper import LLAMA_CPP_ON_PAPER
from runtimes.engines.mlx import MLX_ON_PAPER
from runtimes.engines.onnx import ONNX_ON_PAPER, provider_of
from runtimes.engines.paper import PaperEngine, Placement, version_parts
from runtimes.engines.vllm import VLLM_ON_PAPER
from runtimes.hardware.machine import Hardware
from runtimes.hardware.profiles import profile
from runtimes.planning.candidates import PAPER_ENGINES, is_runtime, of_variant
from runtimes.planning.values import Build, Shape
from tests.runtimes.planning.library import folder, ggufs, with_engine

MLX = folder("qwen3:4b", "mlx", "q4-g64", 2_260_000_000)
FP8 = folder("qwen3:4b", "safetensors", "fp8", 4_800_000_000)
BF16 = folder("qwen3:4b", "safetensors", "bf16", 8_045_000_000)
(GGUF,) = ggufs("qwen3:4b", labels=("Q4_K_M",))


def found(engine: PaperEngine, build: Build, hardware: Hardware) -> list[str]:
    """`place api` where it runs, and the codes of the other places."""
    gate = engine.gate(hardware) or engine.refuses(build)
    if gate is not None:
        return [gate.code]
    places = engine.placements(build, hardware)
    return [f"{each.place} {each.api}" if isinstance(each, Placement) else each.code for each in places]


def with_gpu(hardware: Hardware, **changed: object) -> Hardware:
    device = dataclasses.replace(hardware.devices[0], **changed)  # type: ignore[arg-type]
    return dataclasses.replace(hardware, devices=(device, *hardware.devices[1:]))


RTX = profile("rtx-3060-12gb")
MAC = profile("macbook-air-m1-8gb")


@pytest.mark.parametrize(
    ("hardware", "expected"),
    [
        (RTX, ["cpu cpu", "gpu0 cuda"]),
        (with_engine(RTX, "llama.cpp", "cpu"), ["cpu cpu", "EP_MISSING"]),
        (with_engine(RTX, "llama.cpp", "cpu", "vulkan"), ["cpu cpu", "gpu0 vulkan"]),
        # the engine's own word on what it sees wins
        (with_engine(RTX, "llama.cpp", "cpu", "cuda", devices=()), ["cpu cpu", "EP_MISSING"]),
        (with_gpu(RTX, driver="470.57.02"), ["cpu cpu", "DRIVER_OLD"]),
        (with_gpu(RTX, driver="525.60.13"), ["cpu cpu", "gpu0 cuda"]),
        (MAC, ["cpu cpu", "gpu0 metal"]),
        (profile("strix-halo-128gb"), ["cpu cpu", "gpu0 vulkan"]),
        (profile("rx-7900xt-20gb"), ["cpu cpu", "gpu0 rocm"]),
        (profile("core-ultra-155h-16gb"), ["cpu cpu", "gpu0 vulkan"]),
    ],
)
def test_llama_cpp_runs_on_what_its_build_can_drive(hardware: Hardware, expected: list[str]) -> None:
    assert found(LLAMA_CPP_ON_PAPER, GGUF, hardware) == expected


def test_llama_cpp_refuses_what_it_cannot_read() -> None:
    assert found(LLAMA_CPP_ON_PAPER, MLX, RTX) == ["FORMAT_NO_RUNTIME"]
    fork = dataclasses.replace(GGUF, facts=dataclasses.replace(GGUF.facts, architecture="bitnet-b1.58"))
    assert found(LLAMA_CPP_ON_PAPER, fork, RTX) == ["ARCH_UNSUPPORTED"]
    old = dataclasses.replace(RTX, cpu=dataclasses.replace(RTX.cpu, features=("sse3",)))
    assert found(LLAMA_CPP_ON_PAPER, GGUF, old) == ["ISA_MISSING"]


@pytest.mark.parametrize(
    ("hardware", "expected"),
    [
        (MAC, ["gpu0 metal"]),
        (RTX, ["cpu cpu", "gpu0 cuda"]),
        (with_gpu(RTX, capability="7.5"), ["cpu cpu", "gpu0 cuda"]),
        (with_gpu(RTX, capability="7.0"), ["cpu cpu", "EP_MISSING"]),
        (with_gpu(RTX, driver="545.23"), ["cpu cpu", "DRIVER_OLD"]),
        (dataclasses.replace(RTX, system="win32"), ["EP_MISSING"]),
        (profile("celeron-sse42"), ["ISA_MISSING"]),
        (profile("raspberry-pi-5-8gb"), ["cpu cpu"]),
        (dataclasses.replace(MAC, emulated="rosetta"), ["ISA_MISSING"]),
    ],
)
def test_mlx_s_gates(hardware: Hardware, expected: list[str]) -> None:
    assert found(MLX_ON_PAPER, MLX, hardware) == expected


@pytest.mark.parametrize(
    ("build", "hardware", "expected"),
    [
        (BF16, RTX, ["gpu0 cuda"]),
        (FP8, RTX, ["EP_MISSING"]),  # 8.6, FP8 needs 8.9
        (FP8, profile("rtx-4090-24gb"), ["gpu0 cuda"]),
        (BF16, with_gpu(RTX, capability="6.1"), ["EP_MISSING"]),
        (BF16, profile("jetson-orin-nano-8gb"), ["EP_MISSING"]),
        (BF16, profile("vps-2cpu-4gb"), ["ISA_MISSING"]),
        (BF16, profile("ryzen-7950x-64gb"), ["EP_MISSING"]),
        (BF16, MAC, ["EP_MISSING"]),
        (GGUF, RTX, ["FORMAT_NO_RUNTIME"]),
    ],
)
def test_vllm_s_gates(build: Build, hardware: Hardware, expected: list[str]) -> None:
    assert found(VLLM_ON_PAPER, build, hardware) == expected


@pytest.mark.parametrize(
    ("label", "machine", "provider", "expected"),
    [
        ("int4-cpu", "vps-2cpu-4gb", "cpu", ["cpu cpu"]),
        ("int4-cuda", "rtx-3060-12gb", "cuda", ["gpu0 cuda"]),
        ("int4-cuda", "vps-2cpu-4gb", "cuda", ["EP_MISSING"]),
        ("int4-qnn-npu", "snapdragon-x-elite-16gb", "qnn", ["npu0 qnn"]),
        ("int4-openvino-npu", "core-ultra-155h-16gb", "openvino", ["npu0 openvino"]),
        ("int4-openvino-gpu", "core-ultra-155h-16gb", "openvino-gpu", ["gpu0 openvino"]),
        ("int4-qnn-npu", "core-ultra-155h-16gb", "qnn", ["EP_MISSING"]),
    ],
)
def test_an_onnx_build_is_for_one_provider(
    label: str, machine: str, provider: str, expected: list[str]
) -> None:
    build = folder("qwen3:4b", "onnx", label, 10**9)
    assert provider_of(build) == provider
    assert found(ONNX_ON_PAPER, build, profile(machine)) == expected


def test_every_engine_says_what_it_needs_where_it_runs() -> None:
    for engine in PAPER_ENGINES:
        for build in (GGUF, MLX, FP8, BF16, folder("qwen3:4b", "onnx", "int4-cpu", 10**9)):
            if engine.refuses(build) is not None:
                continue
            for placement in engine.placements(build, profile("rtx-4090-24gb")):
                if isinstance(placement, Placement):
                    for cache_type in engine.cache_types(placement):
                        shape = Shape(context=4096, type_k=cache_type, type_v=cache_type)
                        need = engine.need(build, shape, placement, frozenset({"avx2"}))
                        pool = "host" if placement.device is None else placement.place
                        assert need.of(pool) >= build.size * 0.9 or engine.name == "llama.cpp"
                        assert need.total > build.size * 0.9


def test_a_driver_s_version_is_read_as_far_as_it_is_one() -> None:
    assert version_parts("550.54.14") == (550, 54, 14)
    assert version_parts("xe") == version_parts(None) == ()
    assert version_parts("1.2-rc3") == (1,)


def test_variants_are_found_by_parts_of_their_ids() -> None:
    builds = ggufs("qwen3:4b", labels=("Q4_K_M", "Q4_K_S", "Q4_0", "Q8_0"))

    def ids(asked: str) -> list[str]:
        return [build.variant for build in of_variant(builds, asked)]

    assert ids("Q4_K_M") == ["gguf-q4_k_m"]
    assert ids("gguf-q8_0") == ["gguf-q8_0"]
    assert ids("q4_k") == ["gguf-q4_k_m", "gguf-q4_k_s"]
    assert ids("q5") == []
    assert is_runtime("onnxruntime-genai", "onnx")
    assert not is_runtime("llama.cpp", "mlx")
