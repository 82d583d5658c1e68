"""Continuing a text or tokens as they are, and filling in what stands between two texts."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from runtimes import protocol
from runtimes.errors import EngineRefused
from runtimes.protocol import HttpRequest
from runtimes.protocol_requests import INFILL
from runtimes.sampling import Sampling
from slmctl.app.asks import CompletionAsk
from slmctl.app.go_prompts import go_infill
from slmctl.app.overflow import cut_tokens, room_for_answer
from slmctl.app.questions import Manner
from slmctl.server.checks import not_supported
from slmctl.server.cut import AnswerEvent, Cut
from slmctl.server.overflowing import too_long
from slmctl.server.prompting import Shape, begun_once, sampling_for, tokens_of
from slmctl.server.scheduler import Served
from slmctl.server.threads import in_thread


async def completed(served: Served, ask: CompletionAsk, shape: Shape) -> AsyncGenerator[AnswerEvent]:
    """Raises as `answering.complete`."""
    sampling = sampling_for(served, ask.parameters)
    request = await _request(served, ask, sampling, shape)
    refused: EngineRefused | None = None
    try:
        async with aclosing(served.engine.stream(request)) as events:
            async for event in events:
                yield event
    except EngineRefused as error:
        if request.path == INFILL and error.status == 501:
            raise not_supported(served, "insert") from None
        if not error.is_too_long:
            raise
        refused = error
    if refused is None:
        return
    if not ask.truncate or ask.suffix is not None:
        raise too_long(served, refused)
    tokens, cut = await _shortened(served, ask, sampling, refused)
    yield cut
    async with aclosing(served.engine.stream(_continue(served, ask, tokens, sampling, shape))) as events:
        async for event in events:
            yield event


async def _shortened(
    served: Served, ask: CompletionAsk, sampling: Sampling, refused: EngineRefused
) -> tuple[tuple[int, ...], Cut]:
    """num_keep tokens of the beginning, and the end."""
    given = ask.prompt
    tokens = await tokens_of(served, given, add_special=True) if isinstance(given, str) else given
    context = refused.context or served.about.context_length
    most = context - room_for_answer(context, sampling.num_predict)
    kept = cut_tokens(tokens, most, sampling.num_keep)
    return kept, Cut(0, len(tokens) - len(kept))


async def _request(served: Served, ask: CompletionAsk, sampling: Sampling, shape: Shape) -> HttpRequest:
    if ask.suffix is None:
        return _continue(served, ask, ask.prompt, sampling, shape)
    if not isinstance(ask.prompt, str):
        raise not_supported(served, "insert between tokens")
    template = Manner.of(served.spec, served.chat_template, served.has_chat_template).go_template
    if template is not None and ".Suffix" in template:
        prefix, suffix = ask.prompt, ask.suffix
        text = await in_thread(lambda: go_infill(template, prefix, suffix, environment=served.environment))
        return _continue(served, ask, await begun_once(served, text), sampling, shape)
    return protocol.infill_request(
        ask.prompt,
        ask.suffix,
        sampling,
        json_schema=shape.json_schema,
        grammar=shape.grammar,
        top_logprobs=ask.top_logprobs,
        logit_bias=ask.logit_bias,
        slot=served.slot,
        fresh=served.fresh,
    )


def _continue(
    served: Served, ask: CompletionAsk, prompt: str | tuple[int, ...], sampling: Sampling, shape: Shape
) -> HttpRequest:
    return protocol.completion_request(
        prompt,
        sampling,
        json_schema=shape.json_schema,
        grammar=shape.grammar,
        top_logprobs=ask.top_logprobs,
        logit_bias=ask.logit_bias,
        slot=served.slot,
        fresh=served.fresh,
    )
