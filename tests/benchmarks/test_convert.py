"""The measurement of conversions, on a small model: it runs, and measures what it says. No test asserts a speed."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks.convert import run
from benchmarks.convert_sides import COMMAND, ORIGINAL, OURS, QUANTIZER, THEIRS
from tests.registries.programs import need


@pytest.mark.compat
@pytest.mark.skipif(find_spec("llama_cpp") is None, reason="llama-cpp-python is not installed: make compat")
@pytest.mark.skipif("LLAMA_CPP_SOURCE" not in os.environ, reason="LLAMA_CPP_SOURCE names no llama.cpp")
def test_everything_is_measured_as_often_as_is_said(tmp_path: Path) -> None:
    need("time")
    text, numbers = run(
        tmp_path,
        rounds=2,
        threads=2,
        llama_cpp=Path(os.environ["LLAMA_CPP_SOURCE"]),
        oracle=sys.executable,
        layers=2,
        vocabulary=8192,
    )
    measured = numbers["measured"]
    assert isinstance(measured, dict)
    assert len(measured) == 6
    for title, sides in measured.items():
        names = [side["side"] for side in sides]
        assert names == ([OURS, COMMAND, THEIRS] if "Conversion" in title else [QUANTIZER, ORIGINAL])
        assert all(len(side["seconds"]) == len(side["peak_bytes"]) == 2 for side in sides)
        assert all(len(side["call_seconds"]) == (0 if "Conversion" in title else 2) for side in sides)
    assert text.count("at least") == 6
    assert text.count("at most") == 2
