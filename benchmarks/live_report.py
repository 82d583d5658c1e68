"""The tables of `benchmarks.live`."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SPEED_GOAL, MEMORY_GOAL, CHOICE_GOAL = 0.15, 0.03, 0.05
MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class Build:
    """Sizes in bytes, speeds in tokens per second. `need_buffers` is the need without the process, which the
    engine does not count in `engine`."""

    shape: str
    variant: str
    size: int
    rates: tuple[float, ...]
    before: float
    after: float
    need: int
    need_buffers: int
    engine: int
    process: int

    @property
    def rate(self) -> float:
        return statistics.median(self.rates)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A plan's choice, and the fastest build that loses no more than the choice's tier allows."""

    shape: str
    objective: str
    tier: str
    chosen: str
    chosen_rate: float
    best: str
    best_rate: float

    @property
    def behind(self) -> float:
        """By which share the choice is slower than the best."""
        return 1 - self.chosen_rate / self.best_rate


def report(
    builds: Sequence[Build],
    choices: Sequence[Choice],
    calibration: Mapping[str, Any],
    *,
    rounds: int,
    load: tuple[float, float],
) -> str:
    sections = [
        _head(rounds, load),
        _calibration(calibration),
        _speed(builds),
        _memory(builds),
        _choices(choices),
    ]
    return "\n".join(line for section in sections for line in (*section, ""))


def _head(rounds: int, load: tuple[float, float]) -> list[str]:
    return [
        "# Plans held against what happens",
        "",
        "`python -m benchmarks.live`; see there for what is measured.",
        f"{_processor()}, {os.cpu_count()} CPUs; {rounds} rounds, in turns.",
        f"Load of the machine before and after: {load[0]:.1f} and {load[1]:.1f}.",
    ]


def _calibration(found: Mapping[str, Any]) -> list[str]:
    before, after = found["before"], found["after"]
    models = ", ".join(f"{each['name']} {each['variant']}" for each in found["models"])
    return [
        f"Calibration ran {models} with {found['threads']} threads:",
        f"{_rates(before)} ({before['basis']}) became {_rates(after)}.",
    ]


def _speed(builds: Sequence[Build]) -> list[str]:
    rows = [
        (
            each.shape,
            each.variant,
            f"{each.size / 1e6:.0f}",
            f"{each.rate:.1f} ({min(each.rates):.1f} to {max(each.rates):.1f})",
            f"{each.before:.1f}",
            f"{each.before / each.rate - 1:+.0%}",
            f"{each.after:.1f}",
            f"{each.after / each.rate - 1:+.0%}",
        )
        for each in builds
    ]
    before = statistics.median(abs(each.before / each.rate - 1) for each in builds)
    after = statistics.median(abs(each.after / each.rate - 1) for each in builds)
    header = ("shape", "build", "MB", "tokens/s, measured", "predicted", "off", "after calibration", "off")
    return [
        "## Decode speed",
        "",
        *_table(header, rows),
        "",
        (
            f"Median error: {before:.1%} before calibration, {after:.1%} after"
            f" (goal: {SPEED_GOAL:.0%}, {_met(after <= SPEED_GOAL)})."
        ),
    ]


def _memory(builds: Sequence[Build]) -> list[str]:
    rows = [
        (
            each.shape,
            each.variant,
            f"{each.need_buffers / MIB:.1f}",
            f"{each.engine / MIB:.1f}",
            f"{each.need_buffers / each.engine - 1:+.2%}",
            f"{each.need / MIB:.1f}",
            f"{each.process / MIB:.1f}",
            f"{each.need / each.process - 1:+.1%}",
        )
        for each in builds
    ]
    engine = max(abs(each.need_buffers / each.engine - 1) for each in builds)
    process = max(abs(each.need / each.process - 1) for each in builds)
    least = min(each.need / each.process - 1 for each in builds)
    header = (
        "shape",
        "build",
        "buffers, planned",
        "by the engine",
        "off",
        "need, planned",
        "of the process",
        "off",
    )
    return [
        "## Memory, MiB",
        "",
        *_table(header, rows),
        "",
        (
            f"The largest error is {engine:.2%} against the engine's own figures (goal: {MEMORY_GOAL:.0%},"
            f" {_met(engine <= MEMORY_GOAL)}), and {process:.1%} against the process"
            f" ({_met(process <= MEMORY_GOAL)}; the lowest is {least:+.1%})."
        ),
    ]


def _choices(choices: Sequence[Choice]) -> list[str]:
    rows = [
        (
            each.shape,
            each.objective,
            each.tier,
            f"{each.chosen}, {each.chosen_rate:.1f}",
            f"{each.best}, {each.best_rate:.1f}",
            f"{each.behind:.0%}",
            _met(each.behind <= CHOICE_GOAL),
        )
        for each in choices
    ]
    header = ("shape", "--prefer", "floor", "chosen, tokens/s", "fastest above the floor", "behind", "")
    met = sum(each.behind <= CHOICE_GOAL for each in choices)
    return [
        "## The choice",
        "",
        *_table(header, rows),
        "",
        (
            f"{met} of {len(choices)} within {CHOICE_GOAL:.0%} of the fastest build that satisfies the same"
            " floor (a build with that loss or less)."
        ),
    ]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [
        f"| {' | '.join(header)} |",
        f"|{'---|' * len(header)}",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]


def _met(met: bool) -> str:
    return "met" if met else "MISSED"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _rates(rates: Mapping[str, Any]) -> str:
    return f"{rates['overhead'] * 1e6:.0f} us a layer and {rates['bandwidth'] / 1e9:.1f} GB/s"
