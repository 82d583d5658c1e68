"""What is learned from loads and answers: the arithmetic, the file, and two who write it at once."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtimes.planning.values import LowerBound, Shape
from slmctl.app.planning.history import MAX_ROWS, BoundRecord, EstimateRecord, History, SpeedRecord
from slmctl.app.planning.history_file import read_history, update_history
from slmctl.app.planning.learning import SpeedSample, is_trusted, prior, sharpened

ESTIMATE = EstimateRecord(
    architecture="qwen3", engine="llama.cpp", build="b11549", loads=1, planned=1_030, measured=1_000, worst=0.03,
    oracle=False, model="qwen3:0.6b", date="2026-01-01T00:00:00Z",
)  # fmt: skip
SPEED = SpeedRecord(
    engine="llama.cpp", build="b11549", place="cpu", machine="a CPU", threads=2, overhead=100e-6, bandwidth=10e9,
    samples=0, date="2026-01-01T00:00:00Z",
)  # fmt: skip
BOUND = BoundRecord(
    bound=LowerBound(digest="sha256:0", runtime="llama.cpp", shape=Shape(context=4096), pool="host", bytes=10**9),
    build="b11549", model="m:latest", date="2026-01-01T00:00:00Z",
)  # fmt: skip


def test_a_history_is_read_as_it_was_written(tmp_path: Path) -> None:
    history = History().with_estimate(ESTIMATE).with_speed(prior(SPEED)).with_bound(BOUND)
    assert update_history(tmp_path, lambda _: history)
    assert read_history(tmp_path) == history


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"schema": "slmctl.history/2"}', "\0" * 100, '{"speeds": 1}']
)
def test_a_damaged_file_is_an_empty_history_and_is_written_anew(tmp_path: Path, text: str) -> None:
    (tmp_path / "history.json").write_text(text)
    assert read_history(tmp_path) == History()
    assert update_history(tmp_path, lambda old: old.with_estimate(ESTIMATE))
    assert read_history(tmp_path).estimates == (ESTIMATE,)


@pytest.mark.parametrize(
    "numbers", [{"overhead": 10**400}, {"overhead": 1e300}, {"bandwidth": 1e-320}, {"bandwidth": -1.0}]
)
def test_a_speed_that_no_machine_has_is_left_out(numbers: dict[str, float]) -> None:
    document = History().with_speed(SPEED).to_json()
    row = json.loads(json.dumps(document["speeds"]))[0]
    assert History.from_json({**document, "speeds": [{**row, **numbers}]}) == History()


def test_rows_of_another_shape_are_left_out_and_the_others_stay(tmp_path: Path) -> None:
    document = History().with_estimate(ESTIMATE).with_speed(SPEED).with_bound(BOUND).to_json()
    rows = [document["estimates"], document["speeds"], document["bounds"]]
    for row in rows:
        assert isinstance(row, list)
        good = json.loads(json.dumps(row[0]))
        row += [None, {}, *({**good, name: None} for name in good if name != "covariance")]
        row += [{**good, "bound": {**good["bound"], "shape": {"context": "1"}}}] if "bound" in good else []
    rows_again = History.from_json(json.loads(json.dumps(document)))
    assert (rows_again.speeds, rows_again.bounds) == ((SPEED,), (BOUND,))
    assert rows_again.estimates[0] == ESTIMATE


def test_the_tables_are_bounded_and_the_oldest_rows_go() -> None:
    history = History()
    for number in range(MAX_ROWS + 3):
        history = history.with_estimate(replace(ESTIMATE, architecture=f"a{number}"))
    assert len(history.estimates) == MAX_ROWS
    assert history.estimates[0].architecture == "a3"


def test_loads_are_counted_and_what_was_distrusted_once_stays_so() -> None:
    far_off = replace(ESTIMATE, planned=1_100, worst=0.1, oracle=True)
    history = History().with_estimate(far_off).with_estimate(ESTIMATE)
    assert (history.estimates[0].loads, history.estimates[0].worst) == (2, 0.1)
    assert history.distrusts("qwen3", "llama.cpp", "b11549")
    assert not history.distrusts("qwen3", "llama.cpp", "b11550")


def test_a_new_build_of_an_engine_forgets_how_fast_the_old_one_was() -> None:
    history = History().with_speed(SPEED).with_speed(replace(SPEED, build="b11550"))
    assert [each.build for each in history.speeds] == ["b11550"]


def test_a_bound_only_rises() -> None:
    lower = replace(BOUND, bound=replace(BOUND.bound, bytes=5))
    assert History().with_bound(BOUND).with_bound(lower).bounds[0].bound == BOUND.bound


@pytest.mark.parametrize(
    ("build", "now", "counts"),
    [
        ("b11549", "2026-01-01T00:00:00Z", True),
        ("b11549", "2026-01-07T23:00:00Z", True),
        ("b11549", "2026-01-08T01:00:00Z", False),
        ("b11549", "2025-12-01T00:00:00Z", False),
        ("b11550", "2026-01-01T00:00:00Z", False),
        (None, "2026-01-01T00:00:00Z", False),
    ],
)
def test_a_bound_counts_for_its_build_of_the_engine_and_for_days(
    build: str | None, now: str, counts: bool
) -> None:
    history = History().with_bound(BOUND)
    assert history.bounds_of({"llama.cpp": build}, now) == ((BOUND.bound,) if counts else ())
    assert history.bounds_of({}, now) == ()


@pytest.mark.parametrize("date", ["", "yesterday", "2026-01-01", "2026-01-01T00:00:00"])
def test_a_bound_of_no_time_counts_for_nothing(date: str) -> None:
    history = History().with_bound(replace(BOUND, date=date))
    assert history.bounds_of({"llama.cpp": "b11549"}, "2026-01-01T00:00:00Z") == ()


def test_a_bound_that_lapsed_gives_way_to_a_lower_one() -> None:
    later = replace(BOUND, bound=replace(BOUND.bound, bytes=5), date="2026-03-01T00:00:00Z")
    assert History().with_bound(BOUND).with_bound(later).bounds == (later,)


@pytest.mark.parametrize(
    ("shape", "refuted"),
    [
        (Shape(context=4096), True),
        (Shape(context=8192), True),
        (Shape(context=2048), False),
        (Shape(context=8192, type_k="q8_0"), False),
        (Shape(context=8192, gpu_layers=3), False),
    ],
)
def test_a_load_of_no_less_that_went_well_refutes_a_bound(shape: Shape, refuted: bool) -> None:
    history = History().with_bound(BOUND)
    assert (history.without_bounds("sha256:0", "llama.cpp", shape).bounds == ()) is refuted
    assert history.without_bounds("sha256:1", "llama.cpp", shape) == history
    assert history.without_bounds("sha256:0", "vllm", shape) == history


def test_answers_of_two_models_tell_both_parameters_whatever_the_prior_was() -> None:
    record = prior(SPEED)
    small, large = (30, 90_000_000), (32, 4_000_000_000)
    for layers, size in [small, large] * 40:
        seconds = layers * 50e-6 + size / 14e9
        record = sharpened(record, SpeedSample(layers=layers, bytes=size, seconds=seconds))
    assert record.overhead == pytest.approx(50e-6, rel=0.2)
    assert record.bandwidth == pytest.approx(14e9, rel=0.02)


@pytest.mark.parametrize(("size", "trusted"), [(9_000_000, False), (450_000_000, True)])
def test_answers_out_of_the_processor_s_caches_measure_no_memory(size: int, trusted: bool) -> None:
    record = prior(SPEED)
    for _ in range(20):
        record = sharpened(record, SpeedSample(layers=10, bytes=size, seconds=10 * 100e-6 + size / 10e9))
    assert is_trusted(record) == trusted


def test_answers_of_one_model_are_predicted_after_a_few() -> None:
    record = prior(SPEED)
    seconds = 28 * 200e-6 + 400e6 / 8e9
    for _ in range(5):
        record = sharpened(record, SpeedSample(layers=28, bytes=400_000_000, seconds=seconds))
    assert 28 * record.overhead + 400e6 / record.bandwidth == pytest.approx(seconds, rel=0.03)


@given(
    st.lists(
        st.tuples(st.integers(1, 120), st.integers(1_000, 10**12), st.floats(1e-6, 1e3)),
        min_size=1,
        max_size=50,
    )
)
def test_no_answers_make_a_speed_that_is_none(samples: list[tuple[int, int, float]]) -> None:
    record = prior(SPEED)
    for layers, size, seconds in samples:
        record = sharpened(record, SpeedSample(layers=layers, bytes=size, seconds=seconds))
        assert record.overhead >= 0
        assert record.bandwidth > 0
        assert History.from_json(json.loads(json.dumps(History().with_speed(record).to_json()))).speeds == (
            record,
        )


_ADD = """
import sys
from dataclasses import replace
from pathlib import Path
from slmctl.app.planning.history_file import update_history
from tests.slmctl.app.planning.test_history import ESTIMATE
for number in range(10):
    assert update_history(Path(sys.argv[1]), lambda old: old.with_estimate(replace(ESTIMATE, loads=1)))
"""


def test_two_processes_that_write_lose_nothing_of_each_other(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", _ADD, str(tmp_path)]
    processes = [subprocess.Popen(argv, cwd=Path(__file__).parents[4]) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    assert read_history(tmp_path).estimates[0].loads == 20


def test_a_home_that_cannot_be_written_is_told_by_false(tmp_path: Path) -> None:
    assert not update_history(tmp_path / "none", lambda old: old.with_estimate(ESTIMATE))
