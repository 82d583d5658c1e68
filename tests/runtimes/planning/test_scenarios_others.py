"""The acceptance scenarios of fit.md 6.8 on Apple's, AMD's, Intel's and Qualcomm's. MiB where nothing is said."""

from __future__ import annotations

import dataclasses

import pytest

from registry.formats.facts import ModelFacts, TensorRow
from runtimes.hardware.machine import Device, Hardware, SpeedFigure
from runtimes.hardware.profiles import profile
from runtimes.planning.plan import plan
from runtimes.planning.speed import decode_speed, device_rate, weight_bytes_read
from runtimes.planning.values import Build, Plan, PlanRequest
from tests.runtimes.planning.library import (
    MIB,
    chosen,
    codes,
    facts,
    folder,
    ggufs,
    less,
    mib,
    with_engine,
)


def ask(machine: str | Hardware, model: str, context: int, **wishes: object) -> Plan:
    hardware = profile(machine) if isinstance(machine, str) else machine
    request = PlanRequest(context=context, context_is_pinned=True)
    return plan(ggufs(model), hardware, dataclasses.replace(request, **wishes))  # type: ignore[arg-type]


def calibrated(hardware: Hardware, overhead: float, efficiency: float) -> Hardware:
    """The machine with measured figures for llama.cpp on its GPU."""
    figure = SpeedFigure(
        engine="llama.cpp",
        place="gpu0",
        overhead=overhead,
        efficiency=efficiency,
        basis="measured",
        source="a calibration",
    )
    return dataclasses.replace(hardware, speeds=(figure, *hardware.speeds))


def test_29_a_macbook_air_of_8_gb() -> None:
    # 5120 - 819 = 4301 (the working set's 5461 x .95 = 5188 is more). 1918 + 896 + 86 + 104 = 3005
    # (2011.5 + 58.7) / (68.3 x .85) + 28 x .15 = 40 ms: 25; Q6_K would give 20
    result = ask("macbook-air-m1-8gb", "llama3.2:3b", 8192)
    best = chosen(result)
    assert (best.candidate.runtime, best.candidate.build.variant) == ("llama.cpp", "gguf-q4_k_m")
    assert (best.candidate.place, best.candidate.api) == ("gpu0", "metal")
    assert set(best.budget) == {"host"}
    assert mib(best.budget["host"]) == 4301
    assert mib(best.need.total) == pytest.approx(3005 - less("llama3.2:3b"), abs=1)
    assert best.speed is not None
    assert best.speed.expected == pytest.approx(25, abs=0.2)


def test_31_a_macbook_pro_of_64_gb_runs_an_8b_with_a_long_context() -> None:
    # Q6_K 6409 + 4608 + 144 + 113 = 11273, a quarter of what is there
    result = ask("macbook-pro-m3-max-64gb", "qwen3:8b", 32768)
    best = chosen(result)
    assert (best.candidate.runtime, best.candidate.build.variant) == ("llama.cpp", "gguf-q6_k")
    assert mib(best.need.total) == pytest.approx(11273 - less("qwen3:8b"), abs=1)
    assert best.need.total < 0.26 * best.budget["host"]
    assert best.speed is not None
    assert best.speed.expected == pytest.approx(44, abs=0.5)


def test_31_mlx_wins_the_tie_where_it_is_installed() -> None:
    # DESIGN.md 6, against the text: 6.66 GB in six bits, (6.66 + .0755) / (400 x .91) + 36 x .08 = 21 ms: 47
    machine = profile("macbook-pro-m3-max-64gb")
    builds = [*ggufs("qwen3:8b"), folder("qwen3:8b", "mlx", "q6-g64", 6_660_000_000)]
    request = PlanRequest(context=32768, context_is_pinned=True)
    without = plan(builds, machine, request)
    assert chosen(without).candidate.runtime == "llama.cpp"
    assert codes(without, runtime="mlx") == {"NOT_INSTALLED"}
    installed = plan(builds, with_engine(machine, "mlx", "metal"), request)
    best = chosen(installed)
    assert (best.candidate.runtime, best.candidate.build.variant) == ("mlx", "mlx-q6-g64")
    assert best.speed is not None
    assert best.speed.expected == pytest.approx(47, abs=0.5)
    # not an equal tier: four bits lose .06
    worse = [*ggufs("qwen3:8b"), folder("qwen3:8b", "mlx", "q4-g64", 4_610_000_000)]
    kept = plan(worse, with_engine(machine, "mlx", "metal"), request)
    assert chosen(kept).candidate.runtime == "llama.cpp"


def test_31_windows_keep_gemma_s_long_context_small() -> None:
    # 36 GB at 300 GB/s: Q6_K 3037 + 2734 + 215 + 151 = 6136; who counts full layers alone says 17408 for the cache
    machine = profile("macbook-pro-m3-max-64gb")
    device = dataclasses.replace(machine.devices[0], working_set=27648 * MIB, bandwidth=300_000_000_000)
    memory = dataclasses.replace(machine.memory, total=36864 * MIB, available=28000 * MIB)
    smaller = dataclasses.replace(machine, devices=(device,), memory=memory)
    result = ask(smaller, "gemma3:4b", 131_072)
    best = chosen(result)
    assert best.candidate.build.variant == "gguf-q6_k"
    assert mib(best.need.total) == pytest.approx(6136 - less("gemma3:4b"), abs=2)
    parts = {part.name: mib(part.bytes) for part in best.need.parts}
    assert parts["kv"] == 2734
    assert best.speed is not None
    assert best.speed.expected > 50


def test_32_a_linux_container_on_a_mac_has_no_metal() -> None:
    # 7000 - 800 = 6200; 1918 + 448 + 82 + 104 = 2553
    mac = profile("macbook-air-m1-8gb")
    guest = dataclasses.replace(
        mac,
        system="linux",
        container="docker",
        devices=(),
        speeds=(),
        cpu=dataclasses.replace(mac.cpu, model="Apple M1 (virtual)"),
        memory=dataclasses.replace(mac.memory, total=8000 * MIB, available=7000 * MIB),
    )
    result = ask(with_engine(guest, "llama.cpp", "cpu", features=("neon",)), "llama3.2:3b", 4096)
    best = chosen(result)
    assert (best.candidate.place, best.candidate.build.variant) == ("cpu", "gguf-q4_k_m")
    assert mib(best.budget["host"]) == 6200
    assert mib(best.need.total) == pytest.approx(2553 - less("llama3.2:3b"), abs=1)
    assert any("Metal" in note for note in result.notes)


def test_32_a_translated_python_is_told_to_be_native() -> None:
    mac = profile("macbook-air-m1-8gb")
    cpu = dataclasses.replace(mac.cpu, architecture="x86_64", features=("sse42",), performance=None)
    machine = dataclasses.replace(mac, emulated="rosetta", devices=(), cpu=cpu, speeds=())
    machine = with_engine(with_engine(machine, "llama.cpp", "cpu"), "mlx", "metal")
    builds = [*ggufs("llama3.2:3b"), folder("llama3.2:3b", "mlx", "q8-g64", 3_400_000_000)]
    result = plan(builds, machine, PlanRequest(context=4096, context_is_pinned=True))
    assert chosen(result).candidate.place == "cpu"
    assert "ISA_MISSING" in codes(result, runtime="mlx")
    assert any("rosetta" in note and "native" in note for note in result.notes)


@pytest.mark.parametrize(("native", "speed"), [(True, 30), (False, 19.8)])
def test_33_a_snapdragon_has_no_npu_build_of_phi_4_mini(native: bool, speed: float) -> None:
    # 10522 - 1560 = 8962; 2370 + 512 + 82 + 129 = 3094, and a tied embedding that is rearranged a second time
    # (481). The wheel is plain armv8: nothing is rearranged, .65 of the speed
    machine = profile("snapdragon-x-elite-16gb")
    if native:
        machine = with_engine(machine, "llama.cpp", "cpu", features=machine.cpu.features)
    machine = with_engine(machine, "onnxruntime-genai", "qnn")
    result = ask(machine, "phi4-mini:3.8b", 4096)
    best = chosen(result)
    assert mib(best.budget["host"]) == 8962
    assert (best.candidate.place, best.candidate.runtime) == ("cpu", "llama.cpp")
    assert best.candidate.build.variant == "gguf-q4_k_m"
    assert mib(best.need.total) == pytest.approx(
        3094 - less("phi4-mini:3.8b") + (481 if native else 0), abs=1
    )
    assert codes(result, runtime="onnxruntime-genai") == {"FORMAT_NO_RUNTIME"}
    # Adreno waits for a build with OpenCL
    assert any(each.code == "EP_MISSING" and each.runtime == "llama.cpp" for each in result.rejected)
    assert best.speed is not None
    (q4,) = [
        each
        for each in result.considered
        if each.candidate.build.variant == "gguf-q4_k_m" and each.candidate.shape.type_k == "f16"
    ]
    assert q4.speed is not None
    assert q4.speed.expected == pytest.approx(speed, rel=0.03)


def test_33_where_a_build_for_the_npu_exists_it_can_be_asked_for() -> None:
    machine = with_engine(profile("snapdragon-x-elite-16gb"), "onnxruntime-genai", "qnn")
    size = 3_710_000_000
    npu = Build(
        model="deepseek-r1:7b",
        variant="onnx-int4-qnn-npu",
        facts=dataclasses.replace(_qwen2_7b(), format="onnx", quantization="int4-qnn-npu", tensors=()),
        size=size,
        quantization="int4-qnn-npu",
    )
    gguf = Build(
        model="deepseek-r1:7b",
        variant="gguf-q4_k_m",
        facts=_qwen2_7b(),
        size=_qwen2_7b().tensor_bytes,
        quantization="Q4_K_M",
        importance_matrix=True,
    )
    request = PlanRequest(context=4096, context_is_pinned=True)
    # its int4 loses .072: a lower tier than Q4_K_M
    assert chosen(plan([npu, gguf], machine, request)).candidate.runtime == "llama.cpp"
    pinned = plan([npu, gguf], machine, dataclasses.replace(request, runtime="onnx"))
    best = chosen(pinned)
    assert (best.candidate.runtime, best.candidate.place) == ("onnxruntime-genai", "npu0")
    assert best.candidate.build is npu


def test_34_an_integrated_gpu_by_its_prior_and_after_calibration() -> None:
    # prior: (2636 + 58.7) / (136.5 x .6) + 28 x .12 = 36 ms: 27 tokens/s for Q6_K
    machine = profile("core-ultra-258v-32gb")
    by_prior = chosen(ask(machine, "llama3.2:3b", 8192))
    assert (by_prior.candidate.place, by_prior.candidate.api) == ("gpu0", "vulkan")
    assert by_prior.candidate.build.variant == "gguf-q6_k"
    assert mib(by_prior.budget["host"]) == 12000
    assert by_prior.speed is not None
    assert by_prior.speed.expected == pytest.approx(27, abs=1)
    # calibrated, c 300 us and .19: Q6_K 9, Q4_K_M (2011.5 + 58.7) / 25.9 + 8.4 = 88 ms: 11
    slow = calibrated(machine, 300e-6, 0.19)
    on_gpu = chosen(ask(slow, "llama3.2:3b", 8192, gpu_layers=99))
    assert (on_gpu.candidate.build.variant, on_gpu.candidate.place) == ("gguf-q4_k_m", "gpu0")
    assert on_gpu.speed is not None
    assert on_gpu.speed.expected == pytest.approx(11.3, abs=0.1)
    assert on_gpu.speed.basis == "measured"
    # the text stays on the GPU; the CPU's own prior is three times faster than what was measured, and comfortable
    result = ask(slow, "llama3.2:3b", 8192)
    best = chosen(result)
    assert (best.candidate.place, best.candidate.build.variant) == ("cpu", "gguf-q6_k")


def test_35_an_npu_is_compiled_for_a_short_context() -> None:
    machine = with_engine(profile("core-ultra-155h-16gb"), "onnxruntime-genai", "openvino")
    npu = folder("qwen3:1.7b", "onnx", "int4-openvino-npu", 1_100_000_000)
    builds = [*ggufs("qwen3:1.7b"), npu]
    # 1346 + 896 + 64 + 113 = 2419, and the tied embedding's 243 once more on a device that copies
    long = plan(builds, machine, PlanRequest(context=8192, context_is_pinned=True))
    best = chosen(long)
    assert (best.candidate.place, best.candidate.build.variant) == ("gpu0", "gguf-q6_k")
    assert best.candidate.api == "vulkan"
    assert mib(best.need.total) == pytest.approx(2419 - less("qwen3:1.7b") + 243, abs=2)
    assert best.speed is not None
    assert best.speed.expected >= 25
    assert "CTX_EXCEEDS_STATIC" in codes(long, runtime="onnxruntime-genai")
    # slower once measured, Q5_K_M is enough
    on_gpu = ask(calibrated(machine, 300e-6, 0.3), "qwen3:1.7b", 8192, gpu_layers=99)
    assert chosen(on_gpu).candidate.build.variant == "gguf-q5_k_m"
    # a context of 1,024 and 128 for the answer is what OpenVINO compiles for
    short = plan(builds, machine, PlanRequest(context=1024, context_is_pinned=True, runtime="onnx"))
    assert chosen(short).candidate.place == "npu0"


def test_37_a_calibrated_radeon_predicts_what_was_measured() -> None:
    machine = profile("rx-7900xt-20gb")
    rate = device_rate(machine, "llama.cpp", machine.devices[0], "rocm")
    for model, layers, measured in (("llama3.1:8b", 32, 115.5), ("llama3.2:3b", 28, 200)):
        (build,) = ggufs(model, labels=("Q4_K_M",))
        read = weight_bytes_read(build.facts, build.size, cpu=False)
        assert decode_speed(layers, read, rate).expected == pytest.approx(measured, rel=0.06)
    # Q6_K 7439, of which 411 stay on the host
    result = ask(machine, "llama3.1:8b", 8192)
    best = chosen(result)
    assert (best.candidate.build.variant, best.candidate.api) == ("gguf-q6_k", "rocm")
    assert mib(best.budget["gpu0"]) == 18500
    assert best.speed is not None
    assert best.speed.expected == pytest.approx(90, abs=0.5)


def test_37_an_integrated_radeon_is_driven_by_vulkan() -> None:
    machine = profile("ryzen-7950x-64gb")
    gpu = Device(
        id="gpu0",
        kind="gpu",
        vendor="amd",
        name="AMD Radeon 780M Graphics",
        apis=("rocm", "vulkan"),
        unified=True,
        bandwidth=89_600_000_000,
        capability="gfx1103",
        source="the test",
    )
    memory = dataclasses.replace(machine.memory, total=32000 * MIB, available=26000 * MIB)
    laptop = dataclasses.replace(machine, devices=(gpu,), memory=memory, speeds=())
    laptop = with_engine(laptop, "llama.cpp", "cpu", "rocm", "vulkan", features=("avx2", "fma"))
    result = ask(laptop, "qwen3:4b", 8192)
    best = chosen(result)
    assert (best.candidate.place, best.candidate.api) == ("gpu0", "vulkan")
    # 2376 + 1152 + 90 + 113 = 3731, and the tied embedding's 304 once more
    assert best.candidate.build.variant == "gguf-q4_k_m"
    assert mib(best.need.total) == pytest.approx(3731 - less("qwen3:4b") + 304, abs=2)


def test_38_bitnet_s_own_type_is_not_llama_cpp_s() -> None:
    machine = profile("server-cpu-4c-8gb")
    model = "bitnet:b1.58-2b-4t"
    rows = tuple(
        dataclasses.replace(row, type="I2_S") if row.type == "BF16" else row for row in facts(model).tensors
    )
    own = Build(
        model=model,
        variant="gguf-i2_s",
        facts=dataclasses.replace(facts(model), quantization="I2_S", tensors=rows),
        size=1_187_000_000,
        quantization="I2_S",
    )
    possible = [
        dataclasses.replace(each, made=False) for each in ggufs(model, labels=("TQ2_0", "Q4_K_M", "Q8_0"))
    ]
    request = PlanRequest(context=4096, context_is_pinned=True)
    result = plan([own, *possible], machine, request)
    best = chosen(result)
    # 771 + 300 + 70 + 104 = 1245
    assert (best.candidate.build.variant, result.flags) == ("gguf-tq2_0", ("NOT_MADE",))
    assert mib(best.need.total) == pytest.approx(1245 - less("bitnet:b1.58-2b-4t"), abs=1)
    assert codes(result, variant="gguf-i2_s", runtime="llama.cpp") == {"TYPE_UNSUPPORTED"}
    longer = plan([own, *possible], machine, dataclasses.replace(request, context=8192))
    assert longer.verdict == "nofit"
    assert "CTX_EXCEEDS_TRAIN" in codes(longer)


def test_40_installing_llama_cpp_is_better_than_onnx_on_a_cpu() -> None:
    # linears 250 MB and the embedding's 622 in F32; cache in F32 at 4,096: 896, against Q5_K_M's 1011 in all
    base = profile("server-cpu-4c-8gb")
    windows = dataclasses.replace(base, system="win32")
    windows = with_engine(windows, "llama.cpp", installed=False, install="pip install xllamacpp")
    windows = with_engine(windows, "onnxruntime-genai", "cpu")
    int4 = folder("qwen3:0.6b", "onnx", "int4-cpu", 872_000_000)
    request = PlanRequest(context=4096, context_is_pinned=True)
    result = plan([*ggufs("qwen3:0.6b"), int4], windows, request)
    best = chosen(result)
    assert best.candidate.runtime == "llama.cpp"
    assert "NOT_INSTALLED" in result.flags
    assert any("pip install xllamacpp" in note for note in result.notes)
    assert "QUALITY_FLOOR" in codes(result, variant="onnx-int4-cpu")
    pinned = plan([*ggufs("qwen3:0.6b"), int4], windows, dataclasses.replace(request, runtime="onnx"))
    onnx = chosen(pinned)
    assert onnx.candidate.build is int4
    parts = {part.name: mib(part.bytes) for part in onnx.need.parts}
    assert parts["kv"] == 896
    assert onnx.need.total > 1.7 * 1011 * MIB


def _qwen2_7b() -> ModelFacts:
    """Qwen2.5-7B as Q4_K_M, about: DeepSeek-R1-Distill-Qwen-7B's config.json with all linears at 4.9 bits."""
    hidden, wide, vocabulary, layers = 3584, 18944, 152064, 28
    sizes = {
        "attn_q": hidden * hidden,
        "attn_k": hidden * 512,
        "attn_v": hidden * 512,
        "attn_output": hidden * hidden,
        "ffn_gate": hidden * wide,
        "ffn_up": hidden * wide,
        "ffn_down": hidden * wide,
    }
    rows = [_row(name, layers, elements * layers) for name, elements in sizes.items()]
    rows += [_row("token_embd", 1, hidden * vocabulary), _row("output", 1, hidden * vocabulary)]
    return ModelFacts(
        format="gguf",
        architecture="qwen2",
        quantization="Q4_K_M",
        parameters=7_615_616_512,
        layers=layers,
        hidden=hidden,
        feed_forward=wide,
        heads=28,
        kv_heads=4,
        head_size_k=128,
        head_size_v=128,
        vocabulary=vocabulary,
        trained_context=131_072,
        tied_embeddings=False,
        tensors=tuple(rows),
    )


def _row(name: str, count: int, elements: int) -> TensorRow:
    size = elements // 256 * 144
    return TensorRow(tensor_class=name, type="Q4_K", count=count, columns=None, elements=elements, bytes=size)
