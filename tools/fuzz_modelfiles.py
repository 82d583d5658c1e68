"""Look for bytes that make the reading, writing or checking of a Modelfile go wrong, guided by coverage.

    python -m tools.fuzz_modelfiles [--seconds 60]        `make fuzz`; atheris comes with slmctl[fuzz]

It starts from the golden Modelfiles (tests/golden/modelfiles) and what earlier runs found worth keeping. A
finding ends it with a traceback, and its bytes stay in build/fuzz/findings; make a golden folder of them with
the fix.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["modelfiles"]):
    from modelfiles.authoring import check
    from modelfiles.errors import ModelfileError, render
    from modelfiles.format import Unwritable, format_modelfile
    from modelfiles.syntax import MAX_PROBLEMS, MAX_WARNINGS, Modelfile, parse, scan
    from modelfiles.words import is_joiner

SEEDS = Path(__file__).parents[1] / "tests" / "golden" / "modelfiles"
WORKPLACE = Path(__file__).parents[1] / "build" / "fuzz"
WORDS = (
    *(
        "FROM ",
        "PARAMETER ",
        "TEMPLATE ",
        "SYSTEM ",
        "ADAPTER ",
        "LICENSE ",
        "MESSAGE ",
        "REQUIRES ",
        "DRAFT ",
    ),
    *("RENDERER ", "PARSER ", "user ", "assistant ", "system ", "stop ", "model ", '"""', '"', "\n", "\r\n"),
)
MAX_BYTES = 4096


def one_input(data: bytes) -> None:
    """What must hold for any bytes; raises where it does not."""
    modelfile, problems = scan(data)
    assert len(problems) <= MAX_PROBLEMS + 1
    assert len(modelfile.warnings) <= MAX_WARNINGS
    for problem in (*problems, *modelfile.warnings):
        assert problem.advice
        for line in render(problem, filename="M", text=modelfile.text).split("\n"):
            assert all(each.isprintable() or is_joiner(each) for each in line), line
    check(modelfile)
    if problems:
        _must_be_refused(data)
        return
    assert parse(data) == modelfile
    try:
        text = format_modelfile(modelfile)
    except Unwritable:
        return
    again = parse(text)
    assert _said(again) == _said(modelfile)
    assert format_modelfile(again) == text


def _must_be_refused(data: bytes) -> None:
    try:
        parse(data)
    except ModelfileError:
        return
    raise AssertionError("scan has problems that parse has not")


def _said(modelfile: Modelfile) -> list[tuple[str, str | None, str]]:
    return [(each.keyword, each.name, each.value) for each in modelfile.instructions]


def main() -> int:
    parser = argparse.ArgumentParser(description="Fuzz the reading of Modelfiles.")
    parser.add_argument("--seconds", type=int, default=60)
    seconds = parser.parse_args().seconds
    shutil.rmtree(WORKPLACE / "seeds", ignore_errors=True)
    for folder in ("corpus", "seeds", "findings"):
        (WORKPLACE / folder).mkdir(parents=True, exist_ok=True)
    for seed in SEEDS.glob("*/*/Modelfile"):
        shutil.copy(seed, WORKPLACE / "seeds" / f"{seed.parts[-3]}-{seed.parts[-2]}")
    words = WORKPLACE / "words"
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in WORDS))
    options = [
        f"-max_total_time={seconds}",
        f"-max_len={MAX_BYTES}",
        f"-dict={words}",
        f"-artifact_prefix={WORKPLACE / 'findings'}{os.sep}",
        "-timeout=10",
        "-verbosity=0",
        "-print_final_stats=1",
        str(WORKPLACE / "corpus"),  # what is new is kept here, so that the next run goes on from it
        str(WORKPLACE / "seeds"),
    ]
    atheris.Setup([sys.argv[0], *options], one_input)
    atheris.Fuzz()  # ends the process
    return 0


def _escaped(word: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word.encode())


if __name__ == "__main__":
    sys.exit(main())
