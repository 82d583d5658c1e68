"""`slmctl hardware --calibrate`: models that are here are run, and plans know the machine from then on.

No test asserts a speed: what is measured is compared with what is predicted from it.
"""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.processes import until, wait_until_gone, worker_of
from tests.slmctl.cli.program import Program
from tools.random_build import make_random_build
from tools.random_model import Shape

LARGE = Shape(layers=6, hidden=1024, heads=16, kv_heads=8, head_size=64, feed_forward=3072, context=4096)
SMALL = Shape(layers=24, hidden=256, heads=4, kv_heads=2, head_size=64, feed_forward=768, context=4096)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model of 80 MB, more than a cache holds, and one of many layers."""
    folder = tmp_path_factory.mktemp("files")
    for name, shape in (("large", LARGE), ("small", SMALL)):
        make_random_build(folder / f"{name}.gguf", shape, "Q8_0")
    return {path.stem: path for path in folder.iterdir()}


def _create(slmctl: Program, files: dict[str, Path], *names: str) -> None:
    for name in names:
        assert slmctl("create", name, "--from", str(files[name])).code == 0


def _calibrate(slmctl: Program, *arguments: str) -> dict[str, Any]:
    done = slmctl("hardware", "--calibrate", *arguments, "--json")
    assert done.code == 0, done.err
    return done.json


def _times_off(predicted: float, measured: float) -> float:
    """By which share the predicted time of a token is off."""
    return measured / predicted - 1


def test_two_models_tell_how_fast_the_machine_is(slmctl: Program, files: dict[str, Path]) -> None:
    _create(slmctl, files, "large", "small")
    document = _calibrate(slmctl)
    found = document["calibration"]
    assert [model["name"] for model in found["models"]] == ["large:latest", "small:latest"]
    assert (found["before"]["basis"], found["after"]["basis"]) == ("prior", "measured")
    assert found["engine"] == "llama.cpp"
    assert found["threads"] == len(os.sched_getaffinity(0)) or found["threads"] <= 8
    before = sum(_times_off(each["before"], each["measured"]) ** 2 for each in found["models"])
    after = sum(_times_off(each["after"], each["measured"]) ** 2 for each in found["models"])
    assert after < before
    (speed,) = document["speeds"]
    assert (speed["basis"], speed["overhead"]) == ("measured", found["after"]["overhead"])


def test_one_model_is_predicted_as_it_was_measured_and_its_plan_says_so(
    slmctl: Program, files: dict[str, Path]
) -> None:
    _create(slmctl, files, "large", "small")
    wish = ("plan", "large", "--ctx", "4096", "--json")
    guessed = slmctl(*wish).json["speed"]
    (model,) = _calibrate(slmctl, "large")["calibration"]["models"]
    assert abs(_times_off(model["after"], model["measured"])) < 0.05
    planned = slmctl(*wish).json["speed"]
    low, expected, high = planned["decode_tps"]
    assert (guessed["basis"], planned["basis"]) == ("prior", "measured")
    # a plan counts more of the cache than the short answers filled, which costs few threads a lot
    assert 0.3 * model["measured"] < expected <= 1.06 * model["measured"]
    assert (
        high - low < guessed["decode_tps"][2] - guessed["decode_tps"][0]
        or expected > guessed["decode_tps"][1]
    )
    assert "calibrated" in slmctl("hardware").out


def test_without_any_model_the_one_that_ships_says_what_it_is_worth(slmctl: Program) -> None:
    document = _calibrate(slmctl)
    found = document["calibration"]
    assert [model["name"] for model in found["models"]] == ["hello:latest"]
    assert found["before"]["bandwidth"] == pytest.approx(found["after"]["bandwidth"])
    assert found["after"]["basis"] == "same-device"
    assert "40 percent" in found["accuracy"]
    shown = slmctl("hardware", "--calibrate", "hello")
    assert shown.code == 0
    assert max(map(len, shown.out.splitlines())) <= 80
    assert "MEASURED" in shown.out


def test_what_is_saved_afterwards_plans_the_same_elsewhere(
    slmctl: Program, files: dict[str, Path], tmp_path: Path
) -> None:
    """Speeds go along with a machine, also with the document of a calibration."""
    _create(slmctl, files, "large")
    document = _calibrate(slmctl, "large", "--save", str(tmp_path / "saved.json"))
    (tmp_path / "shown.json").write_text(json.dumps(document))
    here = slmctl("plan", "large", "--json").json["speed"]
    for name in ("saved", "shown"):
        there = slmctl("plan", "large", "--for", str(tmp_path / f"{name}.json"), "--json").json["speed"]
        assert there["decode_tps"] == pytest.approx(here["decode_tps"])


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(("--calibrate", "nothing"), 3), (("--calibrate", "--for", "vps-2cpu-4gb"), 2), (("--calibrate", "--profiles"), 2)],
)  # fmt: skip
def test_what_does_not_go(slmctl: Program, arguments: tuple[str, ...], code: int) -> None:
    assert slmctl("hardware", *arguments).code == code


def test_an_interrupted_calibration_leaves_nothing(slmctl: Program, files: dict[str, Path]) -> None:
    _create(slmctl, files, "large")
    process = slmctl.start("hardware", "--calibrate", "large")
    worker = until(lambda: worker_of(process.pid))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert wait_until_gone(worker, 30)
    assert not (slmctl.home / "history.json").exists()
    assert slmctl("plan", "large", "--json").json["speed"]["basis"] == "prior"
