"""python -m tests.fuzz [--seconds N] [--seed N] [OPERATION ...]: ask a server of its own for so long.

An operation is named as in "POST /v1/messages". Ends with 1 when anything was wrong.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.fuzzing import Findings, fuzz
from tests.fuzz.servers import guarded, still_answers


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("operations", nargs="*")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="slm") as folder, guarded(Path(folder)) as (server, secret):
        end = time.monotonic() + asked.seconds
        seed, total, wrong = asked.seed, 0, 0
        while time.monotonic() < end:
            findings = fuzz(server, secret, examples=25, seed=seed, until=end, only=asked.operations)
            _print(findings, seed)
            total += findings.asked
            wrong += len(findings.wrong)
            seed += 1
        still_answers(server, secret)
    print(f"{total} requests, seeds {asked.seed} to {seed - 1}, {wrong} kinds of answers that are wrong")
    return 1 if wrong else 0


def _print(findings: Findings, seed: int) -> None:
    print(f"seed {seed}: {findings.asked} answers")
    for label in sorted({label for label, _ in findings.answers}):
        counts = {
            status: count for (each, status), count in sorted(findings.answers.items()) if each == label
        }
        print(
            f"  {label}: {', '.join(f'{count} x {status}' for status, count in counts.items())}", flush=True
        )
    for kind, told in findings.wrong.items():
        print(f"\n{kind}\n{told}\n", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
