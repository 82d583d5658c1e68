"""Lengths of time as people write them."""

from __future__ import annotations

import math

import pytest

from registry.errors import UsageError
from slmctl.app.durations import parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5m", 300.0),
        ("1h30m", 5400.0),
        ("90", 90.0),
        ("0", 0.0),
        ("0s", 0.0),
        ("1.5h", 5400.0),
        (".5s", 0.5),
        ("250ms", 0.25),
        ("+10s", 10.0),
        (" 7s ", 7.0),
        ("-1", math.inf),
        ("-1m", math.inf),
        ("24h", 86400.0),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text, what="--keep") == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "m", "5x", "5 m", "1m5", "five", "1e3s", "--5s", "9999999h", "٣s", "5m" * 40]
)
def test_what_is_none(text: str) -> None:
    with pytest.raises(UsageError, match="--keep takes a length of time"):
        parse_duration(text, what="--keep")
