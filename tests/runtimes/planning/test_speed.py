"""How fast decoding is said to be: two parameters, whichever source knows them best."""

from __future__ import annotations

import dataclasses

import pytest

from registry.formats.facts import Experts
from runtimes.hardware.machine import EngineBuild, Hardware, SpeedFigure
from runtimes.hardware.profiles import profile
from runtimes.planning.speed import (
    cache_bytes_read,
    cpu_features,
    cpu_rate,
    decode_speed,
    split_speed,
    threads_to_decode,
    waits_for_threads,
    weight_bytes_read,
)
from runtimes.planning.values import Shape
from tests.runtimes.planning.library import ggufs

LLAMA = "llama.cpp"


def bare(name: str, **memory: object) -> Hardware:
    """The profile without figures of its own."""
    hardware = profile(name)
    changed = dataclasses.replace(hardware.memory, **memory)  # type: ignore[arg-type]
    return dataclasses.replace(hardware, speeds=(), memory=changed)


def test_the_build_s_instruction_sets_count_not_the_cpu_s() -> None:
    machine = bare("raspberry-pi-5-8gb")
    wheel = machine.engine(LLAMA)
    native = EngineBuild(name=LLAMA, installed=True, features=machine.cpu.features, source="the test")
    assert cpu_features(machine, wheel) == {"neon"}
    assert cpu_features(machine, None) == set(machine.cpu.features)
    slow = cpu_rate(machine, LLAMA, cpu_features(machine, wheel)).bandwidth
    fast = cpu_rate(machine, LLAMA, cpu_features(machine, native)).bandwidth
    assert fast == pytest.approx(17.07e9 * 0.60)
    assert slow == pytest.approx(fast * 0.65)


def test_a_profile_s_prior_is_of_builds_that_use_the_whole_cpu() -> None:
    machine = profile("raspberry-pi-5-8gb")
    figure = machine.speeds[0]
    assert (figure.basis, figure.efficiency) == ("prior", 0.6)
    assert cpu_rate(machine, LLAMA, frozenset({"neon"})).bandwidth == pytest.approx(17.07e9 * 0.6 * 0.65)
    # what was measured here is of the build that is here
    measured = dataclasses.replace(machine, speeds=(dataclasses.replace(figure, basis="measured"),))
    assert cpu_rate(measured, LLAMA, frozenset({"neon"})).bandwidth == pytest.approx(17.07e9 * 0.6)


def test_a_figure_for_the_engine_wins_over_one_for_any() -> None:
    machine = bare("vps-2cpu-4gb")
    any_ = SpeedFigure(
        engine=None, place="cpu", overhead=1e-4, efficiency=0.5, basis="measured", source="the test"
    )
    own = dataclasses.replace(any_, engine=LLAMA, efficiency=0.9)
    rate = cpu_rate(dataclasses.replace(machine, speeds=(any_, own)), LLAMA, frozenset({"avx2", "fma"}))
    assert rate.bandwidth == pytest.approx(11e9 * 0.9)
    other = cpu_rate(dataclasses.replace(machine, speeds=(any_, own)), "mlx", frozenset({"avx2", "fma"}))
    assert other.bandwidth == pytest.approx(11e9 * 0.5)


def test_a_bandwidth_that_was_measured_needs_no_efficiency() -> None:
    features = frozenset({"avx2", "fma"})
    machine = bare("vps-2cpu-4gb", bandwidth=20_000_000_000, bandwidth_measured=True)
    measured = cpu_rate(machine, LLAMA, features).bandwidth
    assert measured > 0.8 * 20e9
    # two threads of a machine with a data sheet's 83 GB/s do not get all of it
    sheet = cpu_rate(bare("vps-2cpu-4gb", bandwidth=83_000_000_000), LLAMA, features).bandwidth
    assert sheet == pytest.approx(2 * 9e9)
    unknown = cpu_rate(bare("vps-2cpu-4gb", bandwidth=None), LLAMA, features).bandwidth
    assert unknown == sheet


def test_threads_saturate_the_memory() -> None:
    assert threads_to_decode(profile("ryzen-7950x-64gb")) == 8
    assert threads_to_decode(profile("container-2gb")) == 2
    assert threads_to_decode(profile("container-v1-1gb")) == 1
    wide = profile("epyc-2s-256gb")
    assert 8 < threads_to_decode(wide) <= 64


def test_ranges_are_as_wide_as_the_basis_is_weak() -> None:
    machine = profile("raspberry-pi-5-8gb")
    rate = cpu_rate(machine, LLAMA, frozenset({"neon"}))
    for basis, off in (("prior", 0.4), ("same-device", 0.2), ("measured", 0.1)):
        speed = decode_speed(28, 1e9, dataclasses.replace(rate, basis=basis))
        assert speed.low == pytest.approx(speed.expected * (1 - off))
        assert speed.high == pytest.approx(speed.expected * (1 + off))


def test_an_untied_embedding_is_looked_up_and_experts_are_read_as_used() -> None:
    (tied,) = ggufs("qwen3:4b", labels=("Q8_0",))
    assert weight_bytes_read(tied.facts, 0, cpu=True) == tied.facts.tensor_bytes
    (untied,) = ggufs("qwen3:8b", labels=("Q8_0",))
    embedding = next(row.bytes for row in untied.facts.tensors if row.tensor_class == "token_embd")
    assert weight_bytes_read(untied.facts, 0, cpu=True) == untied.facts.tensor_bytes - embedding
    experts = Experts(count=8, used=2, shared=None, feed_forward=None, shared_feed_forward=None)
    rows = tuple(
        dataclasses.replace(row, tensor_class="ffn_down_exps") if row.tensor_class == "ffn_down" else row
        for row in tied.facts.tensors
    )
    mixture = dataclasses.replace(tied.facts, experts=experts, tensors=rows)
    (down,) = [row for row in rows if row.tensor_class == "ffn_down_exps"]
    assert weight_bytes_read(mixture, 0, cpu=True) == tied.facts.tensor_bytes - down.bytes * 6 // 8


def test_below_four_bits_decoding_gets_no_faster() -> None:
    three, four = ggufs("llama3.1:8b", labels=("Q3_K_M", "Q4_K_M"))
    saved = 1 - three.facts.tensor_bytes / four.facts.tensor_bytes
    read = [weight_bytes_read(each.facts, 0, cpu=False) for each in (three, four)]
    assert 0 < 1 - read[0] / read[1] < 0.6 * saved


def test_few_threads_compute_and_what_was_not_measured_is_read() -> None:
    """Two threads take longer for a byte of some types; with many, or by a data sheet, bytes count alone."""
    machine = dataclasses.replace(profile("vps-2cpu-4gb"))
    memory = dataclasses.replace(machine.memory, bandwidth_measured=True)
    measured = dataclasses.replace(machine, memory=memory)
    assert not waits_for_threads(machine)
    assert waits_for_threads(measured)
    desktop = profile("ryzen-7950x-64gb")
    many = dataclasses.replace(desktop, memory=dataclasses.replace(desktop.memory, bandwidth_measured=True))
    assert not waits_for_threads(many)
    four, five = ggufs("qwen3:4b", labels=("Q4_K_M", "Q5_K_M"))
    plain = [weight_bytes_read(each.facts, 0, cpu=True) for each in (four, five)]
    few = [weight_bytes_read(each.facts, 0, cpu=True, few_threads=True) for each in (four, five)]
    assert plain == [four.facts.tensor_bytes, five.facts.tensor_bytes]
    assert few[1] / few[0] > plain[1] / plain[0]
    shape = Shape(context=4096)
    assert cache_bytes_read(four.facts, shape) == 512 * 147_456
    # 36 layers of 32 heads, 512 positions: fit.md's sum leaves out that each costs time to compute
    assert cache_bytes_read(four.facts, shape, few_threads=True) == 36 * 32 * 512 * 1400


def test_a_split_lies_between_its_parts() -> None:
    machine = profile("laptop-rtx-3050-4gb")
    cpu = cpu_rate(machine, LLAMA, frozenset({"avx2", "fma"}))
    device = dataclasses.replace(cpu, bandwidth=cpu.bandwidth * 4)
    speeds = [split_speed(32, 5e9, share, device, cpu).expected for share in (0, 0.5, 1)]
    assert speeds == sorted(speeds)
    assert speeds[0] == decode_speed(32, 5e9, cpu).expected
    assert speeds[2] == decode_speed(32, 5e9, device).expected
