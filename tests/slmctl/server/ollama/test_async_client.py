"""Ollama's asynchronous client from PyPI."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import ollama
import pytest
from pydantic import BaseModel

from tests.servers import Server
from tests.slmctl.server.models import GO_TOOLS, HELLO, THINKER, TOOLS

STILL = {"temperature": 0.0, "seed": 1, "num_predict": 24}
HI = [{"role": "user", "content": "Hi!"}]
T = TypeVar("T")


class Answer(BaseModel):
    yes: bool


def asked(served: Server, ask: Callable[[ollama.AsyncClient], Awaitable[T]]) -> T:
    async def run() -> T:
        async with ollama.AsyncClient(host=served.base_url, trust_env=False) as client:
            return await ask(client)

    return asyncio.run(run())


def test_it_does_what_the_other_does(served: Server) -> None:
    async def ask() -> tuple[str, str, str, list[Any]]:
        async with ollama.AsyncClient(host=served.base_url, trust_env=False) as client:
            whole = await client.chat(HELLO, HI, options=STILL)
            streamed = await client.chat(HELLO, HI, options=STILL, stream=True)
            pieces = [piece.message.content or "" async for piece in streamed]
            generated = await client.generate(HELLO, "Hi!", options=STILL)
            vectors = (await client.embed(HELLO, ["a", "b"])).embeddings
            return whole.message.content or "", "".join(pieces), generated.response, list(vectors)

    whole, streamed, generated, vectors = asyncio.run(ask())
    assert whole == streamed == generated
    assert len(vectors) == 2


def test_structured_output(served: Server) -> None:
    async def ask(client: ollama.AsyncClient) -> tuple[str, str, list[str]]:
        schema, options = Answer.model_json_schema(), {"temperature": 0.0, "num_predict": 100}
        chat = await client.chat(HELLO, HI, format=schema, options=options)
        generated = await client.generate(HELLO, "Hi!", format=schema, options=options)
        stream = await client.chat(HELLO, HI, format=schema, options=options, stream=True)
        return (
            chat.message.content or "",
            generated.response or "",
            [each.message.content or "" async for each in stream],
        )

    chat, generated, pieces = asked(served, ask)
    assert Answer.model_validate_json(chat) == Answer.model_validate_json(generated)
    assert "".join(pieces) == chat


@pytest.mark.parametrize("model", [TOOLS, GO_TOOLS])
def test_functions_are_tools(served: Server, model: str) -> None:
    def weather(city: str, days: int | str = 1) -> str:
        """The weather in a city.

        Args:
          city: Where.
        """
        return f"{city} {days}"

    async def ask(client: ollama.AsyncClient) -> tuple[int, int]:
        plain = await client.chat(model, HI, options=STILL)
        told = await client.chat(model, HI, tools=[weather], options=STILL)
        stream = await client.chat(model, HI, tools=[weather], options=STILL, stream=True)
        *_, last = [each async for each in stream]
        assert (last.done, last.prompt_eval_count) == (True, told.prompt_eval_count)
        return plain.prompt_eval_count or 0, told.prompt_eval_count or 0

    without, with_tools = asked(served, ask)
    assert with_tools > without + 20


def test_thoughts(served: Server) -> None:
    async def ask(client: ollama.AsyncClient) -> list[Any]:
        thought = await client.chat(THINKER, HI, think=True, options=STILL)
        low = await client.generate(THINKER, "Hi!", think="low", options=STILL)
        stream = await client.chat(THINKER, HI, think=True, options=STILL, stream=True)
        pieces = [each.message.thinking or "" async for each in stream]
        without = await client.chat(THINKER, HI, think=False, options=STILL)
        return [thought.message.thinking, low.thinking, "".join(pieces), without.message.thinking]

    thought, low, streamed, without = asked(served, ask)
    assert thought
    assert low
    assert (streamed, without) == (thought, None)


def test_vectors(served: Server) -> None:
    async def ask(client: ollama.AsyncClient) -> tuple[list[float], list[float], int]:
        new = await client.embed(HELLO, "one")
        old = await client.embeddings(HELLO, "one")
        fewer = await client.embed(HELLO, ["one", "two"], dimensions=4)
        return list(new.embeddings[0]), list(old.embedding), sum(map(len, fewer.embeddings))

    new, old, numbers = asked(served, ask)
    assert new == pytest.approx(old, abs=1e-3)
    assert numbers == 8


def test_errors(served: Server) -> None:
    async def ask(client: ollama.AsyncClient) -> list[tuple[int, str]]:
        found = []
        for failing in (
            client.show("nobody"),
            client.chat("nobody", HI),
            client.embed("nobody", "a"),
            client.chat(HELLO, HI, think=True),
            client.generate(HELLO, "a", suffix="b"),
        ):
            with pytest.raises(ollama.ResponseError) as caught:
                await failing
            found.append((caught.value.status_code, caught.value.error))
        with pytest.raises(ollama.ResponseError) as caught:
            async for _ in await client.chat("nobody", HI, stream=True):
                pass
        return [*found, (caught.value.status_code, caught.value.error)]

    missing = (404, 'model "nobody" not found, try pulling it first')
    assert asked(served, ask) == [
        (404, "model 'nobody' not found"),
        missing,
        missing,
        (400, '"hello" does not support thinking'),
        (400, '"hello" does not support insert'),
        missing,
    ]
