"""POST /tokenize and /detokenize, as llama-server has them, with the model's name beside."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from starlette.responses import Response

from runtimes import protocol
from runtimes.errors import EngineSpokeNonsense
from slmctl.server import answering
from slmctl.server.call import Call, Endpoint
from slmctl.server.openai.answers import using
from slmctl.server.openai.fields import MOST_TOKENS, ModelFields, Token, want_of
from slmctl.server.parsing import parse
from slmctl.server.streams import answer

MOST_CHARACTERS = 1_000_000


class TokenizeRequest(ModelFields):
    """`add_special` adds the tokens that begin and end a text; `with_pieces` tells the text of each token."""

    content: Annotated[str, Field(max_length=MOST_CHARACTERS)]
    add_special: bool | None = None
    with_pieces: bool | None = None


class DetokenizeRequest(ModelFields):
    tokens: Annotated[list[Token], Field(fail_fast=True, max_length=MOST_TOKENS)]


async def tokenize(call: Call) -> Response:
    """The engine's own answer, as it is: a long text has so many tokens that reading and writing them again
    would hold everybody up."""
    request = parse(TokenizeRequest, await call.json())
    asked = protocol.tokenize_request(
        request.content, add_special=request.add_special is True, with_pieces=request.with_pieces is True
    )
    async with using(call, want_of(call, request), "content") as served:
        body = await served.engine.body(asked)
    if not body.startswith(b'{"tokens":'):
        raise EngineSpokeNonsense("The engine's answer to /tokenize has no list of tokens.")
    return Response(body, media_type="application/json", headers=call.headers)


async def detokenize(call: Call) -> Response:
    request = parse(DetokenizeRequest, await call.json())
    async with using(call, want_of(call, request), "tokens") as served:
        content = await answering.detokenize(served, request.tokens)
    return answer(call, {"content": content})


ENDPOINTS = (
    Endpoint(
        method="POST",
        path="/tokenize",
        handler=tokenize,
        scope="infer",
        family="openai",
        label="tokenize",
        about="The tokens of a text.",
        request_schema=TokenizeRequest.model_json_schema(),
        response_schema={
            "type": "object",
            "required": ["tokens"],
            "properties": {
                "tokens": {
                    "type": "array",
                    "items": {
                        "anyOf": [
                            {"type": "integer"},
                            {
                                "type": "object",
                                "required": ["id", "piece"],
                                "properties": {
                                    "id": {"type": "integer"},
                                    "piece": {"anyOf": [{"type": "string"}, {"type": "array"}]},
                                },
                            },
                        ]
                    },
                }
            },
        },
    ),
    Endpoint(
        method="POST",
        path="/detokenize",
        handler=detokenize,
        scope="infer",
        family="openai",
        label="detokenize",
        about="The text of tokens.",
        request_schema=DetokenizeRequest.model_json_schema(),
        response_schema={
            "type": "object",
            "required": ["content"],
            "properties": {"content": {"type": "string"}},
        },
    ),
)
