"""Perplexity and divergence as numbers: of predictors whose values can be worked out by hand."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtimes.perplexity import Tokens, divergences, log_probabilities, measure, windows

WORDS = 7
TEXT = np.random.default_rng(0).integers(0, WORDS, 400).astype(np.int32)


@dataclass
class Bigram:
    """A model that looks at one token alone: `table` has the logits of what follows each."""

    table: npt.NDArray[np.float32]
    rows: int = 16
    batch: int = 32
    seen: list[int] = field(default_factory=list)

    def decode(self, tokens: Tokens, rows: int, *, anew: bool = False) -> npt.NDArray[np.float32]:
        assert len(tokens) <= self.batch
        assert rows <= self.rows
        self.seen = [*([] if anew else self.seen), *map(int, tokens)]
        return self.table[tokens[len(tokens) - rows :]]


def random_table(seed: int) -> npt.NDArray[np.float32]:
    return (np.random.default_rng(seed).standard_normal((WORDS, WORDS)) * 3).astype(np.float32)


def given_windows(context: int = 50, most: int | None = None, begins: int | None = None) -> list[Tokens]:
    return list(windows(TEXT, context, begins=begins, most=most))


def test_a_text_is_cut_into_whole_windows() -> None:
    found = given_windows(90)
    assert [len(each) for each in found] == [90] * 4
    assert np.array_equal(np.concatenate(found), TEXT[:360])
    assert len(given_windows(90, most=2)) == 2
    assert len(given_windows(90, most=20)) == 4


def test_every_window_begins_as_a_text_does() -> None:
    found = given_windows(90, begins=3)
    assert [int(each[0]) for each in found] == [3] * 4
    assert all(np.array_equal(each[1:], TEXT[at * 90 + 1 : (at + 1) * 90]) for at, each in enumerate(found))


def test_who_knows_nothing_has_the_perplexity_of_the_vocabulary() -> None:
    found = measure(Bigram(np.zeros((WORDS, WORDS), np.float32)), iter(given_windows()))
    assert found.perplexity.value == pytest.approx(WORDS)
    assert found.perplexity.error == pytest.approx(0, abs=1e-9)
    assert found.against is None
    assert (found.windows, found.tokens) == (8, 8 * 24)  # of 50: the first 25 and the last predict nothing


def test_the_second_half_of_each_window_counts() -> None:
    table = random_table(1)
    logs = [
        float(table[here, following] - np.log(np.exp(table[here].astype(np.float64)).sum()))
        for window in given_windows()
        for here, following in itertools.pairwise(window[25:])
    ]
    found = measure(Bigram(table), iter(given_windows()))
    assert found.perplexity.value == pytest.approx(math.exp(-np.mean(logs)))
    error = np.std(logs) / math.sqrt(len(logs) - 1) * found.perplexity.value
    assert found.perplexity.error == pytest.approx(error)


def test_the_model_has_read_all_that_comes_before() -> None:
    model = Bigram(random_table(1), rows=7)
    (window,) = given_windows(400)
    measure(model, iter([window]))
    assert model.seen == window[:-1].tolist()


@pytest.mark.parametrize(("rows", "batch"), [(1, 1), (3, 16), (16, 5), (100, 200)])
def test_how_much_is_computed_at_once_changes_nothing(rows: int, batch: int) -> None:
    ours, theirs = random_table(1), random_table(2)
    expected = measure(Bigram(ours), iter(given_windows()), against=Bigram(theirs))
    rows = min(rows, batch)
    other = Bigram(theirs, rows=rows, batch=batch)
    assert measure(Bigram(ours, rows=rows, batch=batch), iter(given_windows()), against=other) == expected


def test_a_divergence_is_that_of_the_formula() -> None:
    ours, theirs = random_table(1), random_table(2)
    p, q = (np.exp(each.astype(np.float64)) for each in (theirs, ours))
    p, q = (each / each.sum(1, keepdims=True) for each in (p, q))
    counted = np.concatenate([window[25:-1] for window in given_windows()])
    found = measure(Bigram(ours), iter(given_windows()), against=Bigram(theirs)).against
    assert found
    assert found.divergence.value == pytest.approx(
        np.mean([(p[at] * np.log(p[at] / q[at])).sum() for at in counted])
    )
    assert found.same_top.value == pytest.approx(np.mean(p[counted].argmax(1) == q[counted].argmax(1)))
    assert found.perplexity == measure(Bigram(theirs), iter(given_windows())).perplexity


def test_nothing_is_lost_against_oneself() -> None:
    table = random_table(1)
    found = measure(Bigram(table), iter(given_windows()), against=Bigram(table)).against
    assert found
    assert (found.divergence.value, found.same_top.value, found.same_top.error) == (0, 1, 0)


def test_a_model_that_is_sure_and_wrong_costs_much_and_no_crash() -> None:
    table = np.full((WORDS, WORDS), -1e30, np.float32)
    table[:, 0] = 1e30
    found = measure(Bigram(table), iter(given_windows()))
    assert found.perplexity.value == math.inf


def test_infinities_make_no_number_and_no_warning() -> None:
    table = np.full((WORDS, WORDS), np.inf, np.float32)
    assert not math.isfinite(measure(Bigram(table), iter(given_windows())).perplexity.value)


def test_without_a_window_there_is_nothing_to_say() -> None:
    with pytest.raises(ValueError, match="nothing"):
        measure(Bigram(random_table(1)), iter([]))


@given(st.lists(st.lists(st.floats(-1e4, 1e4, width=32), min_size=4, max_size=4), min_size=2, max_size=2))
@settings(max_examples=200)
def test_probabilities_are_some_and_divergences_no_less_than_nothing(rows: list[list[float]]) -> None:
    first, second = (log_probabilities(np.array([row], np.float32)) for row in rows)
    for each in (first, second):
        assert np.exp(each).sum() == pytest.approx(1)
    assert divergences(first, second)[0] >= 0
    assert divergences(first, first)[0] == 0
