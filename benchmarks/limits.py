"""The time limits that tests only hold ten times looser: how long the events really take.

    python -m benchmarks.limits [--rounds 7]        writes benchmarks/results/limits.md

Rows: the death of a worker after `kill -9` of slmctl (limit 2 s), in the middle of an answer and while a
gigabyte loads; the refusal of each hostile GGUF header by `slmctl create` (limit 1 s); the start of a second
`make check` up to its first check (limit 3 s).
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.processes import until, wait_until_gone, worker_of
from tests.registry.formats.hostile import CORPUS
from tests.slmctl.cli.program import REPOSITORY, Program
from tools.random_model import GIGABYTE, TINY, write_random_model

RESULT = Path(__file__).parent / "results" / "limits.md"
ENDLESS = ("--raw", "--max-tokens", "90000", "--ctx", "100000", "the")


@dataclass(frozen=True)
class Row:
    event: str
    limit_seconds: float
    seconds: list[float]

    def __str__(self) -> str:
        ordered = sorted(self.seconds)
        met = "met" if ordered[-1] <= self.limit_seconds else "MISSED"
        return (
            f"| {self.event} | {len(ordered)} | {statistics.median(ordered):.3f} | {ordered[-1]:.3f} "
            f"| {self.limit_seconds:g} | {met} |"
        )


def deaths(program: Program, model: str, rounds: int, ready: Callable[[int, int], object]) -> Iterator[float]:
    """Seconds from the kill of slmctl to the end of its worker."""
    for _ in range(rounds):
        process = program.start("run", model, *ENDLESS)
        worker = until(lambda process=process: worker_of(process.pid))  # type: ignore[misc]
        ready(process.pid, worker)
        start = time.perf_counter()
        process.kill()
        assert wait_until_gone(worker, 60)
        yield time.perf_counter() - start
        process.communicate()


def answering(process: int, worker: int) -> None:
    """Wait until the worker computes: it has used a fifth of a second of processor time."""
    until(lambda: sum(map(int, Path(f"/proc/{worker}/stat").read_text().split()[13:15])) > 20 or None)


def loading(process: int, worker: int) -> None:
    """Wait until the weights are mapped."""
    until(lambda: "/blobs/sha256/" in Path(f"/proc/{worker}/maps").read_text() or None)


def refusals(program: Program, folder: Path) -> Iterator[float]:
    path = folder / "hostile.gguf"
    for case in CORPUS:
        path.write_bytes(case.make())
        if case.size is not None:
            os.truncate(path, case.size)
        start = time.perf_counter()
        assert program("create", "x", "--from", str(path)).code == 5
        yield time.perf_counter() - start


def setups(rounds: int) -> Iterator[float]:
    """Seconds that `make` takes to find that nothing is to be set up."""
    for _ in range(rounds):
        start = time.perf_counter()
        subprocess.run(["make", "--quiet", ".venv/.check"], cwd=REPOSITORY, check=True, capture_output=True)
        yield time.perf_counter() - start


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure the limits.")
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="slm") as name:
        folder = Path(name)
        program = Program(folder / "home", folder)
        for model, shape in (("tiny", TINY), ("gigabyte", GIGABYTE)):
            write_random_model(folder / f"{model}.gguf", shape=shape)
            assert program("create", model, "--from", str(folder / f"{model}.gguf"), "--move").code == 0
        rows = [
            Row(
                "worker gone after kill -9 of slmctl, answering",
                2,
                list(deaths(program, "tiny", rounds, answering)),
            ),
            Row("the same, a gigabyte loading", 2, list(deaths(program, "gigabyte", rounds, loading))),
            Row("hostile header refused by slmctl create", 1, list(refusals(program, folder))),
            Row("second make check, until its first check", 3, list(setups(rounds))),
        ]
    text = "\n".join(
        [
            "# Limits",
            "",
            f"`python -m benchmarks.limits` on {platform.machine()}, {os.cpu_count()} cores,",
            f"{platform.system()}, Python {platform.python_version()}. Seconds.",
            "",
            "| event | rounds | median | worst | limit | |",
            "|---|---|---|---|---|---|",
            *map(str, rows),
            "",
        ]
    )
    RESULT.write_text(text)
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
