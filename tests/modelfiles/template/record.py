"""Writes Go's answers into cases.jsonl: `python -m tests.modelfiles.template.record`.

A new case is a line {"template": ...} there, with "zero": true for the option missingkey=zero; the answer of
one that fails is null. Bytes that are not UTF-8 stand as U+DC80 to U+DCFF.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from tests.modelfiles.template.data import RECORDS
from tests.modelfiles.template.oracle import Question, ask_go, build

CASES = Path(__file__).with_name("cases.jsonl")


class Case(NamedTuple):
    question: Question
    output: str | None


def cases() -> list[Case]:
    found = []
    for line in CASES.read_text(encoding="utf-8").splitlines():
        given = json.loads(line)
        question = Question(given["template"], RECORDS, given.get("zero", False))
        found.append(Case(question, given.get("output")))
    return found


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        program = build(Path(folder))
        if program is None:
            print("there is no Go 1.18 to 1.21", file=sys.stderr)  # noqa: T201  a program for developers
            return 1
        known = cases()
        lines = []
        for (question, _), (output, _) in zip(
            known, ask_go(program, [case.question for case in known]), strict=True
        ):
            text = None if output is None else output.decode("utf-8", "surrogateescape")
            zero = {"zero": True} if question.zero else {}
            lines.append(json.dumps({"template": question.template, **zero, "output": text}) + "\n")
    CASES.write_text("".join(lines), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
