"""The corpus of hello keeps its own rules, and the judge judges."""

from __future__ import annotations

from tools.hello.corpus import REFUSAL, load, problems, runs, shared_with_learnt
from tools.hello.dialogues import Dialogues
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


def test_no_conversation_shares_a_run_of_words_with_a_held_out_question() -> None:
    corpus = load()
    held_out = [*corpus.unknown_held_out, *(text for fact in corpus.facts for text in fact.held_out)]
    forbidden = {run for text in held_out for run in runs(text)}
    source = Dialogues(corpus, 7)
    asked = [turn.question for _ in range(20_000) for turn in source.next().turns]
    assert [question for question in asked if runs(question) & forbidden] == []
    assert len(set(asked)) > 0.9 * len(asked)
