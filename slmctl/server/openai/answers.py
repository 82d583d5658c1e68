"""Answers to one request of OpenAI's API, one or several at a time, each with a slot of its own."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field

from registry.errors import NotFound
from runtimes.protocol import Finished, TextDelta, ThinkingDelta, TokenLogprob, ToolCallDelta
from slmctl.server.answering import AnswerEvent
from slmctl.server.call import Call
from slmctl.server.problems import ModelMissing, Problem, PromptTooLong
from slmctl.server.scheduler import Served, Want
from slmctl.server.streams import DONE, event
from slmctl.server.telling import begin

Answer = AsyncGenerator[AnswerEvent]

_BUFFERED_EVENTS = 64
"""How far answers that are given at the same time may be ahead of the client."""


@asynccontextmanager
async def using(call: Call, want: Want, field_name: str) -> AsyncIterator[Served]:
    """`Scheduler.use`, with the request's model noted; errors are told as OpenAI does.

    `field_name` is the field that holds the prompt.
    """
    async with AsyncExitStack() as stack:
        try:
            served = await stack.enter_async_context(call.state.scheduler.use(want))
        except NotFound as error:
            raise ModelMissing(error.message, hint=error.hint) from None
        begin(call, served)
        try:
            yield served
        except PromptTooLong as error:
            raise _too_long(error, field_name) from None


def _too_long(error: PromptTooLong, field_name: str) -> PromptTooLong:
    """In OpenAI's words, which clients look for, where the numbers are known."""
    message = error.message
    if error.tokens is not None and error.context is not None:
        message = (
            f"This model's maximum context length is {error.context} tokens, "
            f"but the request has {error.tokens} tokens in '{field_name}'."
        )
    return PromptTooLong(
        message,
        tokens=error.tokens,
        context=error.context,
        parameter=field_name,
        hint="Shorten it, or ask for a larger context by 'options': {\"num_ctx\": ...}.",
    )


async def interleaved(answers: Sequence[Answer]) -> AsyncGenerator[tuple[int, AnswerEvent]]:
    """The events of all answers as they come, each with the number of its answer.

    One that fails ends all. Closing the generator closes every answer.
    """
    if len(answers) == 1:
        async with aclosing(answers[0]) as only:
            async for each in only:
                yield 0, each
        return
    queue: asyncio.Queue[tuple[int, AnswerEvent | BaseException | None]] = asyncio.Queue(_BUFFERED_EVENTS)
    tasks = [asyncio.create_task(_pump(number, answer, queue)) for number, answer in enumerate(answers)]
    try:
        left = len(tasks)
        while left:
            number, item = await queue.get()
            if item is None:
                left -= 1
            elif isinstance(item, BaseException):
                raise item
            else:
                yield number, item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _pump(
    number: int, answer: Answer, queue: asyncio.Queue[tuple[int, AnswerEvent | BaseException | None]]
) -> None:
    last: BaseException | None = None
    try:
        async with aclosing(answer) as events:
            async for each in events:
                await queue.put((number, each))
    except Exception as error:  # noqa: BLE001 - it is raised where the answers are read
        last = error
    await queue.put((number, last))


@dataclass(slots=True)
class Gathered:
    """One whole answer, made of its events. `arguments` of tool calls are JSON in text."""

    texts: list[str] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    calls: dict[int, dict[str, str]] = field(default_factory=dict)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    finished: Finished = field(default_factory=lambda: Finished(reason="stop"))

    def add(self, each: AnswerEvent) -> None:
        match each:
            case TextDelta():
                self.texts.append(each.text)
                self.logprobs += each.logprobs
            case ThinkingDelta():
                self.thoughts.append(each.text)
                self.logprobs += each.logprobs
            case ToolCallDelta():
                call = self.calls.setdefault(each.index, {"id": "", "name": "", "arguments": ""})
                call["id"] = each.id or call["id"]
                call["name"] = each.name or call["name"]
                call["arguments"] += each.arguments
            case Finished():
                self.finished = each

    @property
    def text(self) -> str:
        return "".join(self.texts)


async def gathered(answers: Sequence[Answer]) -> list[Gathered]:
    """Each of the answers when all are complete."""
    found = [Gathered() for _ in answers]
    async with aclosing(interleaved(answers)) as events:
        async for number, each in events:
            found[number].add(each)
    return found


def usage_of(prompts: Iterable[Finished], answers: Iterable[Finished]) -> Mapping[str, object]:
    """OpenAI's `usage`. `prompts` has one end for each prompt, whose tokens count once however many answers
    there are to it."""
    prompts, answers = list(prompts), list(answers)
    prompt = sum(end.prompt_tokens or 0 for end in prompts)
    completion = sum(end.generated_tokens or 0 for end in answers)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": sum(end.cached_tokens or 0 for end in prompts)},
    }


def new_id(prefix: str) -> str:
    return f"{prefix}-{secrets.token_hex(12)}"


def created_now() -> int:
    return int(time.time())


def fingerprint(call: Call) -> str | None:
    """Which model answered: it changes when the name is given to another digest."""
    digest = call.told.digest
    return None if digest is None else f"fp_{digest.rpartition(':')[2][:12]}"


def broken_off(problem: Problem) -> list[bytes]:
    """What ends a stream in which something went wrong: OpenAI's clients raise APIError for it."""
    return [event(problem.body("openai")), DONE]
