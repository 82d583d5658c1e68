"""When another connection is sent."""

from __future__ import annotations

import pytest

from registry.transfer.demand import Demand

MIB = 1 << 20


def test_one_begins_alone() -> None:
    demand = Demand()
    assert demand.wants(0, 100.0)
    assert not demand.wants(1, 100.0)
    assert not demand.wants(1, 100.04)
    assert demand.next_time == pytest.approx(100.09)


@pytest.mark.parametrize("active", [1, 7])
def test_more_are_sent_while_those_that_are_there_bring_little(active: int) -> None:
    demand = Demand()
    demand.wants(active, 100.0)
    demand.came(active * 9 * MIB)
    assert demand.wants(active, 100.0625)


def test_a_fast_one_stays_alone_until_it_slows_down() -> None:
    demand = Demand()
    demand.wants(0, 100.0)
    demand.wants(1, 100.0)
    for tenth in range(1, 21):
        demand.came(25 * MIB)
        assert not demand.wants(1, 100.0 + tenth / 10)
        assert demand.wants(0, 100.0 + tenth / 10), "when it is done, another may begin"
        assert not demand.wants(1, 100.0 + tenth / 10)
    assert any(demand.wants(1, 103.0 + tenth / 10) for tenth in range(10))


def test_many_that_are_fast_become_one() -> None:
    demand = Demand()
    demand.wants(1, 100.0)
    assert demand.wants(1, 100.06)
    demand.wants(8, 100.06)
    demand.came(8 * 60 * MIB)
    assert not demand.wants(8, 100.26)


def test_the_time_between_requests_counts_for_nothing() -> None:
    demand = Demand()
    demand.wants(1, 100.0)
    demand.came(14 * MIB)
    assert not demand.wants(1, 100.0625)
    demand.wants(0, 100.0625)
    assert demand.wants(0, 190.0)
    assert not demand.wants(1, 190.0)
