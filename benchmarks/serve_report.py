"""What benchmarks/serve.py writes."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.serve_streams import Load, Run

RATE_GOALS = {1: 0.97, 16: 0.95}
FIRST_GOAL_MS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One load on both sides, round by round."""

    load: Load
    engine: Sequence[Run]
    server: Sequence[Run]

    @property
    def ratios(self) -> list[float]:
        """The server's tokens per second over the engine's, of each round."""
        return [ours.rate / theirs.rate for ours, theirs in zip(self.server, self.engine, strict=True)]

    @property
    def later_ms(self) -> list[float]:
        """How much later the median first token comes, of each round."""
        return [
            1000 * (ours.median_first - theirs.median_first)
            for ours, theirs in zip(self.server, self.engine, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class Limit:
    """How long an event took each time, in seconds. Where it has a `limit`, the `quantile` is held to it."""

    event: str
    seconds: Sequence[float]
    limit: float | None = None
    quantile: float = 1.0

    @property
    def held(self) -> float:
        return quantile(self.seconds, self.quantile)


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that `share` of all values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def report(
    models: Mapping[str, tuple[str, Sequence[Pair], Sequence[Pair]]],
    limits: Sequence[Limit],
    *,
    rounds: int,
    load: tuple[float, float],
) -> str:
    """`models`: name -> what it is, the loads that count for speed, those that count for the first token."""
    machine = f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}"
    lines = [
        "# The server beside the engine's own",
        "",
        f"`python -m benchmarks.serve` on {machine}, Python {platform.python_version()}.",
        f"Load average {load[0]:.1f} before, {load[1]:.1f} after.",
        "",
        "Chat completions, streamed: our server on TCP, and the HTTP server that is in the engine on its",
        "unix socket, without us; the same model, slots, flags, priority, prompts and numbers of tokens, and",
        f"the end of answers kept away. {rounds} rounds, the sides in turns: medians, and the smallest and",
        "the largest of the rounds. The client of both is the same small program in a process of its own. It",
        "takes its time from the same cores, on both sides alike; so does the server, whose time per token",
        "is told. `gap` is the widest pause inside of an answer, of all rounds.",
    ]
    for name, (about, speed, first) in models.items():
        lines += ["", f"## {name}", "", about, "", *_speed(speed), "", *_first(first)]
    lines += ["", "## Limits", "", *_limits(limits), ""]
    return "\n".join(lines)


def _speed(pairs: Sequence[Pair]) -> list[str]:
    columns = (
        "streams|tokens each|engine tok/s|server tok/s|ratio|goal|server µs/token|client µs/token|gap ms"
    )
    lines = [f"| {columns.replace('|', ' | ')} |", "|---" * 9 + "|"]
    for pair in pairs:
        server, client = (
            1e6 * statistics.median(used)
            for used in ([run.server_cpu for run in pair.server], [run.client_cpu for run in pair.server])
        )
        gaps = [1000 * max(run.gap for run in runs) for runs in (pair.engine, pair.server)]
        cells = (
            str(pair.load.streams),
            str(pair.load.tokens),
            _spread([run.rate for run in pair.engine]),
            _spread([run.rate for run in pair.server]),
            _spread(pair.ratios, 3),
            _judged(RATE_GOALS.get(pair.load.streams), statistics.median(pair.ratios)),
            f"{server:.0f}",
            f"{client:.0f}",
            f"engine {gaps[0]:.0f}, server {gaps[1]:.0f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _judged(goal: float | None, ratio: float) -> str:
    if goal is None:
        return "-"
    return f"{goal} {'met' if ratio >= goal else 'MISSED'}"


def _first(pairs: Sequence[Pair]) -> list[str]:
    lines = [
        f"Time to the first token in ms, goal at most {FIRST_GOAL_MS:g} more at the median:",
        "",
        "| streams | requests | engine | server | later by | |",
        "|---|---|---|---|---|---|",
    ]
    for pair in pairs:
        later = statistics.median(pair.later_ms)
        lines.append(
            f"| {pair.load.streams} | {len(pair.engine) * pair.load.streams * pair.load.requests} "
            f"| {_spread([1000 * run.median_first for run in pair.engine])} "
            f"| {_spread([1000 * run.median_first for run in pair.server])} | {_spread(pair.later_ms)} "
            f"| {'met' if later <= FIRST_GOAL_MS else 'MISSED'} |"
        )
    return lines


def _limits(limits: Sequence[Limit]) -> list[str]:
    lines = ["| event | times | median ms | p99 | worst | limit | |", "|---|---|---|---|---|---|---|"]
    for each in limits:
        cells = (
            each.event,
            str(len(each.seconds)),
            f"{1000 * statistics.median(each.seconds):.1f}",
            f"{1000 * quantile(each.seconds, 0.99):.1f}",
            f"{1000 * max(each.seconds):.1f}",
            "-" if each.limit is None else f"{1000 * each.limit:g}",
            "" if each.limit is None else "met" if each.held <= each.limit else "MISSED",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _spread(values: Sequence[float], digits: int = 1) -> str:
    middle, low, high = statistics.median(values), min(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"
