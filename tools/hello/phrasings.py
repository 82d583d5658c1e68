"""More ways to ask what the corpus asks: frames around a subject, words of the same meaning, key words alone.

A fact is written with seven phrasings. People use many more, yet most differ in the words around the question
and not in those that carry it. What this module makes are variations that keep the words which tell the fact
from all others:

    framed       "could you explain <subject> to a beginner"; the subject is what "What is X?" asks for
    reworded     common words replaced by words of the same meaning
    crossed      the front of one phrasing with the back of another
    keywords     a few words that together only this fact has, taken from its answer and its phrasings
"""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from tools.hello.corpus import Corpus, Fact, words

# fmt: off
_SUBJECT = tuple(re.compile(pattern, re.IGNORECASE) for pattern in (
    r"what (?:exactly )?(?:is|are) (.+)",
    r"define (.+)",
    r"explain (.+?)(?: to me| to a beginner|, please)?",
    r"what does (?:the term |the word )?(.+?) (?:mean|do|stand for)",
    r"(.+?) meaning",
    r"tell me (?:about|what) (.+?)(?: is| are)?(?:, please)?",
    r"meaning of (.+)",
    r"describe (.+)",
    r"(.+?) explained",
))
_ARTICLE = re.compile(r"(?:an?|the|some) ", re.IGNORECASE)

_REQUESTS = (
    "explain {}", "describe {}", "define {}", "clarify {}", "tell me about {}", "tell me what {} is",
    "say what {} is", "tell me what {} means", "tell me what {} does", "give me an idea of {}",
    "summarize {}", "teach me about {}", "help me understand {}", "give me a definition of {}",
    "explain the term {}", "explain what {} is", "explain what {} does", "explain the idea of {}",
    "outline {}", "talk about {}",
)
_POLITE = (
    "{}", "please {}", "can you {}", "could you {}", "would you {}", "could you please {}",
    "can somebody {}", "could anyone {}", "will you {}", "i want you to {}", "i would like you to {}",
    "are you able to {}", "try to {}", "do {}", "who can {}",
)
_ASIDES = (
    "", "", "", "", " in simple words", " in plain words", " briefly", " in one sentence",
    " in a few words", " to me", " to a beginner", " to a newcomer", " to a child", " to a novice",
    " for me", " for beginners", " in short", " simply", ", please", " once more", " for somebody new",
    " to my boss", " in a nutshell", " to a layman", " quickly",
)
_PLAIN = (
    "what is {}", "what's {}", "whats {}", "what are {}", "what exactly is {}", "what does {} mean",
    "what does {} do", "what does {} stand for", "what is meant by {}", "what do people mean by {}",
    "what do you mean by {}", "{}", "{} meaning", "{} definition", "{} explained", "{}: what is it",
    "{}: what is that", "{}, what does it do", "{} what is it for", "{} is what", "{} means what",
    "the meaning of {}", "the purpose of {}", "the idea behind {}", "the point of {}",
    "what is the purpose of {}", "what is the use of {}", "what is {} for", "what is {} good for",
    "why would i use {}", "how does {} work", "how would you define {}", "how would you describe {}",
    "how should i understand {}", "i never heard of {}", "i read about {}",
    "i saw {} somewhere, what is it", "i do not understand {}", "i know nothing about {}",
    "somebody mentioned {}", "my friend talks about {}", "the docs mention {}", "what kind of thing is {}",
    "what can you tell me about {}", "what do you know about {}", "what should i know about {}",
    "have you heard of {}", "do you know what {} is", "do you know {}", "is {} something i need",
    "a short definition of {}", "a few words about {}", "the term {} stands for what", "the word {} means",
    "in simple words, what is {}", "in one sentence, what is {}", "in short, {} is what",
    "for a beginner, what is {}", "so {} is what exactly", "about {}", "info on {}", "details on {}",
    "basics of {}", "an introduction to {}", "new here: what is {}", "learning about {}",
    "curious about {}", "confused by {}", "question about {}", "what would {} be", "what might {} mean",
    "what role does {} play", "what purpose does {} serve", "what does one call {}",
)

_SAME = (
    ("what is", "what's", "what exactly is", "what would be", "which is", "tell me"),
    ("what are", "which are", "what would be"), ("what does", "what would", "what will"),
    ("how do i", "how can i", "how could i", "how would i", "how to", "how should i", "how does one",
     "how do you", "a way to", "what is the way to", "is there a way to", "steps to", "help me",
     "i want to", "i need to", "i would like to", "how might i", "what must i do to"),
    ("can i", "could i", "may i", "am i able to", "is it possible to", "is there a way to", "might i"),
    ("do i need", "do i have to have", "must i have", "is it necessary to have", "should i have"),
    ("does", "will", "would", "can"),
    ("which command", "what command", "by which command", "the command that", "with what command",
     "is there a command that"),
    ("which flag", "what flag", "which option", "what option", "which switch", "by what flag",
     "the flag that"),
    ("explain", "describe", "clarify", "define", "tell me about", "say something about", "outline"),
    ("mean", "stand for", "signify", "refer to"), ("meaning", "definition", "sense"),
    ("purpose", "point", "use", "aim", "benefit"),
    ("why", "for what reason", "what is the reason that", "how come", "why exactly"),
    ("where", "in which place", "at what place", "in what location"),
    ("when", "in which case", "at what time", "under what circumstances"),
    ("who", "which person", "what people"), ("big", "large", "huge"), ("small", "tiny", "little"),
    ("size", "dimension", "footprint"), ("fast", "quick", "speedy"), ("faster", "quicker"),
    ("slow", "sluggish"), ("quickly", "fast"), ("show", "print", "display", "give", "tell"),
    ("see", "look at", "view", "check", "find out"),
    ("delete", "remove", "erase", "get rid of", "throw away"), ("download", "fetch", "get", "obtain"),
    ("upload", "send", "publish"), ("start", "launch", "begin", "start up"),
    ("stop", "end", "quit", "halt", "finish"), ("need", "require", "want", "take"),
    ("needs", "requires", "takes", "wants"), ("needed", "required", "necessary"),
    ("use", "employ", "work with"), ("used", "employed", "in use"), ("change", "modify", "alter", "adjust"),
    ("set", "configure", "specify"), ("choose", "pick", "select", "decide on"),
    ("recommend", "advise", "suggest"), ("best", "right", "recommended", "ideal"),
    ("good", "fine", "suitable"), ("better", "preferable", "superior"),
    ("difference between", "distinction between", "what differs between"), ("compare", "contrast"),
    ("vs", "versus", "compared with", "or"), ("instead of", "rather than", "in place of"),
    ("computer", "machine", "pc", "box"), ("machine", "computer", "system"), ("laptop", "notebook"),
    ("gpu", "graphics card"), ("ram", "memory"), ("memory", "ram"), ("folder", "directory"),
    ("program", "software", "tool", "application"), ("tool", "program", "utility"), ("app", "application"),
    ("internet", "network", "connection"), ("offline", "without internet", "with no network"),
    ("many", "lots of", "several"), ("how many", "what number of", "the number of"),
    ("how much", "what amount of"), ("make", "produce", "build", "create"),
    ("made", "produced", "built", "created"), ("write", "put down", "author"),
    ("contain", "hold", "include", "have inside"), ("contains", "holds", "includes"),
    ("inside", "within", "in"), ("keep", "store", "hold", "save"), ("stored", "kept", "saved", "held"),
    ("store", "keep"), ("find", "locate", "look up"), ("name", "title", "label"),
    ("called", "named", "known as"), ("allowed", "permitted", "ok"), ("possible", "feasible"),
    ("important", "essential"), ("problem", "trouble", "issue"), ("wrong", "incorrect", "bad"),
    ("broken", "damaged", "corrupt"), ("safe", "secure"), ("dangerous", "risky", "unsafe"),
    ("happens", "occurs", "goes on"), ("happen", "occur"), ("kind of", "type of", "sort of"),
    ("kinds of", "types of"), ("idea", "concept", "notion"), ("answer", "reply", "response"),
    ("question", "query"), ("text", "words"), ("number", "figure", "value"), ("value", "setting"),
    ("default", "standard", "preset"), ("normally", "usually"), ("several", "multiple", "more than one"),
    ("one", "a single"), ("only", "just", "merely"), ("all", "every", "any"), ("every", "each", "all"),
    ("without", "lacking", "with no"), ("with", "using", "having"), ("about", "on", "regarding"),
    ("and", "plus", "together with"), ("people", "folks", "users"), ("my", "our", "a", "some"),
    ("the", "this", "that"), ("i", "we", "one", "somebody"), ("is", "was", "would be"),
    ("please", "kindly"), ("work", "function", "operate"), ("works", "functions", "operates"),
    ("run", "execute"), ("running", "executing"), ("install", "set up", "put"),
    ("learn", "get to know", "understand"), ("help", "assist"), ("tell", "inform", "say"),
    ("hello", "hi", "hey"), ("expensive", "costly"), ("cheap", "inexpensive"), ("weak", "feeble"),
    ("old", "aged"), ("new", "recent", "fresh"),
)
# fmt: on

_MEANINGS = {text: tuple(other for other in group if other != text) for group in _SAME for text in group}
_LONGEST = max(len(text.split()) for text in _MEANINGS)


class Phrasings:
    """Variations of a corpus's questions; `chance` decides all of them."""

    def __init__(self, corpus: Corpus, chance: random.Random) -> None:
        self._chance = chance
        self._bags = {
            fact.id: frozenset(words(" ".join((fact.answer, *fact.questions)))) for fact in corpus.facts
        }
        self._facts_with: dict[str, set[str]] = defaultdict(set)
        for fact_id, bag in self._bags.items():
            for word in bag:
                self._facts_with[word].add(fact_id)
        subjects = {fact.id: set(_subjects(fact)) for fact in corpus.facts}
        shared = Counter(subject.lower() for found in subjects.values() for subject in found)
        self._subjects = {
            fact.id: sorted(
                subject
                for subject in subjects[fact.id]
                if shared[subject.lower()] == 1 and self.tells(fact, subject)
            )
            for fact in corpus.facts
        }
        self._keywords = {fact.id: self._ranked(fact) for fact in corpus.facts}

    def tells(self, fact: Fact, text: str) -> bool:
        """Whether the words of `text` that the corpus knows stand together in no other fact."""
        known = [self._facts_with[word] for word in set(words(text)) if word in self._facts_with]
        return bool(known) and set.intersection(*known) == {fact.id}

    def framed(self, fact: Fact) -> str | None:
        """A request for the fact's subject, or None when it has none of its own."""
        subjects = self._subjects[fact.id]
        return self.frame(self._chance.choice(subjects)) if subjects else None

    def frame(self, subject: str) -> str:
        """A request for an explanation of `subject`."""
        chance = self._chance
        if chance.random() < 0.25:
            subject = f"{chance.choice(('a', 'the', 'an', 'some', 'this'))} {subject}"
        if chance.random() < 0.5:
            text = chance.choice(_PLAIN).format(subject)
        else:
            text = chance.choice(_POLITE).format(chance.choice(_REQUESTS).format(subject))
        text += chance.choice(_ASIDES)
        return text[:1].upper() + text[1:] + ("?" if chance.random() < 0.4 else "")

    def reworded(self, question: str, share: float) -> str:
        """`question` with about `share` of its common words said otherwise."""
        pieces = question.split()
        out: list[str] = []
        at = 0
        while at < len(pieces):
            for length in range(min(_LONGEST, len(pieces) - at), 0, -1):
                text = " ".join(pieces[at : at + length])
                bare = text.rstrip("?.!,:")
                others = _MEANINGS.get(bare.lower())
                if others and self._chance.random() < share:
                    out.append(self._chance.choice(others) + text[len(bare) :])
                    at += length
                    break
            else:
                out.append(pieces[at])
                at += 1
        return " ".join(out)

    def crossed(self, fact: Fact) -> str:
        """The front of one phrasing and the back of another, if that tells the fact; else a whole one."""
        for _ in range(4):
            one, other = (self._chance.choice(fact.questions).split() for _ in range(2))
            front = one[: self._chance.randint(1, len(one))]
            back = other[self._chance.randint(0, len(other) - 1) :]
            text = " ".join(front + back)
            if len(front) + len(back) <= 16 and self.tells(fact, text):
                return text
        return self._chance.choice(fact.questions)

    def keywords(self, fact: Fact) -> str:
        """Two to six words that tell the fact, in any order, in a frame now and then."""
        ranked = self._keywords[fact.id]
        for _ in range(6):
            count = self._chance.randint(2, 6)
            weights = [weight for _, weight in ranked]
            chosen = list(dict.fromkeys(self._chance.choices([word for word, _ in ranked], weights, k=count)))
            text = " ".join(chosen)
            if self.tells(fact, text):
                return self.frame(text) if self._chance.random() < 0.3 else text
        return self.crossed(fact)

    def _ranked(self, fact: Fact) -> list[tuple[str, float]]:
        """The fact's words, each with a weight: more for words of many phrasings and of few facts."""
        counts: Counter[str] = Counter()
        for question in fact.questions:
            counts.update(set(words(question)))
        counts.update(set(words(fact.answer)))
        return [
            (word, count / len(self._facts_with[word]) ** 0.7)
            for word, count in sorted(counts.items())
            if len(self._facts_with[word]) <= 60
        ] or [(word, 1.0) for word in sorted(counts)]


def _subjects(fact: Fact) -> Iterator[str]:
    for question in fact.questions:
        bare = question.rstrip("?.! ")
        for match in (pattern.fullmatch(bare) for pattern in _SUBJECT):
            if match is not None:
                yield _ARTICLE.sub("", match[1], count=1)
                break


def common_words(corpus: Corpus, count: int) -> set[str]:
    """Words that the questions of `count` facts or more use: they carry no question by themselves."""
    used_by = Counter(word for fact in corpus.facts for word in _all_words(fact.questions))
    return {word for word, used in used_by.items() if used >= count}


def _all_words(texts: Iterable[str]) -> set[str]:
    return {word for text in texts for word in words(text)}
