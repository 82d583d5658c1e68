"""The second within which a hostile template is stopped, which tests only hold ten times looser.

    python -m benchmarks.templates [--rounds 5]        writes benchmarks/results/templates.md

A row for each template of tests/slmctl/app/hostile_templates.py, from the call of `render_outside` to the
sentence, with what the caller's memory grew by since its start; and one for an honest template, Qwen3's with
tools, as the price of a child process.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from modelfiles.template.jinja import render
from slmctl.app.prompt import render_outside
from tests.modelfiles.template.golden import cases
from tests.slmctl.app.hostile_templates import CORPUS
from tests.slmctl.cli.program import REPOSITORY

RESULT = Path(__file__).parent / "results" / "templates.md"
LIMIT_SECONDS = 1.0
LIMIT_BYTES = 64 * 2**20
NOW = datetime(2026, 11, 22, tzinfo=UTC)


def hostile_round() -> dict[str, dict[str, float]]:
    """Every hostile template once, in a caller of its own."""
    caller = subprocess.run(
        [sys.executable, "-m", "tests.slmctl.app.render_caller"],
        cwd=REPOSITORY,
        capture_output=True,
        check=True,
    )
    outcomes: dict[str, dict[str, float]] = json.loads(caller.stdout)
    return outcomes


def honest(rounds: int) -> tuple[list[float], list[float]]:
    """Seconds for Qwen3's template in a child, and in this process."""
    case = next(case for case in cases("jinja") if (case.format, case.name) == ("qwen3", "tool-results"))
    outside, inside = [], []
    for _ in range(rounds):
        start = time.perf_counter()
        render_outside(case.template, case.messages, now=NOW, environment=os.environ, **case.given)
        middle = time.perf_counter()
        render(case.template, case.messages, now=NOW, **case.given)
        outside.append(middle - start)
        inside.append(time.perf_counter() - middle)
    return outside, inside


def row(what: str, seconds: list[float], verdict: str) -> str:
    return f"| {what} | {statistics.median(seconds):.3f} | {max(seconds):.3f} | {verdict} |"


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure how hostile templates are stopped.")
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    load_before = os.getloadavg()[0]
    outcomes = [hostile_round() for _ in range(rounds)]
    rows = []
    for case in CORPUS:
        seconds = [outcome[case.name]["seconds"] for outcome in outcomes]
        rows.append(row(case.name, seconds, "met" if max(seconds) <= LIMIT_SECONDS else "MISSED"))
    growth = max(figures["growth_bytes"] for outcome in outcomes for figures in outcome.values())
    outside, inside = honest(4 * rounds)
    text = "\n".join(
        [
            "# Hostile templates",
            "",
            f"`python -m benchmarks.templates` on {platform.machine()}, {os.cpu_count()} cores,",
            f"{platform.system()}, Python {platform.python_version()}. Seconds; {rounds} rounds, limit",
            f"{LIMIT_SECONDS:g}. A template is stopped by the processor time that it used: others' work",
            f"makes it last longer; the load average was {load_before:.1f} at the start.",
            f"The caller's memory grew by at most {growth / 2**20:.1f} MiB, limit {LIMIT_BYTES // 2**20}.",
            "",
            "| template | median | worst | |",
            "|---|---|---|---|",
            *rows,
            row("honest: Qwen3 with tools, in a child", outside, ""),
            row("the same in the caller's process", inside, ""),
            "",
        ]
    )
    RESULT.write_text(text)
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
