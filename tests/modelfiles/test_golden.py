"""The golden Modelfiles say what they said when somebody looked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from modelfiles.format import format_modelfile
from modelfiles.syntax import parse
from tests.modelfiles import golden

MISSING = "python -m tests.modelfiles.golden writes it"


@pytest.mark.parametrize("folder", golden.folders("good"), ids=lambda folder: folder.name)
def test_a_good_file_is_read_as_it_was(folder: Path) -> None:
    _, problems = golden.read(folder)
    assert problems == ()
    assert (folder / "instructions.json").exists(), MISSING
    assert golden.instructions(folder) == golden.expected(folder, "instructions.json")
    assert golden.warnings(folder) == golden.expected(folder, "warnings.txt")


@pytest.mark.parametrize("folder", golden.folders("good"), ids=lambda folder: folder.name)
def test_a_good_file_says_the_same_when_it_is_formatted(folder: Path) -> None:
    once = format_modelfile(parse((folder / "Modelfile").read_bytes()))
    assert format_modelfile(parse(once)) == once
    read = [(each.keyword, each.name, each.value) for each in parse(once).instructions]
    expected = json.loads((folder / "instructions.json").read_bytes())
    assert read == [(each["keyword"], each["name"], each["value"]) for each in expected]


@pytest.mark.parametrize("folder", golden.folders("bad"), ids=lambda folder: folder.name)
def test_a_bad_file_is_refused_as_it_was(folder: Path) -> None:
    assert (folder / "problems.txt").exists(), MISSING
    assert golden.problems(folder) == golden.expected(folder, "problems.txt")
