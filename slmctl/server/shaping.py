"""Structured output: the shape that an answer is held to, and the look at it before it is given.

The engine makes llguidance's grammars of schemas. With some SentencePiece tokenizers those fail, and the
engine then answers without any: each engine is asked once whether it keeps to one, and where it does not, a
grammar of ours (GBNF) takes their place. Whatever held it, an answer is validated before it is given.
"""

from __future__ import annotations

import weakref
from collections.abc import AsyncGenerator
from contextlib import aclosing

from registry.errors import UsageError
from runtimes import protocol
from runtimes.protocol import ANY_OBJECT, Finished, TextDelta, TokenLogprob, ToolCallDelta
from runtimes.sampling import Sampling
from slmctl.app.asks import Schema
from slmctl.app.grammar_limits import check_grammar
from slmctl.app.json_grammars import grammar_of
from slmctl.app.structured import NotMet, Structure, structure_of
from slmctl.server.cut import AnswerEvent
from slmctl.server.engine import EngineClient
from slmctl.server.problems import SchemaNotMet
from slmctl.server.prompting import FREE, Shape
from slmctl.server.scheduler import Served
from slmctl.server.threads import in_thread

_PROBE: Schema = {"const": "shaped"}
_KEEPS: weakref.WeakKeyDictionary[EngineClient, bool] = weakref.WeakKeyDictionary()
"""Whether an engine keeps to a schema, by what was seen of it."""


async def structure_for(schema: Schema | None) -> Structure | None:
    """Raises UsageError for a schema that is not let in."""
    return None if schema is None else await in_thread(lambda: structure_of(schema))


async def shape_for(served: Served, structure: Structure | None, grammar: str | None) -> Shape:
    """What the engine is told. Raises UsageError for a grammar that is not let in."""
    if grammar is not None:
        await in_thread(lambda: check_grammar(grammar))
        return Shape(grammar=grammar)
    if structure is None:
        return FREE
    if structure.normalised == ANY_OBJECT:
        return Shape(json_schema=ANY_OBJECT)
    if await _keeps_to_schemas(served):
        return Shape(json_schema=structure.engine)
    normalised = structure.normalised
    return Shape(grammar=await in_thread(lambda: grammar_of(normalised)))


async def validated(events: AsyncGenerator[AnswerEvent], structure: Structure) -> AsyncGenerator[AnswerEvent]:
    """The answer once it is whole and fits; cut by its limit of tokens, or with a tool call, as it is.

    Raises SchemaNotMet.
    """
    texts: list[str] = []
    logprobs: list[TokenLogprob] = []
    called = False
    async with aclosing(events):
        async for event in events:
            if isinstance(event, TextDelta):
                texts.append(event.text)
                logprobs += event.logprobs
                continue
            called = called or isinstance(event, ToolCallDelta)
            if isinstance(event, Finished):
                text = "".join(texts)
                if event.reason != "length" and not called:
                    await _check(structure, text)
                if text or logprobs:
                    yield TextDelta(text, tuple(logprobs))
            yield event


async def _check(structure: Structure, text: str) -> None:
    try:
        await in_thread(lambda: structure.check(text))
    except NotMet as error:
        raise SchemaNotMet(
            f"The model's answer is not what the schema asks for: {error}.",
            hint="Ask again, say in the prompt what the answer is to be, or make the schema simpler.",
        ) from None
    except UsageError as error:
        raise SchemaNotMet(f"The model's answer cannot be validated: {error.message}") from None


async def _keeps_to_schemas(served: Served) -> bool:
    """Ask for a text of which the first token says enough."""
    engine = served.engine
    if (known := _KEEPS.get(engine)) is None:
        question = protocol.completion_request(
            "{", Sampling(temperature=0.0, num_predict=4), json_schema=_PROBE, slot=served.slot
        )
        said = ""
        async with aclosing(engine.stream(question)) as events:
            async for event in events:
                if isinstance(event, TextDelta):
                    said += event.text
        known = _KEEPS[engine] = said.startswith('"') and '"shaped"'.startswith(said[:8])
    return known
