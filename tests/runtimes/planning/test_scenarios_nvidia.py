"""The acceptance scenarios of fit.md 6.8 on NVIDIA's devices. MiB where nothing is said."""

from __future__ import annotations

import dataclasses

import pytest

from runtimes.hardware.machine import Hardware
from runtimes.hardware.profiles import profile
from runtimes.planning.plan import plan
from runtimes.planning.speed import decode_speed, device_rate, weight_bytes_read
from runtimes.planning.values import Build, Plan, PlanRequest
from tests.runtimes.planning.library import chosen, codes, facts, folder, ggufs, less, mib

_TIED = {"qwen3:4b": 304, "phi4-mini:3.8b": 481}
"""A tied embedding in Q6_K, which is held twice: for the look-up on the host, as the output on the device."""


def ask(machine: str | Hardware, model: str, context: int, *siblings: str, parallel: int = 1) -> Plan:
    hardware = profile(machine) if isinstance(machine, str) else machine
    request = PlanRequest(context=context, context_is_pinned=True, parallel=parallel)
    return plan(ggufs(model), hardware, request, ggufs(*siblings))


def safetensors(model: str) -> list[Build]:
    """In 16 bits, and in FP8: one byte for each weight of the linears, two for embedding and output."""
    bf16 = dataclasses.replace(facts(model), format="safetensors", quantization="bf16")
    whole = Build(
        model=model,
        variant="safetensors-bf16",
        facts=bf16,
        size=bf16.tensor_bytes,
        quantization="bf16",
    )
    return [whole, folder(model, "safetensors", "fp8", 9_080_000_000)]


def test_17_a_jetson_has_one_memory_for_both() -> None:
    # 5325 - 762 = 4563; Q4_K_M 2376 + 576 + 86 + 113 = 3151, and the tied embedding a second time: 3455
    # (2491.3 + 75.5) / (102 x .45) + 36 x .15 = 61 ms: 16.3
    result = ask("jetson-orin-nano-8gb", "qwen3:4b", 4096)
    best = chosen(result)
    assert (best.candidate.build.variant, best.candidate.shape.type_k) == ("gguf-q4_k_m", "f16")
    assert (best.candidate.place, best.candidate.api) == ("gpu0", "cuda")
    assert best.candidate.shape.gpu_layers == 37
    assert set(best.budget) == {"host"}
    assert mib(best.budget["host"]) == 4563
    assert mib(best.need.total) == pytest.approx(3151 - less("qwen3:4b") + _TIED["qwen3:4b"], abs=1)
    assert best.speed is not None
    assert best.speed.expected == pytest.approx(16.3, abs=0.1)


def test_18_there_an_8b_gets_three_bits_and_a_4b_is_recommended() -> None:
    # with q8_0 caches: Q4_K_M 5190, IQ4_XS 4739, Q3_K_L 4619, Q3_K_M 3825 + 272 + 128 + 104 = 4330 x 1.03 = 4460
    result = ask("jetson-orin-nano-8gb", "llama3.1:8b", 4096, "qwen3:4b")
    best = chosen(result)
    assert (best.candidate.build.variant, best.candidate.shape.type_k) == ("gguf-q3_k_m", "q8_0")
    assert (result.tier, result.flags) == ("compact", ("KV_Q8",))
    assert mib(best.need.total) == pytest.approx(4330 - less("llama3.1:8b"), abs=1)
    assert best.quality.loss == pytest.approx(0.0854, abs=0.0001)
    # types below four bits cost more than their bytes: 10.4, where the text has 11
    assert best.speed is not None
    assert best.speed.expected == pytest.approx(10.4, abs=0.1)
    for variant in ("gguf-q4_k_m", "gguf-iq4_xs", "gguf-q3_k_l"):
        assert codes(result, variant=variant) == {"MEM_HOST"}
    (smaller,) = result.alternatives
    assert (smaller.candidate.build.model, smaller.candidate.build.variant) == ("qwen3:4b", "gguf-q4_k_m")


def test_19_a_card_of_12_gb_takes_an_8b_nearly_without_loss() -> None:
    # 11524 - 1024 = 10500. Q6_K 6283 + 1024 + 132 = 7439; the untied embedding's 411 stay on the host: 7028
    # (6588.2 - 430.9 + 67.1) / (360 x .88) + 32 x .08 = 22 ms: 45
    result = ask("rtx-3060-12gb", "llama3.1:8b", 8192)
    best = chosen(result)
    assert (best.candidate.build.variant, best.candidate.shape.type_k) == ("gguf-q6_k", "f16")
    assert (result.tier, result.flags) == ("near-lossless", ())
    assert best.candidate.shape.gpu_layers == 33
    assert mib(best.budget["gpu0"]) == 10500
    assert mib(best.need.of("gpu0")) == pytest.approx(7439 - 411, abs=2)
    assert best.speed is not None
    assert best.speed.expected == pytest.approx(45, abs=0.5)


def test_21_a_card_of_24_gb_for_one_user() -> None:
    # Q6_K 6409 + 4608 + 144 = 11161; vLLM would take 24564 x .9 = 22107 for it
    builds = [*ggufs("qwen3:8b"), *safetensors("qwen3:8b")]
    request = PlanRequest(context=32768, context_is_pinned=True)
    result = plan(builds, profile("rtx-4090-24gb"), request)
    best = chosen(result)
    assert (best.candidate.runtime, best.candidate.build.variant) == ("llama.cpp", "gguf-q6_k")
    assert best.candidate.shape.type_k == "f16"
    assert best.speed is not None
    assert best.speed.expected == pytest.approx(113, abs=1)
    (against,) = [each for each in result.rejected if each.runtime == "vllm" and each.code == "DOMINATED"]
    assert "22,107 MiB" in against.detail


def test_22_for_sixteen_users_there_vllm_has_room_for_their_caches() -> None:
    # .9 x 24564 = 22108. BF16 15317 + 1536 + 16 x 512 = 25045: no; FP8 8659 + 1536 + 8192 = 18387
    builds = [*ggufs("llama3.1:8b"), *safetensors("llama3.1:8b")]
    request = PlanRequest(context=4096, context_is_pinned=True, parallel=16)
    result = plan(builds, profile("rtx-4090-24gb"), request)
    best = chosen(result)
    assert (best.candidate.runtime, best.candidate.build.variant) == ("vllm", "safetensors-fp8")
    assert (best.candidate.shape.type_k, best.candidate.shape.parallel) == ("f16", 16)
    assert mib(best.budget["gpu0"]) == pytest.approx(22108, abs=1)
    assert mib(best.need.of("gpu0")) == pytest.approx(18387, abs=1)
    assert "MEM_DEVICE" in codes(result, variant="safetensors-bf16", runtime="vllm")


def test_23_for_sixty_four_users_with_long_contexts_the_cache_is_what_is_quantized() -> None:
    # .9 x 81559 = 73403. BF16 15317 + 2048 + 64 x 1024: no; FP8 8659 + 2048 + 65536: no
    # BF16 with a cache of a byte: 15317 + 1536 + 32768 = 49621 (the text takes 2048 for the overhead)
    builds = [*ggufs("llama3.1:8b"), *safetensors("llama3.1:8b")]
    request = PlanRequest(context=8192, context_is_pinned=True, parallel=64)
    result = plan(builds, profile("h100-80gb"), request)
    best = chosen(result)
    assert (best.candidate.runtime, best.candidate.build.variant) == ("vllm", "safetensors-bf16")
    assert best.candidate.shape.type_k == "fp8"
    assert mib(best.need.of("gpu0")) == pytest.approx(49621, abs=1)


def test_25_a_laptop_card_of_4_gb() -> None:
    # 3812 - 512 = 3300. Q5_K_M 3271 x 1.03 = 3369: no; Q4_K_M 2370 + 512 + 82 = 2965, x 1.03 = 3053; on the host
    # the tied embedding's 481
    result = ask("laptop-rtx-3050-4gb", "phi4-mini:3.8b", 4096)
    best = chosen(result)
    assert (best.candidate.build.variant, best.candidate.place) == ("gguf-q4_k_m", "gpu0")
    assert best.candidate.shape.gpu_layers == 33
    assert mib(best.budget["gpu0"]) == 3300
    assert mib(best.need.of("gpu0")) == pytest.approx(2965, abs=1)
    host = {part.name: mib(part.bytes) for part in best.need.parts if part.pool == "host"}
    assert host["weights"] == _TIED["phi4-mini:3.8b"]
    assert best.speed is not None
    assert best.speed.expected == pytest.approx(54, abs=0.5)


def test_27_a_calibrated_card_of_2016() -> None:
    # without a cache to read, Q4_K_M: 28 x .147 + 390.8 / 43.7 = 13.06 ms: 76.6, measured 76.9
    machine = profile("gtx-1050ti-4gb")
    rate = device_rate(machine, "llama.cpp", machine.devices[0], "cuda")
    (build,) = ggufs("qwen3:0.6b", labels=("Q4_K_M",))
    predicted = decode_speed(28, weight_bytes_read(build.facts, build.size, cpu=False), rate).expected
    assert predicted == pytest.approx(76.6, abs=0.1)
    assert predicted == pytest.approx(76.9, rel=0.05)
    # Q6_K 466 + 448 + 32 = 947; (489.2 + 58.7) / 43.7 + 4.1 = 16.7 ms: 60
    result = ask(machine, "qwen3:0.6b", 4096)
    best = chosen(result)
    assert (best.candidate.build.variant, best.candidate.place) == ("gguf-q6_k", "gpu0")
    assert mib(best.need.of("gpu0")) == pytest.approx(947, abs=1)
    assert best.speed is not None
    assert best.speed.expected == pytest.approx(60, abs=0.5)


def test_a_model_too_large_for_its_card_is_shared_out_when_that_is_worth_it() -> None:
    # not in fit.md: 8B on 4 GB beside a slow memory. At 4,096 about half of the layers are on the card
    machine = profile("laptop-rtx-3050-4gb")
    slow = dataclasses.replace(machine.memory, bandwidth=25_600_000_000)
    result = ask(dataclasses.replace(machine, memory=slow), "llama3.1:8b", 4096)
    best = chosen(result)
    assert "GPU_SPLIT" in result.flags
    assert 0 < best.candidate.shape.gpu_layers < 33
    # Q4_K_S is smaller, but by less than 5 percent
    assert best.candidate.build.variant == "gguf-q4_k_m"
    assert best.need.of("gpu0") * best.need.margin <= best.budget["gpu0"]
    pinned = PlanRequest(context=4096, context_is_pinned=True, gpu_layers=0)
    alone = chosen(plan(ggufs("llama3.1:8b"), dataclasses.replace(machine, memory=slow), pinned))
    assert best.speed is not None
    assert alone.speed is not None
    assert best.speed.expected >= 1.5 * alone.speed.expected
