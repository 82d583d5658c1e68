"""A sample of `make load`: many streams from one server, alone and while a gigabyte loads."""

from __future__ import annotations

import pytest

from tests.load.serve import minutes_of_load


@pytest.mark.slow
def test_many_streams_for_a_while() -> None:
    alone, beside, took = minutes_of_load(streams=64, seconds=8)
    assert len(alone.asked) >= 64
    assert len(beside.asked) >= 64
    assert took < 8 * 10
