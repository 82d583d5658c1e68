"""How fast a hostile chat template in a model's file is stopped, which the engine runs in its own process.

    python -m benchmarks.engine_templates [--rounds 5]        writes benchmarks/results/engine_templates.md

A row for each template of tests/slmctl/cli/test_hostile_chat_templates.py: `slmctl run` from its start to its
end, less what the same takes with an honest template, the sides in turn. And the price of it for honest ones:
having the prompt made once more, before each question.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from runtimes import protocol
from runtimes.preview import check_prompt
from slmctl.app.formats import jinja_format
from tests.gguf_copies import write_copy
from tests.runtimes.launches import llama_worker
from tests.slmctl.cli.program import Program
from tests.slmctl.cli.test_hostile_chat_templates import AT_ONCE, SPEAK, WITH_A_QUESTION, when_asked_for_harm

RESULT = Path(__file__).parent / "results" / "engine_templates.md"
LIMIT_SECONDS = 1.0


def seconds_of(slmctl: Program, name: str) -> float:
    start = time.perf_counter()
    slmctl("run", name, "--max-tokens", "1", "harm")
    return time.perf_counter() - start


def price(folder: Path, exchanges: int, rounds: int) -> list[float]:
    """Seconds for having a conversation's prompt made in Qwen3's format, a hundred words to a message."""
    write_copy(folder / "qwen3.gguf", chat_template=jinja_format("qwen3"))
    question = {"role": "user", "content": "word " * 100}
    answer = {"role": "assistant", "content": "word " * 100}
    request = protocol.chat_request([*[question, answer] * exchanges, question])
    measured = []
    with llama_worker(folder, folder / "qwen3.gguf") as worker:
        for _ in range(rounds):
            start = time.perf_counter()
            check_prompt(worker, request)
            measured.append(time.perf_counter() - start)
    return measured


def row(what: str, seconds: list[float], verdict: str = "") -> str:
    return f"| {what} | {statistics.median(seconds):.3f} | {max(seconds):.3f} | {verdict} |"


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure how hostile chat templates are stopped.")
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    load_before = os.getloadavg()[0]
    folder = Path(tempfile.mkdtemp(prefix="slm"))
    try:
        slmctl = Program(folder / "home", folder)
        templates = {"honest": SPEAK}
        templates |= {f"at the start: {case.name}": case.template for case in AT_ONCE}
        templates |= {
            f"with a question: {case.name}": when_asked_for_harm(case.template) for case in WITH_A_QUESTION
        }
        for number, template in enumerate(templates.values()):
            write_copy(folder / "m.gguf", chat_template=template)
            slmctl("create", f"m{number}", "--from", str(folder / "m.gguf"))
        taken: dict[str, list[float]] = {name: [] for name in templates}
        honest = []
        for _ in range(rounds):
            for number, name in enumerate(templates):
                honest.append(seconds_of(slmctl, "m0"))
                taken[name].append(seconds_of(slmctl, f"m{number}"))
        usual = statistics.median(honest)
        rows = []
        for name, seconds in taken.items():
            beyond = [each - usual for each in seconds]
            rows.append(row(name, beyond, "met" if max(beyond) <= LIMIT_SECONDS else "MISSED"))
        short, long = price(folder, 2, 4 * rounds), price(folder, 100, 4 * rounds)
    finally:
        shutil.rmtree(folder)
    text = "\n".join(
        [
            "# Hostile chat templates in the engine",
            "",
            f"`python -m benchmarks.engine_templates` on {platform.machine()}, {os.cpu_count()} cores,",
            f"{platform.system()}, Python {platform.python_version()}. Seconds of `slmctl run` beyond those",
            f"with an honest template ({usual:.3f}); {rounds} rounds, limit {LIMIT_SECONDS:g}. A template is",
            "stopped by the processor time that it used: others' work makes it last longer; the load",
            f"average was {load_before:.1f} at the start.",
            "",
            "| template | median | worst | |",
            "|---|---|---|---|",
            *rows[1:],
            "",
            "The prompt that is made before each question, to see that it can be:",
            "",
            "| conversation | median | worst | |",
            "|---|---|---|---|",
            row("5 messages of 100 words", short),
            row("201 messages of 100 words", long),
            "",
        ]
    )
    RESULT.write_text(text)
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
