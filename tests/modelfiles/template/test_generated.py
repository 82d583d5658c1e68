"""Generated templates through ours and through Go: the same bytes, or an error from both."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from tests.modelfiles.template.data import PLAIN, RECORDS
from tests.modelfiles.template.generate import templates
from tests.modelfiles.template.oracle import Question, ask_go, ask_us

SEED = 20261122


def _questions(count: int) -> list[Question]:
    return [
        Question(template, RECORDS if records else PLAIN, zero=index % 2 == 1)
        for index, (template, records) in enumerate(itertools.islice(templates(SEED), count))
    ]


def _compare(program: Path, count: int) -> None:
    questions = _questions(count)
    failed = 0
    for question, (theirs, their_error) in zip(questions, ask_go(program, questions), strict=True):
        ours, our_error = ask_us(question)
        assert ours == theirs, (question.template, question.zero, their_error or our_error)
        failed += ours is None
    assert 0.1 < failed / count < 0.6  # a test of errors only, or of none, would show little


def test_five_hundred_templates(go_program: Path) -> None:
    _compare(go_program, 500)


@pytest.mark.compat
def test_five_thousand_templates(go_program: Path) -> None:
    _compare(go_program, 5000)


def test_a_seed_gives_the_same_templates_again() -> None:
    assert _questions(50) == _questions(50)
