"""What is chosen: by objective, with pins, among sizes, and with what earlier loads have shown."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from runtimes.hardware.machine import Hardware
from runtimes.hardware.profiles import profile
from runtimes.planning.plan import plan
from runtimes.planning.quality import limit
from runtimes.planning.values import (
    Learned,
    LowerBound,
    Need,
    Part,
    Plan,
    PlanRequest,
)
from tests.runtimes.planning.library import MIB, chosen, codes, ggufs, mib, with_engine

QWEN3 = ("qwen3:0.6b", "qwen3:1.7b", "qwen3:4b", "qwen3:8b")
CONTAINER = profile("container-2gb")


def picked(result: Plan) -> tuple[str, str, int]:
    best = chosen(result).candidate
    return best.build.variant, best.shape.type_k, best.shape.context


def at(context: int, **wishes: Any) -> PlanRequest:
    return PlanRequest(context=context, context_is_pinned=True, **wishes)


def with_memory(hardware: Hardware, available: int) -> Hardware:
    memory = dataclasses.replace(hardware.memory, total=available * MIB, available=available * MIB)
    return dataclasses.replace(hardware, memory=memory)


def test_objectives() -> None:
    machine, builds = profile("ryzen-7950x-64gb"), ggufs("qwen3:4b")
    # 4B: Q4_K_M is balanced, Q6_K not fast enough for an upgrade
    assert picked(plan(builds, machine, at(4096)))[0] == "gguf-q4_k_m"
    lossless = plan(builds, machine, at(4096, prefer="quality"))
    assert picked(lossless)[0] == "gguf-bf16"
    assert "SLOW" not in lossless.flags  # 7.4 tokens/s
    assert picked(plan(builds, machine, at(4096, prefer="speed")))[0] == "gguf-q4_k_m"
    small = plan(builds, machine, at(4096, prefer="smallest"))
    # the fewest bytes that lose no more than .12
    assert picked(small)[0] == "gguf-q3_k_m"
    assert chosen(small).quality.loss <= limit("compact")


def test_the_context_shrinks_before_the_tier_does() -> None:
    # 4B, Q4_K_M: with q8_0 2881 at 4,096; at 16,384 another 918 for the cache
    machine = with_memory(profile("vps-2cpu-4gb"), 4000)
    result = plan(ggufs("qwen3:4b"), machine, PlanRequest())
    variant, cache, context = picked(result)
    assert (variant, cache) == ("gguf-q4_k_m", "q8_0")
    assert 4096 <= context < 16_384
    assert context % 256 == 0
    assert "CTX_REDUCED" in result.flags
    # one step more would not fit
    more = plan(ggufs("qwen3:4b"), machine, at(context + 256, variant="gguf-q4_k_m", kv_type="q8_0"))
    assert more.verdict == "nofit"


def test_a_long_context_does_not_buy_itself_with_loss() -> None:
    result = plan(ggufs("qwen3:4b"), profile("vps-2cpu-4gb"), PlanRequest())
    variant, cache, context = picked(result)
    assert (result.tier, variant, cache) == ("compact", "gguf-q4_k_s", "q8_0")  # Q3_K_M has 8,704 tokens
    assert 4096 <= context < 8192


def test_the_smallest_board_is_offered_what_it_can_run() -> None:
    board = profile("board-512mb")
    result = plan(ggufs("phi4-mini:3.8b"), board, PlanRequest(), ggufs("smollm2:135m"))
    assert result.verdict == "nofit"
    offered = [each.candidate for each in result.alternatives]
    assert {each.build.model for each in offered} == {"smollm2:135m"}
    assert {each.shape.context for each in offered} == {2048, 1024}
    assert result.notes == ()


def test_a_soft_context_is_never_more_than_trained() -> None:
    result = plan(ggufs("smollm2:360m"), profile("ryzen-7950x-64gb"), PlanRequest())
    assert picked(result)[2] == 8192
    asked = plan(ggufs("smollm2:360m"), profile("ryzen-7950x-64gb"), at(16_384))
    assert asked.verdict == "nofit"
    assert codes(asked) == {"CTX_EXCEEDS_TRAIN"}
    assert picked(asked_alternative(asked))[2] == 8192
    stretched = at(16_384, rope_scaling=True)
    assert picked(plan(ggufs("smollm2:360m"), profile("ryzen-7950x-64gb"), stretched))[2] == 16_384


def asked_alternative(result: Plan) -> Plan:
    return dataclasses.replace(result, chosen=result.alternatives[0])


def test_a_floor_build_is_taken_when_forced_or_when_there_is_nothing_better() -> None:
    machine = profile("vps-2cpu-4gb")
    builds = ggufs("qwen3:8b", labels=("Q2_K", "Q4_K_M"))
    tight = with_memory(machine, 4600)
    assert plan(builds, tight, at(4096)).verdict == "nofit"
    refused = plan(builds, tight, at(4096))
    assert "QUALITY_FLOOR" in codes(refused, variant="gguf-q2_k")
    assert [each.candidate.build.variant for each in refused.alternatives] == ["gguf-q2_k"]
    forced = plan(builds, tight, at(4096, force=True))
    assert picked(forced)[0] == "gguf-q2_k"
    assert "FLOOR" in forced.flags
    named = plan(builds, tight, at(4096, variant="q2_k"))
    assert picked(named)[0] == "gguf-q2_k"
    only = plan(ggufs("qwen3:8b", labels=("Q2_K",)), tight, at(4096))
    assert picked(only)[0] == "gguf-q2_k"


def test_pins_that_leave_nothing_are_a_conflict() -> None:
    builds = ggufs("qwen3:1.7b")
    for wish in ({"variant": "q9"}, {"runtime": "vllm"}, {"runtime": "mlx"}, {"runtime": "nonsense"}):
        result = plan(builds, CONTAINER, at(4096, **wish))
        assert result.verdict == "nofit", wish
        assert result.binding is not None
        assert result.binding.code == "PIN_CONFLICT"
        # without the pin it would be this
        assert result.alternatives[0].candidate.build.variant == "gguf-q5_k_m"


def test_of_many_builds_not_all_are_named_and_that_is_said() -> None:
    result = plan(ggufs("qwen3:1.7b"), CONTAINER, at(4096, variant="q9"))
    assert result.binding is not None
    count = len({build.variant for build in ggufs("qwen3:1.7b")})
    assert result.binding.detail.endswith(f" and {count - 8} more.")


def test_a_pinned_cache_and_a_pinned_speed() -> None:
    builds = ggufs("qwen3:1.7b")
    assert picked(plan(builds, CONTAINER, at(4096, kv_type="q4_0")))[1] == "q4_0"
    odd = [
        dataclasses.replace(each, facts=dataclasses.replace(each.facts, head_size_k=80)) for each in builds
    ]
    impossible = plan(odd, CONTAINER, at(4096, kv_type="q8_0"))
    assert (impossible.verdict, codes(impossible)) == ("nofit", {"KV_QUANT_UNSAFE"})
    fast = plan(builds, profile("raspberry-pi-5-8gb"), at(4096, min_speed=20.0, speed_is_pinned=True))
    assert fast.verdict == "nofit"
    assert "SPEED_FLOOR" in codes(fast)
    small = chosen(
        plan(
            ggufs("smollm2:135m"),
            profile("raspberry-pi-5-8gb"),
            at(4096, min_speed=20.0, speed_is_pinned=True),
        )
    )
    assert small.speed is not None
    assert small.speed.expected >= 20


def test_max_memory_is_a_budget() -> None:
    builds = ggufs("qwen3:1.7b")
    machine = profile("ryzen-7950x-64gb")
    limited = plan(builds, machine, at(4096, max_memory=1783 * MIB))
    assert picked(limited)[:2] == ("gguf-q5_k_m", "q8_0")
    assert chosen(limited).need.total * 1.03 <= 1783 * MIB
    gpu = profile("rtx-3060-12gb")
    both = plan(ggufs("llama3.1:8b"), gpu, at(4096, max_memory=6000 * MIB))
    assert chosen(both).need.total * 1.03 <= 6000 * MIB


def test_what_is_not_here_is_no_choice_offline_and_needs_room_on_the_disk() -> None:
    builds = ggufs("qwen3:1.7b", labels=("Q4_K_M", "Q8_0"))
    stored = [dataclasses.replace(builds[0], stored=True), builds[1]]
    machine = profile("ryzen-7950x-64gb")
    offline = plan(stored, machine, at(4096, offline=True))
    assert picked(offline)[0] == "gguf-q4_k_m"
    assert codes(offline, variant="gguf-q8_0") == {"OFFLINE_NOT_CACHED"}
    full = dataclasses.replace(machine, disk_free=2 * 2**30)
    assert picked(plan(stored, full, at(4096)))[0] == "gguf-q4_k_m"
    assert "DISK" in codes(plan(stored, full, at(4096)), variant="gguf-q8_0")


def test_what_is_larger_and_no_better_is_dominated_by_name() -> None:
    # Gemma 3 1B's rows are no multiples of 256: its Q2_K is larger than its Q3_K_S
    result = plan(ggufs("gemma3:1b"), profile("ryzen-7950x-64gb"), at(4096))
    (against,) = [each for each in result.rejected if each.variant == "gguf-q2_k"]
    assert against.code == "DOMINATED"
    assert "gguf-q3_k_s" in against.detail


@pytest.mark.parametrize(
    ("machine", "model", "alternatives"),
    [
        # 8B at 44 tokens/s is comfortable
        ("rtx-3060-12gb", "qwen3:8b", ["qwen3:4b"]),
        # 1.7B at 41; 4B would give 23.7
        ("ryzen-7950x-64gb", "qwen3:1.7b", ["qwen3:0.6b", "qwen3:4b"]),
        # nothing is comfortable: the largest that is not slow, with the wheel 0.6B at 12
        ("raspberry-pi-5-8gb", "qwen3:0.6b", ["qwen3:1.7b"]),
        ("h100-80gb", "qwen3:8b", ["qwen3:4b"]),
    ],
)
def test_a_family_is_its_largest_size_that_is_comfortable(
    machine: str, model: str, alternatives: list[str]
) -> None:
    result = plan(ggufs(*QWEN3), profile(machine), PlanRequest())
    assert chosen(result).candidate.build.model == model
    assert [each.candidate.build.model for each in result.alternatives] == alternatives


def test_a_family_by_other_objectives() -> None:
    machine = profile("ryzen-7950x-64gb")
    quality = plan(ggufs(*QWEN3), machine, PlanRequest(prefer="quality"))
    assert chosen(quality).candidate.build.model == "qwen3:4b"  # 8B unquantized gives 3.7 tokens/s
    speed = plan(ggufs(*QWEN3), machine, PlanRequest(prefer="speed"))
    assert chosen(speed).candidate.build.model == "qwen3:0.6b"


def test_an_engine_that_is_not_installed_comes_last() -> None:
    machine = with_engine(profile("vps-2cpu-4gb"), "llama.cpp", "cpu", installed=False, install="pip x")
    result = plan(ggufs("qwen3:1.7b"), machine, at(4096))
    assert "NOT_INSTALLED" in result.flags
    assert any("pip x" in note for note in result.notes)


def test_a_gpu_that_the_build_cannot_drive_is_named_with_its_gain() -> None:
    machine = with_engine(profile("rtx-3060-12gb"), "llama.cpp", "cpu", features=("avx2", "fma"))
    result = plan(ggufs("llama3.1:8b"), machine, at(8192))
    assert chosen(result).candidate.place == "cpu"
    ((condition, gain),) = [each for each in result.would_change if "a build of" in each[0]]
    assert condition == "a build of llama.cpp for cuda"
    assert "RTX 3060" in gain


def test_the_engine_s_own_word_counts_more_than_the_formula() -> None:
    builds = [dataclasses.replace(each, digest=f"sha256:{each.variant}") for each in ggufs("qwen3:1.7b")]
    first = plan(builds, CONTAINER, at(4096))
    best = chosen(first).candidate
    # the oracle measured 400 MiB more for the choice: it does not fit any more
    measured = Need(
        parts=(Part(name="all", pool="host", bytes=2005 * MIB, kind="anon", source="oracle"),),
        method="oracle",
        margin=1.02,
    )
    key = (best.build.digest or "", best.runtime, best.place, best.shape)
    second = plan(builds, CONTAINER, at(4096), learned=Learned(needs={key: measured}))
    assert chosen(second).candidate.build.variant != best.build.variant
    fits = dataclasses.replace(measured, parts=(dataclasses.replace(measured.parts[0], bytes=1500 * MIB),))
    third = plan(builds, CONTAINER, at(4096), learned=Learned(needs={key: fits}))
    assert chosen(third).need == fits


def test_what_a_load_died_of_is_not_tried_again() -> None:
    builds = [dataclasses.replace(each, digest=f"sha256:{each.variant}") for each in ggufs("qwen3:1.7b")]
    first = chosen(plan(builds, CONTAINER, at(4096)))
    bound = LowerBound(
        digest=first.candidate.build.digest or "",
        runtime="llama.cpp",
        shape=first.candidate.shape,
        pool="host",
        bytes=first.budget["host"],
    )
    after = plan(builds, CONTAINER, at(4096), learned=Learned(bounds=(bound,)))
    assert chosen(after).candidate != first.candidate
    # with less context it may be tried
    shorter = plan(
        builds, CONTAINER, at(1024, variant=first.candidate.build.variant), learned=Learned(bounds=(bound,))
    )
    assert chosen(shorter).candidate.shape.context == 1024


def test_embeddings_keep_no_prompts() -> None:
    result = plan(ggufs("qwen3:0.6b"), profile("ryzen-7950x-64gb"), at(4096, embedding=True))
    assert result.launch is not None
    assert result.launch.cache_ram == 0


def test_checkpoints_are_for_windows() -> None:
    gemma = plan(ggufs("gemma3:4b"), profile("ryzen-7950x-64gb"), at(8192))
    assert gemma.launch is not None
    assert 0 < gemma.launch.context_checkpoints <= 32
    qwen = plan(ggufs("qwen3:4b"), profile("ryzen-7950x-64gb"), at(8192))
    assert qwen.launch is not None
    assert qwen.launch.context_checkpoints == 0


def test_gpu_layers_may_be_pinned() -> None:
    machine = profile("rtx-3060-12gb")
    none = plan(ggufs("llama3.1:8b"), machine, at(4096, gpu_layers=0))
    assert chosen(none).candidate.place == "cpu"
    some = plan(ggufs("llama3.1:8b"), machine, at(4096, gpu_layers=10))
    assert (chosen(some).candidate.place, chosen(some).candidate.shape.gpu_layers) == ("gpu0", 10)
    every = plan(ggufs("llama3.1:8b"), machine, at(4096, gpu_layers=99))
    assert chosen(every).candidate.shape.gpu_layers == 33
    # without a device the wish has no meaning, and is no conflict
    alone = plan(ggufs("qwen3:1.7b"), CONTAINER, at(4096, gpu_layers=99))
    assert chosen(alone).candidate.place == "cpu"
    assert mib(chosen(alone).need.total) > 0
