"""What slmctl costs over the engine alone: time to the first token, and decode speed.

    python -m benchmarks.overhead [--rounds 5] [--tokens 96]        writes benchmarks/results/overhead.md

The model has random weights in Qwen3-0.6B's shape (28 layers, hidden 1024, 16 heads and 8 KV heads of 128,
feed-forward 3072, vocabulary 151,936), in Q8_0, made by this script. Sides, alternating: the engine called
directly in one process (`engine_direct.py`), `slmctl run`, and `slmctl run` of a model that `--keep` left
loaded. All answer the same prompt greedily with the same number of threads and context.

Goals: at least 0.97 of the engine's decode speed; at most 0.5 s from process start to first token beyond what
the engine needs for loading and its first token; at most 50 ms to the first token of a kept model. That last
one contains the engine's own work on a first token, which is therefore shown too.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.slmctl.cli.program import REPOSITORY, Program
from tools.random_model import Shape, write_random_model

RESULT = Path(__file__).parent / "results" / "overhead.md"
DIRECT = Path(__file__).with_name("engine_direct.py")
QWEN3_06B = Shape(
    layers=28,
    hidden=1024,
    heads=16,
    kv_heads=8,
    head_size=128,
    feed_forward=3072,
    context=40960,
    vocabulary=151936,
)
PROMPT = "once upon a time there was"
CONTEXT = 4096


@dataclass(frozen=True)
class Answer:
    """Seconds from process start to the first token, and tokens per second from there on."""

    first: float
    rate: float


@dataclass(frozen=True)
class Direct:
    """The engine alone: seconds until it has loaded, to the first token, and to that of a second answer."""

    loaded: float
    first: float
    again: float
    rate: float


def direct(model: Path, tokens: int) -> Direct:
    threads = len(os.sched_getaffinity(0))
    command = [sys.executable, str(DIRECT), str(model), PROMPT, str(tokens), str(threads), str(CONTEXT)]
    command.append(str(time.monotonic()))
    done = subprocess.run(command, capture_output=True, check=True)
    told = json.loads(done.stdout)
    moments = told["tokens"]
    rate = (len(moments) - 1) / (moments[-1] - moments[0])
    return Direct(loaded=told["loaded"], first=moments[0], again=told["again"][0], rate=rate)


def run(program: Program, tokens: int, *options: str) -> Answer:
    ask = ("--raw", "--temperature", "0", "--ctx", str(CONTEXT), "--max-tokens", str(tokens), PROMPT)
    start = time.perf_counter()
    process = program.start("run", "qwen", *options, *ask)
    assert process.stdout is not None
    pieces: list[tuple[float, int]] = []
    while text := os.read(process.stdout.fileno(), 65536):
        pieces.append((time.perf_counter() - start, len(text.split())))
    process.communicate()
    assert process.returncode == 0
    (first, begun), (last, _) = pieces[0], pieces[-2 if pieces[-1][1] == 0 else -1]
    words = sum(count for _, count in pieces)
    return Answer(first=first, rate=(words - begun) / (last - first))


def spread(values: Sequence[float], scale: float = 1.0, digits: int = 3) -> str:
    shown = [f"{value * scale:.{digits}f}" for value in (statistics.median(values), min(values), max(values))]
    return f"{shown[0]} ({shown[1]} to {shown[2]})"


def verdict(met: bool) -> str:
    return "met" if met else "MISSED"


def report(engine: list[Direct], cold: list[Answer], kept: list[Answer], tokens: int) -> str:
    median = statistics.median
    shares = [ours.rate / theirs.rate for ours, theirs in zip(cold, engine, strict=True)]
    beyond = [ours.first - theirs.first for ours, theirs in zip(cold, engine, strict=True)]
    own = [ours.first - theirs.again for ours, theirs in zip(kept, engine, strict=True)]
    rows = [
        (
            "tokens per second",
            spread([row.rate for row in engine], 1, 1),
            spread([row.rate for row in cold], 1, 1),
        ),
        ("share of the engine's speed", "", spread(shares), "at least 0.97", verdict(median(shares) >= 0.97)),
        (
            "first token, from process start, s",
            spread([row.first for row in engine]),
            spread([row.first for row in cold]),
        ),
        ("beyond the engine's own, s", "", spread(beyond), "at most 0.5", verdict(median(beyond) <= 0.5)),
        (
            "first token of a kept model, ms",
            spread([row.again for row in engine], 1000, 0),
            spread([row.first for row in kept], 1000, 0),
            "at most 50",
            verdict(median(row.first for row in kept) <= 0.05),
        ),
        ("the same beyond the engine's own, ms", "", spread(own, 1000, 0)),
    ]
    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} CPUs"
    lines = [
        "# What slmctl costs over the engine alone",
        "",
        "`python -m benchmarks.overhead`; see there for what is measured.",
        f"{machine}, Python {platform.python_version()}; {len(engine)} rounds of {tokens} tokens.",
        "Sides alternate; medians (lowest to highest).",
        "",
        "| what | engine | slmctl | goal | |",
        "|---|---|---|---|---|",
        *(f"| {' | '.join((*row, '', '')[:5])} |" for row in rows),
        "",
        "The engine's first token of a kept model is that of a prompt which it has just answered.",
        "",
    ]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure what slmctl costs over the engine alone.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=96)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="slm") as name:
        folder = Path(name)
        model = folder / "qwen.gguf"
        write_random_model(model, shape=QWEN3_06B, tensor_type="Q8_0")
        program = Program(folder / "home", folder)
        assert program("create", "qwen", "--from", str(model)).code == 0
        engine: list[Direct] = []
        cold: list[Answer] = []
        kept: list[Answer] = []
        direct(model, 4), run(program, 4)  # the file is in memory from here on
        for _ in range(given.rounds):
            engine.append(direct(model, given.tokens))
            cold.append(run(program, given.tokens))
            run(program, 2, "--keep", "60s")
            kept.append(run(program, given.tokens))
            program("stop", "--all")
    text = report(engine, cold, kept, given.tokens)
    RESULT.write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    os.chdir(REPOSITORY)
    raise SystemExit(main())
