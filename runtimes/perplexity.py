"""How well a model predicts a text, and how far its predictions are from another build's.

Perplexity as llama.cpp's llama-perplexity has it: the text is cut into windows of the context's length, each
read by itself, and what counts are the tokens of its second half, which have half a window before them.
A model's own first token takes the place of each window's. Divergence is that of Kullback and Leibler, in
nats: the mean over the same tokens of sum p log(p / q), p the other build's probabilities and q this one's.
Errors are standard errors of means. Sources: llama.cpp's tools/perplexity/README.md; Kullback and Leibler,
"On information and sufficiency", 1951.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

Tokens = npt.NDArray[np.int32]
Floats = npt.NDArray[np.floating]

_BLOCK = 1 << 22  # values that are computed with at once, in double precision


class Predictor(Protocol):
    """A model whose logits can be had: `runtimes.logits.Logits`."""

    @property
    def rows(self) -> int: ...

    @property
    def batch(self) -> int: ...

    def decode(self, tokens: Tokens, rows: int, *, anew: bool = False) -> npt.NDArray[np.float32]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean and its standard error."""

    value: float
    error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Beside another build: its perplexity, the divergence from it, and the share of tokens for which both
    find the same one the likeliest."""

    perplexity: Estimate
    divergence: Estimate
    same_top: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """`tokens` were counted, of so many `windows`."""

    windows: int
    tokens: int
    perplexity: Estimate
    against: Comparison | None = None


@dataclass(slots=True, kw_only=True)
class _Seen:
    """What each counted token cost: nats in either model, nats between them, whether their tops agree."""

    ours: list[Floats] = field(default_factory=list)
    theirs: list[Floats] = field(default_factory=list)
    between: list[Floats] = field(default_factory=list)
    agree: list[Floats] = field(default_factory=list)


def windows(tokens: Tokens, context: int, *, begins: int | None, most: int | None = None) -> Iterator[Tokens]:
    """The whole windows of `context` tokens, at most `most` of them, each beginning with `begins`."""
    count = len(tokens) // context
    for number in range(count if most is None else min(count, most)):
        window = tokens[number * context : (number + 1) * context].copy()
        if begins is not None:
            window[0] = begins
        yield window


@np.errstate(invalid="ignore")
def measure(
    model: Predictor,
    given: Iterator[Tokens],
    *,
    against: Predictor | None = None,
    on_window: Callable[[int], None] = lambda _: None,
) -> Measurement:
    """Read all windows with the model, and with the other one where there is one.

    `on_window` is told after each how many there were. Of logits that are no numbers (a damaged model) nor is
    the measurement. Raises ValueError without a window of three tokens.
    """
    seen = _Seen()
    count = 0
    for window in given:
        _read(model, against, window, seen)
        count += 1
        on_window(count)
    if not seen.ours:
        raise ValueError("nothing to count")
    return Measurement(
        windows=count,
        tokens=sum(map(len, seen.ours)),
        perplexity=_perplexity(seen.ours),
        against=Comparison(
            perplexity=_perplexity(seen.theirs),
            divergence=_mean(np.concatenate(seen.between)),
            same_top=_mean(np.concatenate(seen.agree)),
        )
        if against is not None
        else None,
    )


def _read(model: Predictor, against: Predictor | None, window: Tokens, seen: _Seen) -> None:
    first, last = len(window) // 2, len(window) - 1  # what the last one predicts stands in no window
    both = [model] if against is None else [model, against]
    for each in both:
        for start in range(0, first, each.batch):
            each.decode(window[start : min(start + each.batch, first)], 0, anew=start == 0)
    step = min(each.rows for each in both)
    for start in range(first, last, step):
        piece = window[start : min(start + step, last)]
        following = window[start + 1 : start + 1 + len(piece)]
        given = [each.decode(piece, len(piece)) for each in both]
        _count(given[0], given[1] if against is not None else None, following, seen)


def _count(ours: Floats, theirs: Floats | None, following: Tokens, seen: _Seen) -> None:
    block = max(1, _BLOCK // ours.shape[1])
    for start in range(0, len(following), block):
        part = slice(start, start + block)
        at = (np.arange(len(following[part])), following[part])
        mine = log_probabilities(ours[part])
        seen.ours.append(-mine[at])
        if theirs is not None:
            other = log_probabilities(theirs[part])
            seen.theirs.append(-other[at])
            seen.between.append(divergences(other, mine))
            seen.agree.append((other.argmax(axis=1) == mine.argmax(axis=1)).astype(np.float64))


def log_probabilities(logits: Floats) -> npt.NDArray[np.float64]:
    """The logarithm of softmax, row by row, in double precision."""
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return shifted


def divergences(base: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Of each row, sum p (log p - log q): from `base` (log p) to `other` (log q). Never below 0."""
    apart = np.subtract(base, other, out=np.zeros_like(base), where=base > -np.inf)
    result: npt.NDArray[np.float64] = np.maximum((np.exp(base) * apart).sum(axis=1), 0.0)
    return result


def _perplexity(nats: list[Floats]) -> Estimate:
    mean = _mean(np.concatenate(nats))
    value = math.exp(mean.value) if mean.value < 700 else math.inf
    return Estimate(value=value, error=value * mean.error)


def _mean(values: Floats) -> Estimate:
    error = float(values.std() / math.sqrt(len(values) - 1)) if len(values) > 1 else 0.0
    return Estimate(value=float(values.mean()), error=error)
