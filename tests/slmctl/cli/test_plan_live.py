"""A plan's memory against a load: the engine's own figures, and the process. No speed is asserted."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks.live import memory_of, workers
from tests.slmctl.cli.program import Program
from tools.random_build import make_random_build
from tools.random_model import Shape

SHAPE = Shape(
    layers=8, hidden=1024, heads=16, kv_heads=8, head_size=64, feed_forward=3072, vocabulary=4096, context=4096
)  # fmt: skip

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="asks /proc what a process has")


@pytest.mark.parametrize("quantization", ["Q4_K_M", "Q8_0"])
def test_what_is_planned_is_what_a_load_takes(slmctl: Program, tmp_path: Path, quantization: str) -> None:
    make_random_build(tmp_path / "m.gguf", SHAPE, quantization)
    assert slmctl("create", "m", "--from", str(tmp_path / "m.gguf")).code == 0
    plan = slmctl("plan", "m", "--ctx", "4096", "--json").json
    ran = slmctl("run", "m", "--ctx", "4096", "--raw", "--max-tokens", "4", "--keep", "60s", "a " * 600)
    assert ran.code == 0, ran.err
    assert "off by" not in ran.err
    (worker,) = workers(slmctl)
    seen = memory_of(worker)
    assert slmctl("stop", "--all").code == 0
    (load,) = json.loads((slmctl.home / "history.json").read_text())["estimates"]
    assert abs(load["planned"] / load["measured"] - 1) < 0.001
    need = plan["memory"]["need_bytes"]
    copied = sum(part["bytes"] for part in plan["memory"]["parts"] if part["name"].endswith(", rearranged"))
    taken = seen["RssAnon"] + seen["RssFile"] - copied  # the pages that it was copied from can be had back
    assert taken == pytest.approx(need, rel=0.03)
    assert seen["VmHWM"] <= (need + copied) * 1.03
