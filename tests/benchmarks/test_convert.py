"""The measurement of conversions, on a small model: it runs, and measures what it says. No test asserts a speed."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.convert import run
from benchmarks.convert_sides import COMMAND, ORIGINAL, OURS, QUANTIZER, THEIRS
from tests.compat import oracle
from tests.registries.programs import need


@pytest.mark.compat
def test_everything_is_measured_as_often_as_is_said(tmp_path: Path) -> None:
    need("time")
    oracle.require()
    oracle.require_quantizer()
    text, numbers = run(
        tmp_path,
        rounds=2,
        threads=2,
        llama_cpp=oracle.LLAMA_CPP,
        oracle=str(oracle.PYTHON),
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
