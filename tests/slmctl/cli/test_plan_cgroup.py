"""A plan in a cgroup of 1 GiB that the test makes: it is respected, and what happens to who does not look.

The model has three builds of one shape. At its whole context the cache alone takes 1.5 GiB, all of it touched
when it is made; the best build takes 490 MiB, and with the shortest context that a plan makes on its own it
still does not fit, while the next one does. Random weights, every byte of them written.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cgroups import MemoryGroup, NoMemoryGroup, memory_group
from tests.slmctl.cli.program import Outcome, Program
from tools.random_build import make_random_build
from tools.random_model import WORDS, Shape

GIB = 1 << 30
SHAPE = Shape(
    layers=38,
    hidden=1024,
    heads=20,
    kv_heads=10,
    head_size=64,
    feed_forward=2816,
    vocabulary=4096,
    context=16384,
)
BUILDS = ("Q8_0", "Q5_K_M", "Q4_K_M")
BEST = "gguf-q8_0"
WISH = ("--prefer", "quality")
"""So that what is chosen does not hang on how fast this machine is."""

pytestmark = [pytest.mark.root, pytest.mark.slow]


@pytest.fixture
def group() -> Iterator[MemoryGroup]:
    try:
        with memory_group("slmctl-test", GIB) as made:
            yield made
    except NoMemoryGroup as error:
        pytest.skip(f"no cgroup can be made here: {error}")


@pytest.fixture
def model(slmctl: Program, tmp_path: Path) -> str:
    lines = []
    for quantization in BUILDS:
        path = tmp_path / f"{quantization}.gguf"
        make_random_build(path, SHAPE, quantization)
        lines.append(f"FROM {path}")
    (tmp_path / "Modelfile").write_text("\n".join(lines))
    made = slmctl("create", "m", "-f", str(tmp_path / "Modelfile"), "--move")
    assert made.code == 0, made.err
    for blob in (slmctl.store / "blobs" / "sha256").iterdir():
        _forget(blob)
    return "m"


def _forget(file: Path) -> None:
    """Take a file out of the page cache, so that who reads it is charged for it."""
    with file.open("rb") as stream:
        os.fsync(stream.fileno())
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _inside(slmctl: Program, group: MemoryGroup, *arguments: str) -> Outcome:
    return slmctl.run(group.around(slmctl.command(*arguments)))


def test_the_plan_respects_it_the_run_survives_and_who_does_not_look_is_killed(
    slmctl: Program, model: str, group: MemoryGroup, tmp_path: Path
) -> None:
    outside: dict[str, Any] = slmctl("plan", model, *WISH, "--json").json
    if outside["memory"]["pools"][0]["budget_bytes"] < 3 * GIB:
        pytest.skip("this machine has little more memory than the cgroup")
    assert outside["choice"]["variant"] == BEST
    assert outside["memory"]["need_bytes"] > GIB

    inside: dict[str, Any] = _inside(slmctl, group, "plan", model, *WISH, "--json").json
    assert inside["verdict"] == "ok"
    assert inside["choice"]["variant"] in {"gguf-q5_k_m", "gguf-q4_k_m"}
    assert inside["choice"]["ctx"] >= 4096
    (pool,) = inside["memory"]["pools"]
    assert 0 < pool["need_hi_bytes"] <= pool["budget_bytes"] < GIB - (128 << 20)
    refused = [each for each in inside["rejected"] if each.get("variant") == BEST]
    assert "MEM_CGROUP" in {each["code"] for each in refused}
    assert str(group.limit_file) in repr(inside)

    ran = _inside(slmctl, group, "run", model, *WISH, "--raw", "--max-tokens", "12", "a", "--json")
    assert ran.code == 0, ran.err
    answer = ran.json
    assert answer["variant"] == inside["choice"]["variant"]
    assert set(str(answer["response"]).split()) <= WORDS
    assert answer["generated_tokens"] == 12
    assert group.kills == 0

    host = tmp_path / "host.json"
    assert slmctl("hardware", "--save", str(host)).code == 0
    planned_outside = ("run", model, *WISH, "--for", str(host), "--raw", "--max-tokens", "12", "a")
    warned = _inside(slmctl, group, *planned_outside)
    assert (warned.code, group.kills) == (4, 0)
    assert "less is free than when it was planned" in warned.err

    blind = _inside(slmctl, group, *planned_outside, "--force")
    assert (blind.code, group.kills) == (4, 1), blind.err
    sentence, hint = blind.err.splitlines()[-2:]
    assert "killed, probably because the machine ran out of memory" in sentence
    assert hint.startswith("  ")
