from __future__ import annotations

import math
from typing import Any

import httpx
import pytest
from openai import BadRequestError, OpenAI

from tests.servers import Server
from tests.slmctl.server.models import HELLO, RANKER


def test_vectors_are_the_same_as_numbers_and_in_base64(client: OpenAI) -> None:
    """Base64 is what the client asks for unless it is told otherwise."""
    texts = ["hello", "who are you?"]
    coded = client.embeddings.create(model=HELLO, input=texts)
    plain = client.embeddings.create(model=HELLO, input=texts, encoding_format="float")
    assert [each.index for each in coded.data] == [0, 1]
    assert coded.model == HELLO
    assert coded.usage.prompt_tokens == coded.usage.total_tokens > 2
    for one, other in zip(coded.data, plain.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding, abs=1e-6)
        assert math.isclose(math.hypot(*one.embedding), 1.0, abs_tol=1e-4)
    assert coded.data[0].embedding != coded.data[1].embedding


def test_one_text_and_its_tokens(client: OpenAI, served: Server) -> None:
    tokens = httpx.post(
        f"{served.base_url}/tokenize", json={"model": HELLO, "content": "hello", "add_special": True}
    ).json()["tokens"]
    (text,) = client.embeddings.create(model=HELLO, input="hello").data
    (same,) = client.embeddings.create(model=HELLO, input=tokens).data
    assert text.embedding == pytest.approx(same.embedding, abs=1e-4)


def test_fewer_dimensions(client: OpenAI) -> None:
    (whole,) = client.embeddings.create(model=HELLO, input="hello").data
    (short,) = client.embeddings.create(model=HELLO, input="hello", dimensions=8).data
    length = math.hypot(*whole.embedding[:8])
    assert short.embedding == pytest.approx([value / length for value in whole.embedding[:8]], abs=1e-5)


@pytest.mark.parametrize(
    ("fields", "parameter"),
    [
        ({"input": []}, "input"),
        ({"input": ""}, "input"),
        ({"input": ["a", ""]}, "input[1]"),
        ({"input": None}, "input"),
        ({"input": {"text": "a"}}, "input"),
        ({"input": ["a"] * 2049}, "input"),
        ({"input": [-1]}, "input[0]"),
        ({"encoding_format": "hex"}, "encoding_format"),
        ({"dimensions": 0}, "dimensions"),
        ({"prompt_embeds": "x"}, "prompt_embeds"),
    ],
)
def test_what_cannot_be_is_refused(client: OpenAI, fields: dict[str, Any], parameter: str) -> None:
    with pytest.raises(BadRequestError) as caught:
        client.post("/embeddings", cast_to=object, body={"model": HELLO, "input": "a", **fields})
    assert caught.value.param == parameter


def test_what_is_too_long_is_not_cut(client: OpenAI) -> None:
    with pytest.raises(BadRequestError) as caught:
        client.embeddings.create(
            model=HELLO, input=["a", "hello " * 3000], extra_body={"options": {"num_ctx": 256}}
        )
    assert caught.value.code == "context_length_exceeded"


def test_more_dimensions_than_there_are(client: OpenAI) -> None:
    with pytest.raises(BadRequestError):
        client.embeddings.create(model=HELLO, input="a", dimensions=1_000_000)


def test_a_reranker_gives_no_vectors(client: OpenAI) -> None:
    with pytest.raises(BadRequestError) as caught:
        client.embeddings.create(model=RANKER, input="a")
    assert caught.value.code == "not_supported"
