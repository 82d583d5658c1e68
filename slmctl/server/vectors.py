"""Vectors of texts, and how well documents answer a query."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence

from registry.errors import UsageError
from runtimes import protocol
from runtimes.errors import EngineRefused
from slmctl.app.ask_limits import check_tokens
from slmctl.app.asks import EmbedAsk, Embedded, RankAsk, Ranked
from slmctl.server.checks import not_supported, vocabulary_of
from slmctl.server.overflowing import too_long
from slmctl.server.prompting import tokens_of
from slmctl.server.scheduler import Served

Input = str | tuple[int, ...]

MOST_INPUTS = 2048


async def embed(served: Served, ask: EmbedAsk) -> Embedded:
    """Raises as `answering.embed`."""
    if "rerank" in served.capabilities:
        raise not_supported(served, "embed")
    if not ask.inputs:
        return Embedded(vectors=(), prompt_tokens=0)
    _check_inputs(served, ask)
    cut: Mapping[int, int] = {}
    inputs: Sequence[Input] = ask.inputs
    try:
        vectors, tokens = await _vectors(served, inputs)
    except EngineRefused as error:
        if not error.is_too_long:
            raise
        if not ask.truncate:
            raise too_long(served, error) from None
        inputs, cut = await _shortened(served, inputs, error.context or served.about.context_length)
        vectors, tokens = await _vectors(served, inputs)
    if len(vectors) != len(ask.inputs):
        raise UsageError("The engine gave another number of vectors than there are inputs.")
    if ask.dimensions is not None:
        vectors = tuple(_first(vector, ask.dimensions) for vector in vectors)
    return Embedded(vectors=vectors, prompt_tokens=tokens, cut=tuple(cut), cut_tokens=sum(cut.values()))


async def rank(served: Served, ask: RankAsk) -> Ranked:
    """Raises as `answering.rank`."""
    if "rerank" not in served.capabilities:
        raise not_supported(served, "rerank")
    if not ask.documents:
        return Ranked(scores=(), prompt_tokens=0)
    if len(ask.documents) > MOST_INPUTS:
        raise UsageError(f"There are more than {MOST_INPUTS} documents.")
    request = protocol.rerank_request(ask.query, ask.documents)
    try:
        scores, tokens = protocol.parse_scores(await served.engine.body(request))
    except EngineRefused as error:
        if error.is_too_long:
            raise too_long(served, error) from None
        raise
    return Ranked(scores=scores, prompt_tokens=tokens)


def _check_inputs(served: Served, ask: EmbedAsk) -> None:
    if len(ask.inputs) > MOST_INPUTS:
        raise UsageError(f"There are more than {MOST_INPUTS} inputs.")
    for number, each in enumerate(ask.inputs):
        if not each:
            raise UsageError(f"The input number {number} is empty.")
        if not isinstance(each, str):
            check_tokens(each, vocabulary_of(served))
    if ask.dimensions is not None and ask.dimensions < 1:
        raise UsageError("dimensions must be at least 1.")


async def _vectors(served: Served, inputs: Sequence[Input]) -> tuple[tuple[tuple[float, ...], ...], int]:
    body = await served.engine.body(protocol.embeddings_request(inputs))
    return await asyncio.to_thread(protocol.parse_embeddings, body)  # thousands of vectors take their time


async def _shortened(
    served: Served, inputs: Sequence[Input], context: int
) -> tuple[Sequence[Input], Mapping[int, int]]:
    """The inputs, those that are too long as their first tokens; and how many tokens of each are left out.

    The engine takes one token less than its context has. What the tokenizer puts behind a text stays the last
    token.
    """
    found: list[Input] = []
    cut: dict[int, int] = {}
    for number, each in enumerate(inputs):
        tokens = await tokens_of(served, each, add_special=True) if isinstance(each, str) else each
        if len(tokens) < context:
            found.append(each)
            continue
        plain = await tokens_of(served, each) if isinstance(each, str) else each
        ending = tokens[-1:] if tokens[-1:] != plain[-1:] else ()
        kept = tokens[: context - 1 - len(ending)] + ending
        found.append(kept)
        cut[number] = len(tokens) - len(kept)
    return found, cut


def _first(vector: tuple[float, ...], dimensions: int) -> tuple[float, ...]:
    """The first numbers, with the length 1 again."""
    if dimensions > len(vector):
        raise UsageError(f"The model's vectors have {len(vector)} dimensions, not {dimensions}.")
    kept = vector[:dimensions]
    length = math.sqrt(sum(each * each for each in kept))
    return tuple(each / length for each in kept) if length else kept
