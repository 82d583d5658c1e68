"""Hostile Modelfiles are read at once; benchmarks/modelfile_linear.py measures how the time grows."""

from __future__ import annotations

import time

import pytest

from modelfiles.authoring import check, from_text
from modelfiles.errors import render
from modelfiles.format import Unwritable, format_modelfile
from modelfiles.spec import merge
from modelfiles.syntax import MAX_PROBLEMS, MAX_WARNINGS, scan
from tests.modelfiles.hostile_modelfiles import SHAPES, Shape

CHARACTERS = 100_000
DEADLINE_SECONDS = 10.0  # more than ten times what the slowest takes; a quadratic reader needs minutes


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_a_hostile_file_is_read_and_written_in_time(shape: Shape) -> None:
    text = shape.text(CHARACTERS)
    start = time.process_time()
    modelfile, problems = scan(text)
    assert len(problems) <= MAX_PROBLEMS
    assert len(modelfile.warnings) <= MAX_WARNINGS
    for problem in (*problems, *modelfile.warnings):
        assert len(render(problem, filename="M", text=text)) < 1000
    if not problems:
        try:
            format_modelfile(modelfile)
        except Unwritable as error:
            assert len(error.message) < 200  # noqa: PT017  # either outcome is right
    check(modelfile)
    assert time.process_time() - start < DEADLINE_SECONDS


def test_many_licences_are_understood_in_time() -> None:
    text = "FROM x\n" + "".join(f"LICENSE {number}\n" for number in range(50_000))
    start = time.process_time()
    spec = from_text(text + text).spec
    assert len(merge(spec, spec).licenses) == 50_000
    assert time.process_time() - start < DEADLINE_SECONDS
