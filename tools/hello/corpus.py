"""The corpus of `hello`: facts with their questions, and questions that it cannot answer.

`facts/*.toml` hold tables `[[fact]]`:

    id          unique over all files, lower case with dashes
    answer      what hello says: one or two short sentences
    terms       texts that a right answer contains, in any case; together they belong to this fact alone
    questions   phrasings that it learns, five or more
    held_out    phrasings that it never sees, two or more

`unknown.toml` has `questions` (it learns to say that it does not know) and `held_out` (never seen).

    python -m tools.hello.corpus        checks every rule and prints counts
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent

REFUSAL = "I do not know that."
"""How every answer to a question that hello cannot answer begins."""

SHARED_WORDS = 4
"""So many words in a row may no held-out question share with a question that was learnt."""

_WORD = re.compile(r"[a-z0-9_.+#/-]*[a-z0-9_+#]", re.ASCII)
_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*", re.ASCII)
_MAX_ANSWER_WORDS = 32
_MAX_QUESTION_WORDS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    id: str
    answer: str
    terms: tuple[str, ...]
    questions: tuple[str, ...]
    held_out: tuple[str, ...]

    def told_by(self, text: str) -> bool:
        """Whether `text` contains all of this fact's key terms."""
        lower = text.lower()
        return all(_contains(lower, term.lower()) for term in self.terms)


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    facts: tuple[Fact, ...]
    unknown: tuple[str, ...]
    unknown_held_out: tuple[str, ...]

    @property
    def learnt_questions(self) -> Iterator[str]:
        for fact in self.facts:
            yield from fact.questions
        yield from self.unknown


def load(folder: Path = FOLDER) -> Corpus:
    """Read all files of the corpus, in the order of their names."""
    facts = [
        Fact(
            id=row["id"],
            answer=row["answer"],
            terms=tuple(row["terms"]),
            questions=tuple(row["questions"]),
            held_out=tuple(row["held_out"]),
        )
        for path in sorted((folder / "facts").glob("*.toml"))
        for row in tomllib.loads(path.read_text(encoding="utf-8"))["fact"]
    ]
    path = folder / "unknown.toml"
    unknown = tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return Corpus(
        facts=tuple(facts),
        unknown=tuple(unknown.get("questions", ())),
        unknown_held_out=tuple(unknown.get("held_out", ())),
    )


def words(text: str) -> list[str]:
    """The words of a question, lower case, as the rule about shared words counts them."""
    return _WORD.findall(text.lower())


def runs(question: str) -> set[tuple[str, ...]]:
    """All runs of `SHARED_WORDS` words in a question; a shorter question is one run."""
    found = words(question)
    if len(found) < SHARED_WORDS:
        return {tuple(found)}
    return {tuple(found[at : at + SHARED_WORDS]) for at in range(len(found) - SHARED_WORDS + 1)}


def shared_with_learnt(corpus: Corpus, questions: Iterable[str]) -> list[tuple[str, str]]:
    """Held-out questions that share a run of words with a learnt one, each with that run."""
    learnt = {run for question in corpus.learnt_questions for run in runs(question)}
    return [(question, " ".join(run)) for question in questions for run in sorted(runs(question) & learnt)]


def problems(corpus: Corpus) -> Iterator[str]:
    """Every breach of the rules, as a sentence."""
    seen: set[str] = set()
    asked: dict[str, str] = {}
    for fact in corpus.facts:
        if not _ID.fullmatch(fact.id) or fact.id in seen:
            yield f"{fact.id}: the id is malformed or taken"
        seen.add(fact.id)
        if not fact.terms or not fact.told_by(fact.answer):
            yield f"{fact.id}: the answer lacks one of its terms {fact.terms}"
        if len(fact.answer.split()) > _MAX_ANSWER_WORDS or not fact.answer.isascii():
            yield f"{fact.id}: the answer has more than {_MAX_ANSWER_WORDS} words, or is not ASCII"
        if len(fact.questions) < 5 or len(fact.held_out) < 2:
            yield f"{fact.id}: it takes five questions and two held-out ones"
        for other in corpus.facts:
            if other is not fact and other.told_by(fact.answer):
                yield f"{fact.id}: its answer also has all terms of {other.id} {other.terms}"
        for question in (*fact.questions, *fact.held_out):
            if len(question.split()) > _MAX_QUESTION_WORDS or not question.isascii():
                yield f"{fact.id}: more than {_MAX_QUESTION_WORDS} words, or not ASCII: {question!r}"
            key = " ".join(words(question))
            if key in asked:
                yield f"{fact.id}: {question!r} is asked by {asked[key]} too"
            asked[key] = fact.id
    for question in (*corpus.unknown, *corpus.unknown_held_out):
        key = " ".join(words(question))
        if key in asked:
            yield f"unknown: {question!r} is asked by {asked[key]} too"
        asked[key] = "unknown"
    held_out = [question for fact in corpus.facts for question in fact.held_out]
    for question, run in shared_with_learnt(corpus, [*held_out, *corpus.unknown_held_out]):
        yield f"held out {question!r} shares {run!r} with a learnt question"


def _contains(text: str, term: str) -> bool:
    """Whether `term` stands in `text` as whole words: 4.5 is not in 14.5, nor list in listen."""
    at = text.find(term)
    while at >= 0:
        before, after = text[at - 1 : at] if at else "", text[at + len(term) : at + len(term) + 1]
        if not (before.isalnum() or after.isalnum()):
            return True
        at = text.find(term, at + 1)
    return False


def main() -> int:
    corpus = load()
    found = list(problems(corpus))
    print("\n".join(found))
    learnt = sum(len(fact.questions) for fact in corpus.facts)
    held_out = sum(len(fact.held_out) for fact in corpus.facts)
    print(f"{len(corpus.facts)} facts, {learnt} questions, {held_out} held out; ", end="")
    print(f"{len(corpus.unknown)} unknown, {len(corpus.unknown_held_out)} held out; {len(found)} problems")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
