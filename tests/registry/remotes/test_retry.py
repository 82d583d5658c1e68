"""Trying again, with a clock that a test sets."""

import email.utils

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import NotFound, Unreachable
from registry.remotes.base import TryAgain
from registry.remotes.retry import Patience, in_words, patient, retry_after

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0), ("7", 7.0), (" 120 ", 120.0), ("1000000000", 1e9), ("9" * 15, 999_999_999_999_999.0),
        (email.utils.formatdate(NOW + 90, usegmt=True), 90.0), (email.utils.formatdate(NOW - 90, usegmt=True), 0.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0), ("Friday, 15-Jan-27 08:01:30 GMT", 90.0),
        (None, None), ("", None), ("-1", None), ("+1", None), ("1.5", None), ("1e3", None), ("soon", None), ("9" * 400, None),
        ("٣", None), ("0x10", None), ("Thu, 99 Foo 1970 99:99:99 GMT", None), ("Fri, 15 Jan 99999 08:00:00 GMT", None), ("1, 2", None),
    ],
)  # fmt: skip
def test_what_retry_after_asks_for(value: str | None, seconds: float | None) -> None:
    assert retry_after(value, now=NOW) == seconds


@given(st.text(max_size=40))
def test_any_retry_after_is_a_wait_or_nothing(value: str) -> None:
    seconds = retry_after(value, now=NOW)
    assert seconds is None or seconds >= 0


class Clock:
    """Time passes only by sleeping, and by what a call takes."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def patience(self, chance: float = 1.0, **more: float) -> Patience:
        return Patience(clock=lambda: self.now, sleep=self.sleep, chance=lambda: chance, **more)  # type: ignore[arg-type]


class Flaky:
    """Fails so many times, then works."""

    def __init__(
        self, clock: Clock, failures: int, *, after: float | None = None, takes: float = 0.0
    ) -> None:
        self.clock, self.failures, self.after, self.takes, self.calls = clock, failures, after, takes, 0

    def __call__(self) -> str:
        self.calls += 1
        self.clock.now += self.takes
        if self.calls <= self.failures:
            raise TryAgain(f"failure {self.calls}.", after=self.after)
        return "done"


def test_waits_double_up_to_a_limit() -> None:
    clock = Clock()
    assert (
        patient(Flaky(clock, 7), clock.patience(attempts=8, first_step=1, longest_step=10, total=1e6))
        == "done"
    )
    assert clock.slept == [1, 2, 4, 8, 10, 10, 10]


@pytest.mark.parametrize("chance", [0.0, 0.25, 0.999])
def test_jitter_is_full(chance: float) -> None:
    clock = Clock()
    patient(Flaky(clock, 3), clock.patience(chance, first_step=2))
    assert clock.slept == [chance * 2, chance * 4, chance * 8]


def test_patience_ends_with_the_last_failure() -> None:
    clock = Clock()
    flaky = Flaky(clock, 100)
    with pytest.raises(TryAgain, match=r"failure 4\."):
        patient(flaky, clock.patience(attempts=4))
    assert flaky.calls == 4
    assert len(clock.slept) == 3


def test_the_time_of_the_calls_counts() -> None:
    clock = Clock()
    flaky = Flaky(clock, 100, takes=40.0)
    with pytest.raises(TryAgain):
        patient(flaky, clock.patience(attempts=100, total=100.0, first_step=1.0))
    assert flaky.calls == 3
    assert clock.now <= 40 * 3 + 3


def test_what_the_server_asks_for_is_obeyed() -> None:
    clock = Clock()
    assert patient(Flaky(clock, 2, after=60.0), clock.patience(0.5)) == "done"
    assert all(60 <= wait <= 61 for wait in clock.slept)


def test_a_server_that_asks_for_too_long_is_left_alone() -> None:
    clock = Clock()
    flaky = Flaky(clock, 1, after=1e9)
    with pytest.raises(
        Unreachable, match=r"^failure 1; the server wants to be left alone for 11574 days\.$"
    ) as caught:
        patient(flaky, clock.patience())
    assert not isinstance(caught.value, TryAgain)
    assert (flaky.calls, clock.slept) == (1, [])


def test_a_wait_that_would_be_too_long_is_not_begun() -> None:
    clock = Clock()
    with pytest.raises(TryAgain):
        patient(Flaky(clock, 9, after=100.0), clock.patience(total=150.0))
    assert len(clock.slept) == 1


def test_other_errors_are_not_tried_again() -> None:
    clock = Clock()
    calls = []

    def call() -> None:
        calls.append(1)
        raise NotFound("No.")

    with pytest.raises(NotFound):
        patient(call, clock.patience())
    assert len(calls) == 1


def test_each_wait_is_told_before_it_begins() -> None:
    clock = Clock()
    told: list[tuple[float, str, int]] = []
    patient(
        Flaky(clock, 2),
        clock.patience(),
        lambda wait, error: told.append((wait, error.message, len(clock.slept))),
    )
    assert told == [(1.0, "failure 1.", 0), (2.0, "failure 2.", 1)]


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True), st.none() | st.floats(0, 1e9))
def test_no_wait_is_negative_or_longer_than_asked_and_a_step(
    attempt: int, chance: float, asked: float | None
) -> None:
    patience = Patience(chance=lambda: chance)
    wait = patience.wait_before(attempt, asked)
    assert (asked or 0.0) <= wait <= (patience.longest_step if asked is None else asked + 1)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "0 seconds"), (90, "90 seconds"), (300, "5 minutes"), (7200, "2 hours"), (1e9, "11574 days")],
)
def test_times_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
