"""The measurement of the store, on small ones: it runs, and measures what it says. No test asserts a speed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from benchmarks.many_models import WITH_TWO_BUILDS, make_store, name_of
from benchmarks.store import COMMANDS, run
from registry.names import parse
from registry.store.store import Store
from slmctl.app.listing import list_models
from slmctl.app.package import Package
from tests.slmctl.cli.program import Program


def test_the_models_are_whole(tmp_path: Path) -> None:
    program = Program(tmp_path / "home", tmp_path)
    make_store(program.store, 21)
    store = Store(program.store)
    models = list_models(store)
    assert {model.name for model in models} == {name_of(number) for number in range(21)}
    assert sum(len(model.variants) for model in models) == 21 + 3
    for number in range(21):
        variants = Package.open(store, parse(name_of(number))).variants
        assert len(variants) == (2 if number % WITH_TWO_BUILDS == 0 else 1)
        assert all(variant.local and variant.facts is not None for variant in variants)
    checked = program("verify", "--json")
    assert checked.code == 0
    assert checked.json["findings"] == []
    assert program("gc", "--dry-run", "--json").json["garbage"] == []


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_everything_is_measured_as_often_as_is_said(tmp_path: Path) -> None:
    text, numbers = run(tmp_path, (2, 3, 4), 2, 1 << 20)
    sides = numbers["sides"]
    assert isinstance(sides, list)
    assert [(side["command"], side["models"]) for side in sides[:-3]] == [
        (command, size) for size in (2, 3, 4) for command in COMMANDS
    ]
    assert all(len(side["seconds"]) == len(side["cpu_seconds"]) == 2 for side in sides)
    for size in (2, 3, 4):
        names = Store(tmp_path / f"models-{size}" / "store").names().entries
        assert len(names) == size + 3  # a tag for each round, and one for that which does not count
    assert text.count("\n| `slmctl ") == 3 * len(COMMANDS) + 2
