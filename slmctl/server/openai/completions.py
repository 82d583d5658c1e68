"""POST /v1/completions, OpenAI's older API: a text goes on."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Annotated

from pydantic import Field
from starlette.responses import Response

from modelfiles.spec import ParameterValue
from runtimes.protocol import Finished, TextDelta, TokenLogprob
from slmctl.app.asks import CompletionAsk
from slmctl.server import answering
from slmctl.server.answering import AnswerEvent
from slmctl.server.call import Call, Endpoint
from slmctl.server.openai import answer_schemas
from slmctl.server.openai.answers import (
    Answer,
    Gathered,
    broken_off,
    created_now,
    fingerprint,
    gathered,
    interleaved,
    new_id,
    usage_of,
    using,
)
from slmctl.server.openai.fields import (
    HARMLESS,
    GeneratingFields,
    Tokens,
    another_seed,
    inputs_of,
    parameters_of,
    unsupported,
    want_of,
)
from slmctl.server.parsing import bad_field, parse
from slmctl.server.scheduler import Served, Want
from slmctl.server.streams import DONE, answer, event, sse
from slmctl.server.telling import told

MOST_PROMPTS = 16
MOST_ANSWERS = 64
"""To all prompts of a request together."""


class CompletionRequest(GeneratingFields):
    """`prompt` is a text or its tokens, or a list of either."""

    prompt: (
        str
        | Tokens
        | Annotated[list[str], Field(min_length=1, max_length=MOST_PROMPTS)]
        | Annotated[list[Tokens], Field(min_length=1, max_length=MOST_PROMPTS)]
    )
    suffix: str | None = None
    echo: bool | None = None
    best_of: Annotated[int, Field(ge=1)] | None = None
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None


async def complete(call: Call) -> Response:
    """Continue each prompt, `n` times."""
    request = parse(CompletionRequest, await call.json(), harmless=HARMLESS)
    _check(request)
    want, count = want_of(call, request), request.n or 1
    parameters = parameters_of(request, request.max_tokens)
    answers = [
        _answer(call, want, _ask(request, prompt, another_seed(parameters, number)), bool(request.echo))
        for prompt in inputs_of(request.prompt)
        for number in range(count)
    ]
    if request.stream:
        return await sse(call, _chunks(call, request, answers), broken_off)
    found = await gathered(answers)
    ends = [each.finished for each in found]
    whole = {
        **_common(call, request),
        "choices": [_choice(request, index, each) for index, each in enumerate(found)],
        "usage": usage_of(ends[::count], ends),
    }
    return answer(call, whole)


def _check(request: CompletionRequest) -> None:
    count = request.n or 1
    if request.best_of is not None and request.best_of != count:
        raise unsupported("best_of", "Only as many answers are made as are given: 'best_of' must be 'n'.")
    if request.echo and request.logprobs is not None:
        raise unsupported(
            "echo", "The engine tells no probabilities of a prompt: 'echo' goes without 'logprobs'."
        )
    if request.echo and request.suffix is not None:
        raise bad_field("echo", "and 'suffix' cannot be asked for together")
    if len(inputs_of(request.prompt)) * count > MOST_ANSWERS:
        raise bad_field("n", f"asks, with so many prompts, for more than {MOST_ANSWERS} answers")


def _ask(
    request: CompletionRequest, prompt: str | tuple[int, ...], parameters: Mapping[str, ParameterValue]
) -> CompletionAsk:
    return CompletionAsk(
        prompt=prompt,
        suffix=request.suffix,
        parameters=parameters,
        grammar=request.grammar,
        top_logprobs=request.logprobs,
        logit_bias=request.biases,
    )


async def _answer(call: Call, want: Want, ask: CompletionAsk, echoes: bool) -> Answer:
    async with (
        using(call, want, "prompt") as served,
        aclosing(told(call, answering.complete(served, ask))) as events,
    ):
        async for each in events:
            if echoes:  # not before the engine has taken the prompt
                yield TextDelta(await _text_of(served, ask.prompt))
                echoes = False
            yield each


async def _text_of(served: Served, prompt: str | tuple[int, ...]) -> str:
    return prompt if isinstance(prompt, str) else await answering.detokenize(served, prompt)


async def _chunks(call: Call, request: CompletionRequest, answers: list[Answer]) -> AsyncGenerator[bytes]:
    common: Mapping[str, object] = {}
    offsets: dict[int, int] = {}
    ends: dict[int, Finished] = {}
    async with aclosing(interleaved(answers)) as events:
        async for index, each in events:
            if not common:
                usage = {"usage": None} if request.includes_usage else {}
                common = {**_common(call, request), **usage}
            if isinstance(each, Finished):
                ends[index] = each
            if (piece := _chunk_choice(index, each, offsets, request.logprobs or 0)) is not None:
                yield event({**common, "choices": [piece]})
    if request.includes_usage:
        prompts = [ends[index] for index in range(0, len(answers), request.n or 1)]
        yield event({**common, "choices": [], "usage": usage_of(prompts, ends.values())})
    yield DONE


def _common(call: Call, request: CompletionRequest) -> Mapping[str, object]:
    return {
        "id": new_id("cmpl"),
        "object": "text_completion",
        "created": created_now(),
        "model": request.model,
        "system_fingerprint": fingerprint(call),
    }


def _chunk_choice(
    index: int, each: AnswerEvent, offsets: dict[int, int], most: int
) -> Mapping[str, object] | None:
    choice: dict[str, object] = {"index": index, "text": "", "logprobs": None, "finish_reason": None}
    match each:
        case TextDelta():
            offset = offsets.get(index, 0)
            offsets[index] = offset + len(each.text)
            told_logprobs = _logprobs(each.logprobs, most, offset) if each.logprobs else None
            return {**choice, "text": each.text, "logprobs": told_logprobs}
        case Finished():
            return {**choice, "finish_reason": each.reason}
        case _:
            return None


def _choice(request: CompletionRequest, index: int, found: Gathered) -> Mapping[str, object]:
    return {
        "index": index,
        "text": found.text,
        "logprobs": None if request.logprobs is None else _logprobs(found.logprobs, request.logprobs, 0),
        "finish_reason": found.finished.reason,
    }


def _logprobs(logprobs: Sequence[TokenLogprob], most: int, offset: int) -> Mapping[str, object]:
    """OpenAI's older shape, with the `most` likeliest of each token; `text_offset` counts the characters
    before it in the answer."""
    offsets: list[int] = []
    for each in logprobs:
        offsets.append(offset)
        offset += len(each.token)
    return {
        "tokens": [each.token for each in logprobs],
        "token_logprobs": [each.logprob for each in logprobs],
        "top_logprobs": [{other.token: other.logprob for other in each.top[:most]} for each in logprobs],
        "text_offset": offsets,
    }


ENDPOINTS = (
    Endpoint(
        method="POST",
        path="/v1/completions",
        handler=complete,
        scope="infer",
        family="openai",
        label="completions",
        about="Continue a text, as OpenAI's older completions.",
        request_schema=CompletionRequest.model_json_schema(),
        response_schema=answer_schemas.COMPLETION,
        streams="sse",
    ),
)
