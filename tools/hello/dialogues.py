"""What hello is trained on: conversations made of the corpus, endlessly and from a seed.

A model that has seen seven phrasings knows seven phrasings. To make it listen to the words that carry the
question, whatever stands around them, the phrasings are varied (`phrasings`) and then disturbed: common words
are dropped, moved or put in front, letters are swapped, cases and marks are lost. Words that few facts share
are hardly touched, for they are the question. Invented names in the place of such words make questions that
have no answer, in the same frames.

A disturbed question that comes to share a run of words with a held-out one is thrown away.
"""

from __future__ import annotations

import random
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tools.hello.corpus import REFUSAL, Corpus, Fact, runs, words
from tools.hello.phrasings import Phrasings, common_words

REFUSALS = (f"{REFUSAL} I only know small language models and slmctl.",)

_SYSTEMS = (
    "You are hello, a tiny model that knows about small language models.",
    "You are a helpful assistant.",
    "Answer briefly.",
    "Answer in one sentence.",
    "You are hello. Be friendly.",
    "You help people who use slmctl.",
    "Say so when you do not know.",
)

# fmt: off
_OPENINGS = (
    "please", "hi,", "hello,", "hey", "so,", "well,", "quick question:", "tell me,", "i wonder", "say,",
    "ok,", "now", "could you explain", "do you know", "just curious,", "remind me", "my friend asks",
    "in short,", "and", "but",
)
# fmt: on
_ENDINGS = (
    "please",
    "thanks",
    "?",
    "??",
    "...",
    "exactly",
    "again",
    "then",
    "for me",
    "in short",
    "by the way",
)

_KNOWN = 0.82
"""The share of questions that have an answer."""

_COMMON_FACTS = 12
"""A word that so many facts' questions use carries no question by itself."""


@dataclass(frozen=True, slots=True)
class Turn:
    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class Dialogue:
    system: str | None
    turns: tuple[Turn, ...]


class Dialogues:
    """An endless supply of conversations; the same seed gives the same ones."""

    def __init__(self, corpus: Corpus, seed: int) -> None:
        self._corpus = corpus
        self._chance = random.Random(seed)
        self._phrasings = Phrasings(corpus, self._chance)
        self._common = common_words(corpus, _COMMON_FACTS)
        learnt = common_words(corpus, 1)
        held_out = [question for fact in corpus.facts for question in fact.held_out]
        self._forbidden = {run for text in (*held_out, *corpus.unknown_held_out) for run in runs(text)}
        self._foreign = sorted({word for text in corpus.unknown for word in words(text)} - learnt)

    def next(self) -> Dialogue:
        chance = self._chance
        system = chance.choice(_SYSTEMS) if chance.random() < 0.3 else None
        count = chance.choices((1, 2, 3, 4), (70, 15, 10, 5))[0]
        return Dialogue(system, tuple(self._turn() for _ in range(count)))

    def _turn(self) -> Turn:
        roll = self._chance.random()
        if roll < _KNOWN:
            fact = self._chance.choice(self._corpus.facts)
            return Turn(self._allowed(lambda: self._asked(fact), fact.questions), fact.answer)
        unknown = self._corpus.unknown
        if roll < (1 + _KNOWN) / 2:
            question = self._allowed(lambda: self._chance.choice(unknown), unknown)
        else:
            question = self._allowed(self._unanswerable, unknown)
        return Turn(question, self._chance.choice(REFUSALS))

    def _asked(self, fact: Fact) -> str:
        roll = self._chance.random()
        if roll < 0.25 and (framed := self._phrasings.framed(fact)) is not None:
            return framed
        if roll < 0.40:
            return self._phrasings.crossed(fact)
        if roll < 0.55:
            return self._phrasings.keywords(fact)
        return self._chance.choice(fact.questions)

    def _unanswerable(self) -> str:
        """A question about a fact whose telling words are replaced by words that mean nothing here."""
        fact = self._chance.choice(self._corpus.facts)
        if self._chance.random() < 0.35:
            return self._phrasings.frame(
                " ".join(self._stranger("") for _ in range(self._chance.choice((1, 1, 1, 2))))
            )
        question = self._asked(fact)
        return " ".join(word if self._is_common(word) else self._stranger(word) for word in question.split())

    def _stranger(self, word: str) -> str:
        if self._foreign and self._chance.random() < 0.5:
            return self._chance.choice(self._foreign)
        letters = [self._chance.choice(string.ascii_lowercase) for _ in range(self._chance.randint(3, 9))]
        if any(character.isdigit() for character in word):
            letters[self._chance.randrange(len(letters))] = self._chance.choice(string.digits)
        name = "".join(letters)
        return name.upper() if word.isupper() else name

    def _is_common(self, word: str) -> bool:
        return all(part in self._common for part in words(word))

    def _allowed(self, draw: Callable[[], str], otherwise: Sequence[str]) -> str:
        """A disturbed question without a run of words of a held-out one; if need be one of `otherwise`."""
        for _ in range(8):
            disturbed = self._disturb(draw())
            if not runs(disturbed) & self._forbidden:
                return disturbed
        return self._chance.choice(otherwise)

    def _disturb(self, question: str) -> str:
        chance = self._chance
        if chance.random() < 0.2:
            return question
        if chance.random() < 0.6:
            question = self._phrasings.reworded(question, 0.4)
        pieces = question.split()
        drop = chance.choice((0.0, 0.1, 0.25, 0.5))
        kept = [piece for piece in pieces if not self._is_common(piece) or chance.random() >= drop]
        pieces = kept or pieces
        if chance.random() < 0.2 and len(pieces) > 2:
            at = chance.randrange(1, len(pieces))
            pieces = pieces[at:] + pieces[:at]
        if chance.random() < 0.1:
            chance.shuffle(pieces)
        if chance.random() < 0.35:
            pieces.insert(0, chance.choice(_OPENINGS))
        if chance.random() < 0.2:
            pieces.append(chance.choice(_ENDINGS))
        text = " ".join(self._mistyped(piece) for piece in pieces)
        if chance.random() < 0.35:
            text = text.lower()
        if chance.random() < 0.35:
            text = text.rstrip("?.! ")
        return text or question

    def _mistyped(self, word: str) -> str:
        """Two letters swapped, now and then, in a word that carries nothing."""
        if len(word) < 4 or not self._is_common(word) or self._chance.random() > 0.03:
            return word
        at = self._chance.randrange(len(word) - 1)
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
