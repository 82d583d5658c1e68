"""When a model whose worker has died is started again."""

from __future__ import annotations

import pytest

from slmctl.server.circuit import Circuit


def test_nothing_is_waited_for_at_first() -> None:
    circuit = Circuit()
    assert (circuit.open_seconds(0.0), circuit.pause_seconds(0.0)) == (0.0, 0.0)


def test_each_death_doubles_the_pause_up_to_half_a_minute() -> None:
    circuit, now, pauses = Circuit(), 0.0, []
    for _ in range(9):
        now += 61.0  # never three in a minute
        circuit.died(now, was_well=False)
        pauses.append(circuit.pause_seconds(now))
    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]


def test_a_worker_that_was_well_is_replaced_at_once_and_the_count_begins_anew() -> None:
    circuit = Circuit()
    circuit.died(1.0, was_well=False)
    circuit.died(3.0, was_well=False)
    circuit.died(10.0, was_well=True)
    assert circuit.pause_seconds(10.0) == 0.0
    circuit.died(11.0, was_well=False)
    assert circuit.pause_seconds(11.0) == 0.5
    assert circuit.open_seconds(11.0) == 0.0


@pytest.mark.parametrize(("last", "is_open"), [(60.5, True), (61.5, False)])
def test_three_deaths_within_a_minute_open_it(last: float, is_open: bool) -> None:
    circuit = Circuit()
    circuit.died(1.0, was_well=False)
    circuit.died(30.0, was_well=False)
    circuit.died(last, was_well=False)
    assert (circuit.open_seconds(last) == 30.0) is is_open


def test_after_half_a_minute_one_more_try_decides() -> None:
    circuit = Circuit()
    for now in (1.0, 2.0, 4.0):
        circuit.died(now, was_well=False)
    assert circuit.open_seconds(33.9) == pytest.approx(0.1)
    assert circuit.open_seconds(34.0) == 0.0
    circuit.died(35.0, was_well=False)
    assert circuit.open_seconds(35.0) == 30.0
    circuit.died(70.0, was_well=True)
    circuit.died(71.0, was_well=False)
    assert circuit.open_seconds(71.0) == 0.0
