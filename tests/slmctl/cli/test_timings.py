"""Timings as Ollama prints them."""

from __future__ import annotations

import pytest

from registry.digest import Digest
from runtimes.protocol import Finished
from slmctl.app.load import Loaded
from slmctl.cli.render import human_duration
from slmctl.cli.timings import duration, timings


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0ms"),
        (0.0357142, "35.714ms"),
        (0.25, "250ms"),
        (1.0, "1s"),
        (1.25, "1.25s"),
        (62.5, "1m2.5s"),
        (3600.0, "1h0m0s"),
        (7325.5, "2h2m5.5s"),
    ],
)
def test_durations_are_spelled_as_go_does(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_all_lines_and_what_is_not_known() -> None:
    digest = Digest.parse(f"sha256:{'0' * 64}")
    loaded = Loaded(name="m", digest=digest, variant="v", engine="e", context_length=1, load_seconds=0.25)
    finished = Finished(
        reason="stop",
        prompt_tokens=30,
        cached_tokens=4,
        prompt_seconds=0.13,
        generated_tokens=298,
        generation_seconds=4.0,
    )
    assert timings(finished, total_seconds=4.5, loaded=loaded) == [
        "total duration:       4.5s",
        "load duration:        250ms",
        "prompt eval count:    30 token(s)",
        "prompt eval duration: 130ms",
        "prompt eval rate:     200.00 tokens/s",
        "eval count:           298 token(s)",
        "eval duration:        4s",
        "eval rate:            74.50 tokens/s",
    ]
    assert timings(Finished(reason="stop"), total_seconds=1) == ["total duration:       1s"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 seconds"),
        (0.2, "1 second"),
        (59.1, "60 seconds"),
        (60, "1 minute"),
        (61, "2 minutes"),
        (3600, "1 hour"),
        (86_401, "2 days"),
    ],
)
def test_lengths_of_time_for_people(seconds: float, text: str) -> None:
    assert human_duration(seconds) == text
