"""How fast memory is read: a number, kept, and never asked for where memory is short."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from runtimes.hardware.cache import Cache
from runtimes.hardware.machine import Cpu, Memory, MemoryLimit
from runtimes.hardware.probe_bandwidth import with_bandwidth
from runtimes.hardware.system import System, this_system
from runtimes.hardware.tools import TOOL_SECONDS, Answer

GIB = 1 << 30
CPU = Cpu(model="x", architecture="x86_64", features=(), logical=2, source="a test")
MEMORY = Memory(total=8 * GIB, available=4 * GIB, source="a test")


def answering(*answers: Answer) -> System:
    """A machine whose measurements are these, one after the other."""
    left = list(answers)

    def run(argv: Sequence[str], *, seconds: float = TOOL_SECONDS, with_errors: bool = False) -> Answer:
        assert argv[-2].endswith("bandwidth.py")
        assert int(argv[-1]) == CPU.threads
        return left.pop(0)

    return replace(this_system(os.environ), run=run)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(folder=tmp_path, machine="m")


def test_the_real_one_measures_and_is_asked_once(cache: Cache) -> None:
    notes: list[str] = []
    system = this_system(os.environ)
    found = with_bandwidth(system, CPU, MEMORY, cache=cache, notes=notes, measure=True)
    assert notes == []
    assert found.bandwidth is not None
    assert found.bandwidth > 50_000_000, "slower than a disk"
    assert found.bandwidth_measured
    again = with_bandwidth(answering(), CPU, MEMORY, cache=cache, notes=notes, measure=True)
    assert again == found


def test_a_new_measurement_never_makes_it_less(cache: Cache) -> None:
    """And both are said where they differ by much."""
    notes: list[str] = []
    steps = [(10, 10, "2026-11-01"), (9, 10, "2026-11-01"), (7, 10, "2026-11-01"), (12, 12, "2026-11-04")]
    for number, (measured, best, date) in enumerate(steps, 1):
        found = with_bandwidth(
            answering(Answer(text=f"{measured * 10**9}\n")),
            CPU,
            MEMORY,
            cache=cache,
            notes=notes,
            measure=True,
            again=True,
            today=f"2026-11-0{number}",
        )
        assert found.bandwidth == best * 10**9
        assert found.source.endswith(f"read by 2 threads, {date}")
    (note,) = notes
    assert note == (
        "The memory was read at 7.0 GB/s just now, and at 10.0 GB/s on 2026-11-01, which counts: what else runs"
        " makes it look slower."
    )
    kept = with_bandwidth(answering(), CPU, MEMORY, cache=cache, notes=notes, measure=False)
    assert (kept.bandwidth, len(notes)) == (12 * 10**9, 1)


@pytest.mark.parametrize("kept", ["9999999999999999999", "1000000000001", "49999999", "0", "-5", "fast"])
def test_a_figure_that_no_machine_has_is_none(cache: Cache, kept: str) -> None:
    key = ["bandwidth", "x", "x86_64", "2"]
    cache.keep("bandwidth", key, f"{kept} 2026-11-01")
    notes: list[str] = []
    unknown = with_bandwidth(
        answering(), CPU, MEMORY, cache=cache, notes=notes, measure=False, today="2026-11-02"
    )
    assert unknown == MEMORY
    said = answering(Answer(text=kept))
    again = with_bandwidth(said, CPU, MEMORY, cache=cache, notes=notes, measure=True, today="2026-11-02")
    assert again == MEMORY
    assert notes == ["The memory's bandwidth could not be measured: no machine is like that."]
    said = answering(Answer(text="10000000000"))
    assert with_bandwidth(said, CPU, MEMORY, cache=cache, notes=notes, measure=True).bandwidth == 10**10


@pytest.mark.parametrize(("day", "gbps"), [("2026-01-31", 20), ("2026-02-01", 5), ("2025-11-30", 5)])
def test_a_figure_lapses_after_a_month(cache: Cache, day: str, gbps: int) -> None:
    """Also one that is larger, and one of a clock that was wrong."""

    def at(day: str, *answers: Answer, measure: bool = True) -> int | None:
        found = with_bandwidth(
            answering(*answers), CPU, MEMORY, cache=cache, notes=[], measure=measure, today=day
        )
        return found.bandwidth

    at("2026-01-01", Answer(text="20000000000"))
    assert at(day, measure=False) == 20 * 10**9, "better than none"
    assert at(day, Answer(problem="busy")) == 20 * 10**9
    assert at(day, Answer(text="5000000000")) == gbps * 10**9
    assert at(day) == gbps * 10**9, "and that is kept"


def test_a_figure_without_a_date_is_measured_anew(cache: Cache) -> None:
    with_bandwidth(answering(Answer(text="20000000000")), CPU, MEMORY, cache=cache, notes=[], measure=True)
    low = answering(Answer(text="5000000000"))
    found = with_bandwidth(low, CPU, MEMORY, cache=cache, notes=[], measure=True, today="2026-01-01")
    assert found.bandwidth == 5 * 10**9


def test_another_processor_or_more_threads_are_another_figure(cache: Cache) -> None:
    with_bandwidth(answering(Answer(text="10000000000")), CPU, MEMORY, cache=cache, notes=[], measure=True)
    for other in (replace(CPU, model="y"), replace(CPU, logical=4)):
        assert with_bandwidth(answering(), other, MEMORY, cache=cache, notes=[], measure=False) == MEMORY


@pytest.mark.parametrize(
    "memory",
    [
        replace(MEMORY, available=GIB - 1),
        replace(MEMORY, limits=(MemoryLimit(limit=2 * GIB, usage=GIB + 1, source="a test"),)),
    ],
)
def test_where_memory_is_short_nothing_is_measured(cache: Cache, memory: Memory) -> None:
    notes: list[str] = []
    assert with_bandwidth(answering(), CPU, memory, cache=cache, notes=notes, measure=True) == memory
    assert notes == []


@pytest.mark.parametrize(
    "answer", [Answer(problem="python did not answer within 5 s", hangs=True), Answer(text="fast"), Answer()]
)
def test_a_failure_is_a_note(cache: Cache, answer: Answer) -> None:
    notes: list[str] = []
    found = with_bandwidth(answering(answer), CPU, MEMORY, cache=cache, notes=notes, measure=True)
    assert found == MEMORY
    assert len(notes) == 1
