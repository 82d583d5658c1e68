"""How fast a model becomes a GGUF, and smaller, beside llama.cpp's own converter and quantizer.

    python -m benchmarks.convert [--llama-cpp FOLDER] [--oracle PYTHON] [--rounds 5] [--threads N]

Writes benchmarks/results/convert.md and convert.json. The model has the shape of Qwen3-0.6B and random
weights in BF16; its tokenizer is hello's, filled up with unused tokens. FOLDER is `vendor/llama.cpp` of
llama-cpp-python's source distribution (convert_hf_to_gguf.py with what it imports), PYTHON one with torch,
transformers and llama-cpp-python; both are in .venv-oracle after `make compat`.

Conversion: each side is a program from its start to its end, files in memory beforehand, and nothing is
synced. The converter knows tokenizers by a digest, and this one's is none of its: it is told that it is
`default`. The whole command, `slmctl convert` into an empty store, is timed too: it also hashes and syncs
what it writes.

Quantization, from the BF16 that the conversion made, with as many threads on both sides: what is compared is
the call, `prepare` and `write` with the child that they start here, `llama_model_quantize` there; the
programs' own starts are in another column. Memory is the largest that one process had (GNU time; mapped pages
of files count). All sides take turns, in the opposite order every other round, after one round for nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from benchmarks.convert_sides import (
    ORIGINAL,
    OURS,
    QUANTIZER,
    THEIRS,
    Side,
    conversions,
    measure,
    quantizations,
    write_source,
)
from slmctl.app.cpus import usable_cpus
from tests.compat import oracle

RESULTS = Path(__file__).parent / "results"
OUT_TYPES = ("BF16", "F16")
LABELS = ("Q4_K_M", "Q8_0", "Q4_0", "Q6_K")
FASTER_CONVERSION, OF_QUANTIZER, OF_MEMORY = 1.5, 0.95, 1 / 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """Of each round one ratio; what counts is the median."""

    what: str
    wanted: str
    ratios: Sequence[float]
    met: bool

    def row(self) -> str:
        return f"| {self.what} | {self.wanted} | {_spread(self.ratios)} | {'met' if self.met else 'MISSED'} |"


def goals_of(results: Mapping[str, Sequence[Side]]) -> list[Goal]:
    goals = []
    for title, sides in results.items():
        found = {side.name: side for side in sides}
        if OURS in found:
            faster = _ratios(found[THEIRS].seconds, found[OURS].seconds)
            memory = _ratios(found[OURS].peaks, found[THEIRS].peaks)
            goals += [
                _at_least(f"{title}: converter's time : ours", FASTER_CONVERSION, faster),
                _at_most(f"{title}: our memory : the converter's", OF_MEMORY, memory),
            ]
        else:
            speed = _ratios(found[ORIGINAL].calls, found[QUANTIZER].calls)
            goals.append(_at_least(f"{title}: quantizer's time : ours", OF_QUANTIZER, speed))
    return goals


def _at_least(what: str, least: float, ratios: Sequence[float]) -> Goal:
    met = statistics.median(ratios) >= least
    return Goal(what=what, wanted=f"at least {least:.2f}", ratios=ratios, met=met)


def _at_most(what: str, most: float, ratios: Sequence[float]) -> Goal:
    return Goal(what=what, wanted=f"at most {most:.2f}", ratios=ratios, met=statistics.median(ratios) <= most)


def _ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    return [one / other for one, other in zip(above, below, strict=True)]


def report(results: Mapping[str, Sequence[Side]], facts: Mapping[str, object]) -> str:
    lines = [
        "# How fast a model becomes a GGUF, and smaller",
        "",
        "`python -m benchmarks.convert`; see there for what is measured.",
        f"A model of {facts['parameters']:,} parameters, {facts['rounds']} rounds on {facts['machine']},",
        f"{facts['threads']} threads; load average {facts['load_before']} before and {facts['load_after']}",
        f"after. {facts['versions']}. Medians (lowest to highest).",
        "Both quantizers' files are the same, byte for byte.",
    ]
    for title, sides in results.items():
        lines += [
            "",
            f"{title}:",
            "",
            "| side | seconds of the program | of the call | peak memory, MB |",
            "|---|---|---|---|",
        ]
        lines += [_row(side) for side in sides]
    lines += ["", "| goal | | measured, round by round | |", "|---|---|---|---|"]
    return "\n".join([*lines, *(goal.row() for goal in goals_of(results)), ""])


def _row(side: Side) -> str:
    call = _spread(side.calls) if side.calls else ""
    return f"| `{side.name}` | {_spread(side.seconds)} | {call} | {max(side.peaks) / 1e6:.0f} |"


def _spread(values: Sequence[float]) -> str:
    median, low, high = (f"{value:.2f}" for value in (statistics.median(values), min(values), max(values)))
    return f"{median} ({low} to {high})"


def _load() -> str:
    return f"{os.getloadavg()[0]:.1f}"


def run(
    folder: Path, *, rounds: int, threads: int, llama_cpp: Path, oracle: str, layers: int, vocabulary: int
) -> tuple[str, dict[str, object]]:
    """Measure everything in `folder`; gives the report and all numbers."""
    source = folder / "source"
    parameters = write_source(source, layers, vocabulary)
    results: dict[str, Sequence[Side]] = {}
    load_before = _load()
    for kind in OUT_TYPES:
        sides = conversions(source, folder, kind, llama_cpp, oracle)
        measure(sides, rounds)
        results[f"Conversion, BF16 to {kind}"] = sides
    shutil.rmtree(folder / "home", ignore_errors=True)
    for label in LABELS:
        pair = quantizations(folder / "ours-BF16.gguf", folder, label, threads, oracle)
        measure(pair, rounds)
        ours, theirs = (_digest(side.made) for side in pair)
        assert ours == theirs, f"{label}: the files differ"
        results[f"Quantization, BF16 to {label}"] = pair
        for side in pair:
            side.made.unlink()
    said = subprocess.run(
        [oracle, "-c", "import llama_cpp; print(llama_cpp.__version__)"],
        capture_output=True,
        text=True,
        check=True,
    )
    facts: dict[str, object] = {
        "rounds": rounds,
        "parameters": parameters,
        "threads": threads,
        "machine": f"{platform.machine()}, {usable_cpus()} cores, {platform.system()},"
        f" Python {platform.python_version()}",
        "versions": f"xllamacpp {version('xllamacpp')}, llama-cpp-python {said.stdout.strip()}",
        "load_before": load_before,
        "load_after": _load(),
    }
    numbers = {
        **facts,
        "measured": {
            title: [
                {
                    "side": side.name,
                    "seconds": side.seconds,
                    "call_seconds": side.calls,
                    "peak_bytes": side.peaks,
                }
                for side in sides
            ]
            for title, sides in results.items()
        },
    }
    return report(results, facts), numbers


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure conversion and quantization.")
    parser.add_argument("--llama-cpp", type=Path, default=oracle.LLAMA_CPP, metavar="FOLDER")
    parser.add_argument("--oracle", default=str(oracle.PYTHON), metavar="PYTHON")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=usable_cpus())
    parser.add_argument("--layers", type=int, default=28)
    parser.add_argument("--vocabulary", type=int, default=151_936)
    parser.add_argument("--folder", type=Path, help="where everything is made; removed by who names it")
    chosen = parser.parse_args()
    if shutil.which("time") is None:
        sys.stderr.write("There is no GNU time.\n")
        return 1
    with tempfile.TemporaryDirectory(prefix="slm") as temporary:
        text, numbers = run(
            Path(chosen.folder or temporary).absolute(),
            rounds=chosen.rounds,
            threads=chosen.threads,
            llama_cpp=chosen.llama_cpp.absolute(),
            oracle=chosen.oracle,
            layers=chosen.layers,
            vocabulary=chosen.vocabulary,
        )
    (RESULTS / "convert.md").write_text(text)
    (RESULTS / "convert.json").write_text(json.dumps(numbers, indent=1) + "\n")
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
