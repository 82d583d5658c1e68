"""The corpus of hello keeps its own rules, and the judge judges."""

from __future__ import annotations

from tools.hello.corpus import REFUSAL, load, problems, runs, shared_with_learnt
from tools.hello.evaluate import judge


def test_the_corpus_keeps_its_rules() -> None:
    corpus = load()
    assert list(problems(corpus)) == []
    assert len(corpus.facts) >= 300
    assert len(corpus.unknown_held_out) >= 100


def test_a_held_out_question_that_shares_four_words_is_found() -> None:
    corpus = load()
    learnt = next(question for question in corpus.learnt_questions if len(runs(question)) > 2)
    assert shared_with_learnt(corpus, [f"Well, {learnt}"])
    assert not shared_with_learnt(corpus, ["Zebras paint quiet violet mountains"])


def test_the_judge_wants_all_terms_and_nobody_elses() -> None:
    corpus = load()
    fact, other = corpus.facts[0], corpus.facts[-1]
    assert judge(corpus, fact, fact.answer) == "right"
    assert judge(corpus, fact, other.answer) == "wrong"
    assert judge(corpus, fact, f"{fact.answer} {other.answer}") == "wrong"
    assert judge(corpus, fact, f"{REFUSAL} Sorry.") == "refused"
    assert judge(corpus, None, REFUSAL) == "refused"
    assert judge(corpus, None, fact.answer) == "wrong"
