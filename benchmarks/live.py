"""Plans held against what happens: predicted and measured decode speed and memory of models made here.

    python -m benchmarks.live [--rounds 5] [--tokens 65] [--folder DIR]     writes benchmarks/results/live.md

Random weights in three shapes (many thin layers, few wide ones, a large vocabulary), each in four
quantizations with the types that llama-quantize gives, 150 to 600 MB. All twelve are loaded once by `slmctl
run --keep` with what the plan says, and answer in turns; the first answer of each reads its prompt of 480
tokens, which the others find in the cache, so that as much of the cache is filled as a plan supposes. A round
counts tokens per second by the engine's own clock, without the first token, which is the prompt's.

Predictions are those of `slmctl plan` before and after `slmctl hardware --calibrate`, which runs two of the
models by itself, between the loads and the rounds. Memory is the plan's need beside the engine's own figures
(in its log), and beside what the process has (Linux: anonymous memory, and pages of files less those whose
contents were copied into another layout, which the kernel takes back when it wants).

The choice: for each shape and objective, the plan's variant among those that satisfy the same quality floor.

Goals: speed within 15 percent (median, after calibration), memory within 3 percent, the choice within 5
percent of the fastest that satisfies the floor. What is missed is said. Run it on a machine that does nothing
else: two threads that wait for each other are slowed by any third.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.live_report import Build, Choice, report
from runtimes.planning.buffer_lines import parse
from tests.slmctl.cli.program import REPOSITORY, Program
from tools.random_build import make_random_build
from tools.random_model import Shape

RESULT = Path(__file__).parent / "results" / "live.md"
SHAPES = {
    "deep": Shape(
        layers=40, hidden=768, heads=12, kv_heads=4, head_size=64, feed_forward=2048,
        vocabulary=32000, context=8192,
    ),
    "wide": Shape(
        layers=8, hidden=2048, heads=16, kv_heads=16, head_size=128, feed_forward=8192,
        vocabulary=8192, context=8192,
    ),
    "wordy": Shape(
        layers=16, hidden=1024, heads=16, kv_heads=8, head_size=128, feed_forward=3072,
        vocabulary=128000, context=8192,
    ),
}  # fmt: skip
QUANTIZATIONS = ("Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0")
OBJECTIVES = ("balanced", "speed")
CONTEXT = 2048
WITH_MERGES = ("wordy",)
"""Has a byte-level vocabulary, as large ones do: a token for each character."""

PROMPT = "once upon a time there was " * 80
KEEP = "1h"


@dataclass
class Loaded:
    """One build and everything that was seen of it."""

    shape: str
    variant: str
    plan: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)
    rates: list[float] = field(default_factory=list)
    engine_bytes: int = 0
    process_bytes: int = 0
    size: int = 0


def _json(program: Program, *arguments: str) -> dict[str, Any]:
    done = program(*arguments, "--json")
    assert done.code == 0, (arguments, done.err[-2000:])
    document: dict[str, Any] = json.loads(done.out)
    return document


def planned(program: Program, each: Loaded) -> dict[str, Any]:
    wish = ("--variant", each.variant, "--ctx", str(CONTEXT), "--force")
    return _json(program, "plan", each.shape, *wish)


def answer(program: Program, each: Loaded, tokens: int) -> float:
    """Tokens per second of one answer by the build, which stays loaded."""
    wish = ("--variant", each.variant, "--ctx", str(CONTEXT), "--force")
    ask = ("--raw", "--temperature", "0", "--max-tokens", str(tokens), "--keep", KEEP)
    prompt = PROMPT[:480] if each.shape in WITH_MERGES else PROMPT
    told = _json(program, "run", each.shape, *wish, *ask, prompt)
    assert told["generated_tokens"] == tokens
    return float((tokens - 1) / told["generation_seconds"])


def workers(program: Program) -> set[int]:
    """The engine's processes that this home started."""
    found = set()
    home = f"HOME={program.environment['HOME']}".encode()
    for place in Path("/proc").iterdir():
        with suppress(OSError):
            is_worker = place.name.isdigit() and b"workers/llamacpp.py" in (place / "cmdline").read_bytes()
            if is_worker and home in (place / "environ").read_bytes().split(b"\0"):
                found.add(int(place.name))
    return found


def memory_of(worker: int) -> dict[str, int]:
    lines = Path(f"/proc/{worker}/status").read_text().splitlines()
    return {
        name: int(value.split()[0]) << 10
        for name, _, value in (line.partition(":") for line in lines)
        if "kB" in value
    }


def look_at_memory(program: Program, each: Loaded, worker: int) -> None:
    """What the engine said and what the process has; `each` was loaded last."""
    log = max((program.home / "logs").glob(f"{each.shape}_*.log"), key=lambda path: path.stat().st_mtime_ns)
    buffers = parse(log.read_text())
    components = ("weights", "kv", "state", "compute", "output")
    each.engine_bytes = sum(buffers.total(name) or 0 for name in components)
    weights = buffers.by_buffer.get("weights", {})
    copied = sum(size for name, size in weights.items() if name.endswith("_REPACK"))
    seen = memory_of(worker)
    each.process_bytes = seen["RssAnon"] + max(0, seen["RssFile"] - copied)


def make(program: Program, folder: Path) -> list[Loaded]:
    """The builds, as variants of one model for each shape."""
    builds = []
    for name, shape in SHAPES.items():
        lines = []
        for quantization in QUANTIZATIONS:
            path = folder / f"{name}-{quantization}.gguf"
            make_random_build(path, shape, quantization, merges=name in WITH_MERGES)
            lines.append(f"FROM {path}")
            builds.append(
                Loaded(shape=name, variant=f"gguf-{quantization.lower()}", size=path.stat().st_size)
            )
        (folder / "Modelfile").write_text("\n".join(lines))
        done = program("create", name, "-f", str(folder / "Modelfile"), "--move")
        assert done.code == 0, done.err
    return builds


def choices(program: Program, builds: Sequence[Loaded]) -> list[Choice]:
    """What the plan takes for each objective, beside the fastest that loses no more than its tier allows."""
    found = []
    for shape in SHAPES:
        for objective in OBJECTIVES:
            plan = _json(program, "plan", shape, "--ctx", str(CONTEXT), "--prefer", objective)
            chosen = plan["choice"]["variant"]
            tier = plan["tier"] or plan["quality"]["tier"]
            allowed = TIERS[: TIERS.index(tier) + 1] if tier in TIERS else TIERS
            rates = {
                each.variant: statistics.median(each.rates)
                for each in builds
                if each.shape == shape and each.plan["quality"]["tier"] in allowed
            }
            if chosen not in rates:
                rates[chosen] = statistics.median(
                    next(each.rates for each in builds if (each.shape, each.variant) == (shape, chosen))
                )
            best = max(rates, key=lambda variant: rates[variant])
            found.append(
                Choice(
                    shape=shape, objective=objective, tier=tier, chosen=chosen, chosen_rate=rates[chosen],
                    best=best, best_rate=rates[best],
                )
            )  # fmt: skip
    return found


TIERS = ("near-lossless", "balanced", "compact", "floor")


def summary(each: Loaded) -> Build:
    return Build(
        shape=each.shape,
        variant=each.variant,
        size=each.size,
        rates=tuple(each.rates),
        before=each.plan["speed"]["decode_tps"][1],
        after=each.after["speed"]["decode_tps"][1],
        need=each.plan["memory"]["need_bytes"],
        need_buffers=sum(
            part["bytes"]
            for part in each.plan["memory"]["parts"]
            if part["name"] not in ("process", "projector")
        ),
        engine=each.engine_bytes,
        process=each.process_bytes,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="Hold plans against what happens.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=65)
    parser.add_argument("--folder", type=Path, help="where the models are made; removed at the end")
    parser.add_argument("--out", type=Path, default=RESULT)
    given = parser.parse_args()
    begun = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="slm", dir=given.folder) as name:
        folder = Path(name)
        program = Program(folder / "home", folder)
        try:
            builds = make(program, folder)
            for each in builds:  # all before the first answer, which sharpens what is known of the speed
                each.plan = planned(program, each)
            for each in builds:
                before = workers(program)
                answer(program, each, given.tokens)
                (worker,) = workers(program) - before
                look_at_memory(program, each, worker)
            # answers sharpen the figures too: what they taught goes, so that the calibration stands alone
            (program.home / "history.json").unlink(missing_ok=True)
            calibration = _json(program, "hardware", "--calibrate")["calibration"]
            for each in builds:
                each.after = planned(program, each)
            for number in range(given.rounds):
                for each in builds if number % 2 else reversed(builds):
                    each.rates.append(answer(program, each, given.tokens))
                print(f"round {number + 1} of {given.rounds}", file=sys.stderr)
            found = choices(program, builds)
        finally:
            program("stop", "--all")
    text = report(
        [summary(each) for each in builds],
        found,
        calibration,
        rounds=given.rounds,
        load=(begun, os.getloadavg()[0]),
    )
    given.out.write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    os.chdir(REPOSITORY)
    raise SystemExit(main())
