"""Judge hello: the questions that it never saw, and those that nobody could answer from its corpus.

    python -m tools.hello.evaluate MODEL.gguf [--exam FILE] [--turns 3] [--system TEXT] [--json]
                                              [--show wrong|refused|all]

An answer is right when it has all key terms of its fact and not all terms of another one (unless the fact's
own answer has them too); it is a refusal when it begins as one; else it is wrong. Greedy decoding through
llama.cpp, in a worker as `slmctl run` uses it. `--exam tools/hello/exam.toml` asks questions that somebody
else wrote in place of the corpus's own; `--turns` puts so many learnt questions with their answers before
each.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from runtimes import protocol
from runtimes.client import Client
from runtimes.engines.base import LaunchRequest
from runtimes.engines.llamacpp import LLAMA_CPP
from runtimes.environment import worker_environment
from runtimes.process import Launch, Worker, fd_path, worker_argv
from runtimes.sampling import Sampling
from tools.hello.corpus import REFUSAL, Corpus, Fact, load, shared_with_learnt

GREEDY = Sampling(temperature=0.0, num_predict=64)


Asked = tuple[str, Fact | None]
"""A question and the fact it is about; None when nobody could answer it from the corpus."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One question, its answer, and the verdict: right, wrong or refused. Unknown ones have no `fact`."""

    question: str
    answer: str
    fact: Fact | None
    verdict: str


def judge(corpus: Corpus, fact: Fact | None, answer: str) -> str:
    """The verdict on an answer to a question about `fact`, or about nothing hello knows."""
    if answer.strip().lower().startswith(REFUSAL.lower().rstrip(".")):
        return "refused"
    if fact is None or not fact.told_by(answer):
        return "wrong"
    others = (other for other in corpus.facts if other is not fact and other.told_by(answer))
    return "wrong" if any(not other.told_by(fact.answer) for other in others) else "right"


def held_out(corpus: Corpus) -> list[Asked]:
    asked: list[Asked] = [(text, fact) for fact in corpus.facts for text in fact.held_out]
    return asked + [(text, None) for text in corpus.unknown_held_out]


def exam(corpus: Corpus, path: Path) -> list[Asked]:
    """The questions in a TOML file: `unknown`, and `[questions]` by the ids of facts."""
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    facts = {fact.id: fact for fact in corpus.facts}
    asked: list[Asked] = [(text, facts[name]) for name, text in document["questions"].items()]
    return asked + [(text, None) for text in document["unknown"]]


def evaluate(
    corpus: Corpus, client: Client, asked: Sequence[Asked], *, system: str | None = None, turns: int = 0
) -> Iterator[Judged]:
    """Ask every question, behind `turns` others.

    Raises ValueError when one shares words with a learnt question.
    """
    if shared := shared_with_learnt(corpus, [text for text, _ in asked]):
        raise ValueError(f"{len(shared)} held-out questions share words with learnt ones: {shared[0]}")
    chance = random.Random(1)
    opening = [{"role": "system", "content": system}] if system is not None else []
    for question, fact in asked:
        messages = [*opening]
        for earlier in chance.sample(corpus.facts, turns):
            messages.append({"role": "user", "content": chance.choice(earlier.questions)})
            messages.append({"role": "assistant", "content": earlier.answer})
        answer = ask(client, question, messages)
        yield Judged(question=question, answer=answer, fact=fact, verdict=judge(corpus, fact, answer))


def ask(client: Client, question: str, before: Sequence[Mapping[str, object]] = ()) -> str:
    request = protocol.chat_request([*before, {"role": "user", "content": question}], GREEDY)
    return "".join(event.text for event in client.stream(request) if isinstance(event, protocol.TextDelta))


@contextmanager
def client_for(model: Path, folder: Path) -> Iterator[Client]:
    """A client of a worker that has loaded `model`; the worker ends with the block."""
    fd = os.open(model, os.O_RDONLY)
    launch = Launch(
        argv=worker_argv(LLAMA_CPP.worker),
        environment=worker_environment(os.environ),
        document=LLAMA_CPP.command(LaunchRequest(model=fd_path(fd), context_length=1024)),
        explain=LLAMA_CPP.explain,
        folder_candidates=[folder],
        pass_fds=(fd,),
    )
    try:
        with Worker(launch) as worker:
            yield Client(worker.ensure_ready(), worker)
    finally:
        os.close(fd)


def summary(judged: list[Judged]) -> dict[str, dict[str, float]]:
    """Shares of right, wrong and refused, for known and for unknown questions."""
    parts = {}
    kinds = {
        "known": [row for row in judged if row.fact is not None],
        "unknown": [row for row in judged if row.fact is None],
    }
    for name, rows in kinds.items():
        counts = Counter(row.verdict for row in rows)
        parts[name] = {"questions": float(len(rows))} | {
            verdict: round(counts[verdict] / max(1, len(rows)), 4)
            for verdict in ("right", "wrong", "refused")
        }
    return parts


def main() -> int:
    parser = argparse.ArgumentParser(description="Judge hello.")
    parser.add_argument("model", type=Path)
    parser.add_argument("--exam", type=Path, metavar="FILE")
    parser.add_argument("--turns", type=int, default=0, metavar="N")
    parser.add_argument("--system", metavar="TEXT")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--show", choices=["wrong", "refused", "all"])
    given = parser.parse_args()
    corpus = load()
    folder = tempfile.TemporaryDirectory(prefix="slm")
    with folder as name, client_for(given.model, Path(name)) as client:
        questions = exam(corpus, given.exam) if given.exam else held_out(corpus)
        judged = list(evaluate(corpus, client, questions, system=given.system, turns=given.turns))
    for row in judged:
        expected = "refused" if row.fact is None else "right"
        if given.show == "all" or (given.show == row.verdict != expected):
            asked = row.fact.id if row.fact else "unknown"
            sys.stderr.write(f"{row.verdict:8} {asked:30} {row.question!r} -> {row.answer!r}\n")
    parts = summary(judged)
    if given.json:
        print(json.dumps(parts))
        return 0
    for name, shares in parts.items():
        print(
            f"{name:8} {shares['questions']:4.0f} questions: right {shares['right']:.1%}, "
            f"wrong {shares['wrong']:.1%}, refused {shares['refused']:.1%}"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
