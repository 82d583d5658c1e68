"""The acceptance scenarios of fit.md 6.8 without a GPU, with the profiles that ship. MiB where nothing is said."""

from __future__ import annotations

import dataclasses

import pytest

from runtimes.hardware.machine import Hardware
from runtimes.hardware.profiles import profile
from runtimes.planning.plan import plan
from runtimes.planning.values import Plan, PlanRequest
from tests.runtimes.planning.library import chosen, codes, ggufs, less, mib, with_engine


def ask(machine: str | Hardware, model: str, context: int, *siblings: str) -> Plan:
    hardware = profile(machine) if isinstance(machine, str) else machine
    request = PlanRequest(context=context, context_is_pinned=True)
    return plan(ggufs(model), hardware, request, ggufs(*siblings))


def pi_with_dotprod() -> Hardware:
    """A Raspberry Pi 5 with a llama.cpp built for it, which the text of fit.md speaks of."""
    return with_engine(
        profile("raspberry-pi-5-8gb"), "llama.cpp", "cpu", features=("dotprod", "fp16", "neon")
    )


def test_1_a_raspberry_pi_takes_qwen3_1_7b_in_five_bits() -> None:
    # budget 7100 - 806 = 6294; Q5_K_M 1194 + 448 + 60 + 113 = 1815; a CPU with the dot product rearranges Q6_K,
    # and so holds the tied embedding's 243 twice, for the look-up and as the output: 2058, x 1.03 = 2119
    # 17.07 GB/s x .60 = 10.24; (1251.9 + 512 x 114688 / 1e6) / 10.24 + 28 x .25 = 135 ms: 7.4 tokens/s
    result = ask(pi_with_dotprod(), "qwen3:1.7b", 4096)
    best = chosen(result)
    assert (best.candidate.build.variant, best.candidate.shape.type_k) == ("gguf-q5_k_m", "f16")
    assert result.flags == ()
    assert (best.candidate.shape.context, best.candidate.place) == (4096, "cpu")
    assert result.launch is not None
    assert result.launch.threads == 4
    assert mib(best.budget["host"]) == 6294
    assert mib(best.need.total) == pytest.approx(1815 - less("qwen3:1.7b") + 243, abs=1)
    assert best.speed is not None
    assert best.speed.expected == pytest.approx(7.4, abs=0.05)
    assert best.quality.loss == pytest.approx(0.0151, abs=0.0001)
    # why not better: Q6_K gives 6.6, an upgrade is for 25 and more
    assert result.binding is not None
    assert (result.binding.code, result.binding.variant) == ("SPEED_FLOOR", "gguf-q6_k")
    assert "6.6 tokens/s" in result.binding.detail


def test_1_with_the_wheel_which_has_no_dot_product_the_same_build_is_slow() -> None:
    # 10.24 x .65 = 6.66 GB/s: 1310.6 / 6.66 + 7 = 204 ms: 4.9 tokens/s, and nothing balanced is faster
    result = ask("raspberry-pi-5-8gb", "qwen3:1.7b", 4096)
    best = chosen(result)
    assert best.candidate.build.variant == "gguf-q5_k_m"
    assert mib(best.need.total) == pytest.approx(1815 - less("qwen3:1.7b"), abs=1)
    assert result.flags == ("SLOW",)
    assert best.speed is not None
    assert best.speed.expected == pytest.approx(4.9, abs=0.05)
    assert (
        "a build of llama.cpp that uses dotprod",
        "about 7.5 tokens/s instead of 4.9",
    ) in result.would_change


@pytest.mark.parametrize(("native", "speed"), [(True, 4.8), (False, 3.1)])
def test_2_a_slow_3b_keeps_its_quality_and_a_smaller_model_is_offered(native: bool, speed: float) -> None:
    # Q4_K_M 1918 + 448 + 82 + 104 = 2553, with the dot product the tied embedding's 308 twice; (2011.5 + 58.7) / 10.24 + 28 x .25 = 209 ms: 4.8 (published 4.5-5.6)
    machine = pi_with_dotprod() if native else profile("raspberry-pi-5-8gb")
    result = ask(machine, "llama3.2:3b", 4096, "qwen3:1.7b", "qwen3:0.6b")
    best = chosen(result)
    assert (best.candidate.build.variant, result.flags) == ("gguf-q4_k_m", ("SLOW",))
    assert mib(best.need.total) == pytest.approx(2553 - less("llama3.2:3b") + (308 if native else 0), abs=1)
    assert best.speed is not None
    assert best.speed.expected == pytest.approx(speed, abs=0.05)
    # 1.7B gives 7.4 with the dot product, 4.9 with the wheel: then the 0.6B comes first
    offered = [each.candidate.build.model for each in result.alternatives]
    assert offered[0] == ("qwen3:1.7b" if native else "qwen3:0.6b")
    assert "qwen3:1.7b" in offered


@pytest.mark.parametrize(("native", "speed", "mapped"), [(True, 2.1, False), (False, 1.4, True)])
def test_3_an_8b_fits_a_raspberry_pi_just_so(native: bool, speed: float, mapped: bool) -> None:
    # 4685 + 1024 + 132 + 104 = 5946, x 1.03 = 6124 <= 6294
    machine = pi_with_dotprod() if native else profile("raspberry-pi-5-8gb")
    result = ask(machine, "llama3.1:8b", 8192)
    best = chosen(result)
    assert (best.candidate.build.variant, result.flags) == ("gguf-q4_k_m", ("SLOW",))
    assert mib(best.need.total) == pytest.approx(5946 - less("llama3.1:8b"), abs=1)
    assert best.speed is not None
    assert best.speed.expected == pytest.approx(speed, abs=0.05)
    # the dot product's layout makes copies of the weights: with 170 MiB to spare the file is not mapped beside
    # them; plain armv8 copies nothing
    assert result.launch is not None
    assert result.launch.mmap == mapped


def test_5_a_small_server_takes_qwen3_4b_with_a_quantized_cache() -> None:
    # budget 3412 - 512 = 2900. Q4_K_M f16 3151, with a q8_0 cache 2881 x 1.03 = 2967: both too much
    # Q4_K_S with q8_0: 2267 + 306 + 86 + 113 = 2772, x 1.03 = 2855; loss .0372 + .001 against Q3_K_M's .098
    result = ask("vps-2cpu-4gb", "qwen3:4b", 4096, "qwen3:1.7b")
    best = chosen(result)
    assert (best.candidate.build.variant, best.candidate.shape.type_k) == ("gguf-q4_k_s", "q8_0")
    assert result.flags == ("SLOW", "KV_Q8")
    assert result.tier == "compact"
    assert mib(best.budget["host"]) == 2900
    assert mib(best.need.total) == pytest.approx(2772 - less("qwen3:4b"), abs=1)
    assert best.quality.loss == pytest.approx(0.0382, abs=0.0001)
    assert best.speed is not None
    assert best.speed.expected == pytest.approx(4.5, abs=0.05)
    assert codes(result, variant="gguf-q4_k_m") == {"MEM_HOST"}
    (smaller,) = result.alternatives
    assert (smaller.candidate.build.model, smaller.candidate.build.variant) == ("qwen3:1.7b", "gguf-q5_k_m")
    assert smaller.speed is not None
    assert smaller.speed.expected == pytest.approx(8.3, abs=0.05)


def test_6_an_8b_does_not_fit_there_and_what_would_is_planned() -> None:
    # the smallest, Q2_K with a q8_0 cache: 3124 + 306 + 116 + 113 = 3659 > 2900; swap is not counted
    result = ask("vps-2cpu-4gb", "qwen3:8b", 4096, "qwen3:4b", "qwen3:1.7b")
    assert result.verdict == "nofit"
    assert result.binding is not None
    assert (result.binding.code, result.binding.variant) == ("MEM_HOST", "gguf-q2_k")
    assert result.binding.need is not None
    assert mib(result.binding.need) == pytest.approx((3659 - less("qwen3:8b")) * 1.03, abs=2)
    offered = {
        (each.candidate.build.model, each.candidate.build.variant, each.candidate.shape.type_k)
        for each in result.alternatives
    }
    assert offered == {("qwen3:4b", "gguf-q4_k_s", "q8_0"), ("qwen3:1.7b", "gguf-q5_k_m", "f16")}


def test_7_a_container_is_planned_for_its_own_limit() -> None:
    # 2048 - 60 - 205 = 1783; Q5_K_M f16 1815 x 1.03 = 1869: no; with q8_0 1194 + 238 + 60 + 113 = 1605, 1653
    result = ask("container-2gb", "qwen3:1.7b", 4096)
    best = chosen(result)
    assert (best.candidate.build.variant, best.candidate.shape.type_k) == ("gguf-q5_k_m", "q8_0")
    assert result.flags == ("KV_Q8",)
    assert result.tier == "balanced"
    assert mib(best.budget["host"]) == 1783
    assert mib(best.need.total) == pytest.approx(1605 - less("qwen3:1.7b"), abs=1)
    assert best.quality.loss == pytest.approx(0.0161, abs=0.0001)
    assert result.launch is not None
    assert (result.launch.threads, result.launch.cache_ram) == (2, 0)
    assert result.binding is not None
    assert result.binding.code == "MEM_CGROUP"
    # (1783 + 68) / .9 = 2057 MiB; what the host has free does not matter
    assert ("a memory limit of 2.1 GiB", "f16 KV cache") in result.would_change
    assert not any("free" in condition for condition, _ in result.would_change)
    # who looks at the host's 64 GiB takes a near-lossless build and a prompt cache
    host = profile("container-2gb")
    blind = dataclasses.replace(host, memory=dataclasses.replace(host.memory, limits=()))
    unlimited = ask(blind, "qwen3:1.7b", 4096)
    assert mib(chosen(unlimited).need.total) > 1783
    assert unlimited.launch is not None
    assert unlimited.launch.cache_ram == 2048 * 2**20


def test_8_in_the_same_container_a_4b_does_not_fit_and_the_limit_is_named() -> None:
    # Q2_K with q8_0: 1586 + 306 + 86 + 113 = 2091 > 1783
    result = ask("container-2gb", "qwen3:4b", 4096, "qwen3:1.7b")
    assert result.verdict == "nofit"
    assert result.binding is not None
    assert result.binding.code == "MEM_CGROUP"
    assert "/sys/fs/cgroup/memory.max = 2147483648" in result.binding.detail
    assert {each.candidate.build.model for each in result.alternatives} == {"qwen3:1.7b"}
    # the text says 2967 + 205 + 60 = 3.2 GiB, but the reserve grows with the limit: (2967 + 60) / .9 = 3363
    limits = [gain for condition, gain in result.would_change if condition == "a memory limit of 3.3 GiB"]
    assert limits == ["qwen3:4b gguf-q4_k_m, context 4,096, q8_0 KV"]
    assert not any("free" in condition for condition, _ in result.would_change)


def test_10_a_cgroup_of_the_first_version_with_one_and_a_half_cpus() -> None:
    # 1024 - 128 = 896; Q6_K loses .0108, Q8_0 takes 632 of 896: Q5_K_M 275 + 160 + 28 + 77 = 540
    result = ask("container-v1-1gb", "smollm2:360m", 4096)
    best = chosen(result)
    assert (best.candidate.build.variant, best.candidate.shape.type_k) == ("gguf-q5_k_m", "f16")
    assert mib(best.budget["host"]) == 896
    assert mib(best.need.total) == pytest.approx(540 - less("smollm2:360m"), abs=1)
    assert result.launch is not None
    assert result.launch.threads == 1
    # below a billion parameters no cache is quantized unasked
    assert codes(result, variant="gguf-q5_k_m") == {"KV_QUANT_UNSAFE"}


def test_12_threads_are_those_that_the_process_may_use() -> None:
    host = profile("ryzen-7950x-64gb")
    cpu = dataclasses.replace(host.cpu, logical=16, physical=8, affinity=4)
    result = ask(dataclasses.replace(host, cpu=cpu), "llama3.2:3b", 4096)
    assert result.launch is not None
    assert (result.launch.threads, result.launch.batch_threads) == (4, 4)


def test_13_a_desktop_cpu_takes_what_is_comfortable_not_what_fits() -> None:
    # 83.2 x .74 = 61.6 GB/s: Q6_K (2636 + 58.7) / 61.6 + 28 x .015 = 44 ms: 22.6 < 25 (the text says 21.6)
    # Q4_K_M (2011.5 + 58.7) / 61.6 + .42 = 34 ms: 29.4; need 1918 + 896 + 86 + 104 = 3005
    result = ask("ryzen-7950x-64gb", "llama3.2:3b", 8192)
    best = chosen(result)
    assert (best.candidate.build.variant, best.candidate.shape.type_k) == ("gguf-q4_k_m", "f16")
    assert mib(best.need.total) == pytest.approx(3005 - less("llama3.2:3b"), abs=1)
    assert best.speed is not None
    assert best.speed.expected == pytest.approx(29.3, abs=0.2)
    assert result.launch is not None
    assert 4 <= result.launch.threads <= 8
    assert result.launch.batch_threads == 16
    assert result.binding is not None
    assert (result.binding.code, result.binding.variant) == ("SPEED_FLOOR", "gguf-q6_k")


def test_15_a_cpu_without_avx2() -> None:
    # 418 + 448 + 32 + 113 = 1011
    result = ask("celeron-sse42", "qwen3:0.6b", 4096)
    best = chosen(result)
    assert (best.candidate.build.variant, best.candidate.runtime) == ("gguf-q5_k_m", "llama.cpp")
    assert mib(best.need.total) == pytest.approx(1011 - less("qwen3:0.6b"), abs=1)
    assert not any(part.name == "weights, rearranged" for part in best.need.parts)
    assert best.speed is not None
    assert best.speed.expected == pytest.approx(9.6, abs=0.1)
    assert best.speed.basis == "prior"
    assert codes(result, runtime="mlx") == {"ISA_MISSING"}
    assert codes(result, runtime="vllm") == {"ISA_MISSING"}


def test_a_board_of_512_mib_is_offered_a_short_context() -> None:
    # not in fit.md: with its reserve of 512 nothing would be left. A quarter: 320 - 104 = 216
    # the least context gives Q2_K 82 + 90 + 18 + 77: too much, 1,024 tokens of cache are 22
    request = PlanRequest()
    result = plan(ggufs("smollm2:135m"), profile("board-512mb"), request)
    assert result.verdict == "nofit"
    assert result.alternatives
    assert result.alternatives[0].candidate.shape.context < 4096
