"""OpenAI's asynchronous client, in everything that the other does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Literal, TypeVar

import pytest
from openai import AsyncOpenAI, BadRequestError, NotFoundError
from openai.types.chat import ChatCompletionMessageParam
from pydantic import BaseModel

from tests.servers import Server
from tests.slmctl.server.models import HELLO, TINY

T = TypeVar("T")

HI: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hello, who are you?"}]


class Mood(BaseModel):
    mood: Literal["happy", "sad"]


def asked(served: Server, ask: Callable[[AsyncOpenAI], Awaitable[T]]) -> T:
    async def run() -> T:
        base = f"{served.base_url}/v1"
        async with AsyncOpenAI(base_url=base, api_key="x", max_retries=0, timeout=60) as client:
            return await ask(client)

    return asyncio.run(run())


def test_models(served: Server) -> None:
    async def ask(client: AsyncOpenAI) -> tuple[set[str], str]:
        return {model.id async for model in client.models.list()}, (await client.models.retrieve(TINY)).id

    names, one = asked(served, ask)
    assert HELLO in names
    assert one == TINY


def test_a_chat_whole_and_as_a_stream(served: Server) -> None:
    async def ask(client: AsyncOpenAI) -> tuple[str | None, str]:
        whole = await client.chat.completions.create(model=HELLO, messages=HI, temperature=0, max_tokens=12)
        stream = await client.chat.completions.create(
            model=HELLO, messages=HI, temperature=0, max_tokens=12, stream=True
        )
        pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]
        return whole.choices[0].message.content, "".join(pieces)

    whole, streamed = asked(served, ask)
    assert whole
    assert whole == streamed


def test_a_text_that_goes_on(served: Server) -> None:
    async def ask(client: AsyncOpenAI) -> str:
        stream = await client.completions.create(model=TINY, prompt="a", max_tokens=5, stream=True)
        return "".join([chunk.choices[0].text async for chunk in stream])

    assert asked(served, ask)


def test_structured_output(served: Server) -> None:
    async def ask(client: AsyncOpenAI) -> Mood | None:
        answer = await client.chat.completions.parse(model=HELLO, messages=HI, response_format=Mood)
        return answer.choices[0].message.parsed

    assert isinstance(asked(served, ask), Mood)


def test_vectors(served: Server) -> None:
    async def ask(client: AsyncOpenAI) -> list[int]:
        found = await asyncio.gather(
            *(client.embeddings.create(model=HELLO, input=text) for text in ("a", "b", "c"))
        )
        return [len(each.data[0].embedding) for each in found]

    sizes = asked(served, ask)
    assert len(set(sizes)) == 1
    assert sizes[0] > 1


def test_whoever_stops_reading_a_stream_makes_room(served: Server) -> None:
    """More streams are left alone than there are slots."""

    async def ask(client: AsyncOpenAI) -> str | None:
        for _ in range(40):
            stream = await client.completions.create(model=TINY, prompt="a", max_tokens=100_000, stream=True)
            async for _ in stream:
                break
            await stream.close()
        answer = await client.completions.create(model=TINY, prompt="a", max_tokens=2)
        return answer.choices[0].text

    assert asked(served, ask)


def test_errors(served: Server) -> None:
    async def missing(client: AsyncOpenAI) -> object:
        return await client.chat.completions.create(model="nobody", messages=HI)

    async def wrong(client: AsyncOpenAI) -> object:
        return await client.chat.completions.create(model=HELLO, messages=HI, temperature=5)

    with pytest.raises(NotFoundError):
        asked(served, missing)
    with pytest.raises(BadRequestError) as caught:
        asked(served, wrong)
    assert caught.value.param == "temperature"
