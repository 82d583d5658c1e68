"""Reading a Modelfile takes time in proportion to its length, whatever stands in it.

    python -m benchmarks.modelfile_linear [--rounds 5]        writes benchmarks/results/modelfile_linear.md

A row for each shape of tests/modelfiles/hostile_modelfiles.py: a file of 1 MB and one of 10 MB, in turn, read
with all problems and warnings rendered. Ten times the text should take about ten times as long; a quadratic
reader would take a hundred times.
"""

from __future__ import annotations

import argparse
import gc
import os
import platform
import statistics
import sys
import time
from pathlib import Path

from modelfiles.errors import render
from modelfiles.syntax import scan
from tests.modelfiles.hostile_modelfiles import SHAPES, Shape

RESULT = Path(__file__).parent / "results" / "modelfile_linear.md"
SMALL, LARGE = 10**6, 10**7
LIMIT_RATIO = 15.0


def seconds(data: bytes) -> float:
    """Processor time for one reading, with an empty garbage collector at its start."""
    gc.collect()
    start = time.process_time()
    modelfile, problems = scan(data)
    for problem in (*problems, *modelfile.warnings):
        render(problem, filename="Modelfile", text=modelfile.text)
    return time.process_time() - start


def measure(shape: Shape, rounds: int) -> tuple[list[float], list[float]]:
    """Seconds for the small and the large file of each round."""
    small, large = (shape.text(size).encode() for size in (SMALL, LARGE))
    pairs = [(seconds(small), seconds(large)) for _ in range(rounds)]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def row(name: str, small: list[float], large: list[float]) -> str:
    ratio = statistics.median(large) / statistics.median(small)
    figures = " | ".join(
        f"{statistics.median(times) * 1000:.1f} | {min(times) * 1000:.1f} to {max(times) * 1000:.1f}"
        for times in (small, large)
    )
    return f"| {name} | {figures} | {ratio:.1f} | {'met' if ratio <= LIMIT_RATIO else 'MISSED'} |"


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure how long hostile Modelfiles take.")
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    load_before = os.getloadavg()[0]
    rows = []
    for shape in SHAPES:
        rows.append(row(shape.name, *measure(shape, rounds)))
        sys.stderr.write(rows[-1] + "\n")
    text = "\n".join(
        [
            "# Modelfiles of 1 MB and 10 MB",
            "",
            f"`python -m benchmarks.modelfile_linear` on {platform.machine()}, {os.cpu_count()} cores,",
            f"{platform.system()}, Python {platform.python_version()}. Milliseconds of processor time,",
            f"median and spread of {rounds} rounds; a ratio up to {LIMIT_RATIO:g} passes. Ten is linear.",
            "Files of very many instructions take a little more, because the garbage collector looks at",
            "what is kept. Reading stops after a hundred problems, so files of errors take less. The load",
            f"average was {load_before:.1f} at the start.",
            "",
            "| shape | 1 MB | spread | 10 MB | spread | ratio | |",
            "|---|---|---|---|---|---|---|",
            *rows,
            "",
        ]
    )
    RESULT.write_text(text)
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
