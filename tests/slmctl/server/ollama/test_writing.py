from __future__ import annotations

import time
from datetime import datetime

import pytest

from slmctl.app.about_model import count_text, parameters_text
from slmctl.server.ollama.writing import nanoseconds, now, rfc3339, without_empty


@pytest.mark.parametrize(
    ("seconds", "ns", "text"),
    [
        (0, 0, "1970-01-01T00:00:00Z"),
        (1_700_000_000, 123_456_789, "2023-11-14T22:13:20.123456789Z"),
        (1_700_000_000, 100_000_000, "2023-11-14T22:13:20.1Z"),
        (1_700_000_000, 1, "2023-11-14T22:13:20.000000001Z"),
    ],
)
def test_times_are_gos(seconds: int, ns: int, text: str) -> None:
    assert rfc3339(seconds, ns) == text


def test_now_is_now() -> None:
    assert abs(datetime.fromisoformat(now()[:19] + "+00:00").timestamp() - time.time()) < 60


def test_durations_are_whole_nanoseconds_and_none_is_nothing() -> None:
    assert [nanoseconds(each) for each in (None, 0.0, 1.5, -1.0)] == [0, 0, 1_500_000_000, 0]
    assert without_empty({"a": 0, "b": "", "c": 3, "d": None, "e": [], "f": False}) == {"c": 3}


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (999, "999"),
        (1_000, "1K"),
        (125_000_000, "125M"),
        (500_500_000, "500.50M"),
        (2_800_000_000, "2.8B"),
        (7_000_000_000, "7B"),
        (3_212_749_888, "3.2B"),
    ],
)
def test_counts_of_parameters_are_written_as_ollama_writes_them(count: int, text: str) -> None:
    assert count_text(count) == text


def test_parameters_are_lines_with_gos_values() -> None:
    text = parameters_text({"num_ctx": 4096, "stop": ("<|im_end|>", 'a"b'), "temperature": 0.5, "top_p": 1.0})
    assert text.splitlines() == [
        "num_ctx                        4096",
        'stop                           "<|im_end|>"',
        'stop                           "a\\"b"',
        "temperature                    0.5",
        "top_p                          1",
    ]
