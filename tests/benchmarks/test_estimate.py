"""The error table: that it measures, and that the restated formulas give what they are quoted for."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.estimate import LOADS, headers, llmfit, measure, report, whichllm
from registry.formats.facts import ModelFacts
from runtimes.planning.values import Shape

BILLION = ModelFacts(
    format="gguf", architecture="llama", parameters=10**9, layers=16, hidden=2048, kv_heads=8, head_size_k=64
)


def test_the_others_formulas() -> None:
    shape = Shape(context=4096)
    assert whichllm(BILLION, shape) == pytest.approx(562.5e6 + 14 * 2**20 + 480e6 + 500e6)
    assert llmfit(BILLION, shape) == pytest.approx(0.58 * 2**30 + 128 * 2**20 + 0.5 * 2**30)


def test_the_table_is_of_what_the_engine_says(tmp_path: Path) -> None:
    chosen = {name: header for name, header in headers().items() if name in {"smollm2/135m", "mamba2"}}
    rows = measure(tmp_path, chosen)
    assert [(row.model, row.load) for row in rows] == [
        *(("smollm2/135m", load) for load, shape in LOADS.items() if shape.context <= 8192),
        *(("mamba2", load) for load in LOADS),
    ]
    assert all(abs(row.error("slmctl")) < (0.005 if row.model == "smollm2/135m" else 0.12) for row in rows)
    assert report(rows).count("smollm2/135m") == 2
