"""What timed runs say about the two parameters of decoding."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtimes.planning.calibration import IN_CACHE, Rates, TimedRun, calibrated

PRIOR = Rates(overhead=40e-6, bandwidth=18e9)

rates = st.builds(Rates, overhead=st.floats(5e-6, 500e-6), bandwidth=st.floats(2e9, 2e12))
runs = st.lists(
    st.builds(TimedRun, layers=st.integers(1, 100), bytes=st.floats(1e5, 1e11), seconds=st.floats(1e-5, 100)),
    max_size=5,
)


def _run(true: Rates, layers: int, size: float) -> TimedRun:
    probe = TimedRun(layers=layers, bytes=size, seconds=1)
    return TimedRun(layers=layers, bytes=size, seconds=true.seconds(probe))


@given(true=st.builds(Rates, overhead=st.floats(5e-6, 400e-6), bandwidth=st.floats(2e9, 180e9)))
def test_two_models_of_different_size_tell_both_parameters(true: Rates) -> None:
    """Of the overhead only as much can be told as a token of the smaller consists of."""
    small = max(IN_CACHE, true.bandwidth * true.overhead * 4)
    large = 100 * small
    runs = [_run(true, 20, small), _run(true, 20, large)]
    found = calibrated(PRIOR, runs)
    assert found.bandwidth == pytest.approx(true.bandwidth, rel=0.05)
    assert max(abs(found.error(run)) for run in runs) < 0.05
    if true.overhead * 20 > 0.3 * runs[0].seconds:
        assert found.overhead == pytest.approx(true.overhead, rel=0.15)


def test_one_large_model_keeps_the_overhead_and_finds_the_bandwidth() -> None:
    run = _run(Rates(overhead=40e-6, bandwidth=9e9), 28, 2e9)
    found = calibrated(PRIOR, [run])
    assert found.overhead == pytest.approx(40e-6, rel=0.05)
    assert found.bandwidth == pytest.approx(9e9, rel=0.02)


def test_a_tiny_model_says_nothing_about_the_bandwidth() -> None:
    """hello has 5 layers and 4 MB: at 100 microseconds a layer, memory is not what its tokens wait for."""
    found = calibrated(PRIOR, [TimedRun(layers=5, bytes=4e6, seconds=1e-3)])
    assert found.overhead == pytest.approx(156e-6, rel=0.01)
    assert found.bandwidth == pytest.approx(PRIOR.bandwidth)


def test_it_is_the_prior_without_a_run() -> None:
    assert calibrated(PRIOR, []).bandwidth == pytest.approx(PRIOR.bandwidth)
    assert calibrated(PRIOR, []).overhead == pytest.approx(PRIOR.overhead)


@given(prior=rates, timed=runs)
def test_nothing_makes_a_rate_that_is_none(prior: Rates, timed: list[TimedRun]) -> None:
    found = calibrated(prior, timed)
    assert found.overhead >= 0
    assert 0 < found.bandwidth <= prior.bandwidth * 21


@given(prior=rates, layers=st.integers(4, 80), size=st.floats(IN_CACHE, 1e10), times=st.floats(0.2, 5))
def test_the_model_that_was_run_is_predicted_better_than_before(
    prior: Rates, layers: int, size: float, times: float
) -> None:
    expected = prior.seconds(TimedRun(layers=layers, bytes=size, seconds=1))
    run = TimedRun(layers=layers, bytes=size, seconds=expected * times)
    assert abs(calibrated(prior, [run]).error(run)) <= abs(prior.error(run)) + 1e-9
    assert abs(calibrated(prior, [run]).error(run)) < 0.05
