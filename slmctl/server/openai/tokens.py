"""POST /tokenize and /detokenize, as llama-server has them, with the model's name beside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field
from starlette.responses import Response

from runtimes.protocol import TokenPiece
from slmctl.server import answering
from slmctl.server.call import Call, Endpoint
from slmctl.server.openai.answers import using
from slmctl.server.openai.fields import MOST_TOKENS, ModelFields, Token, want_of
from slmctl.server.parsing import parse
from slmctl.server.streams import answer


class TokenizeRequest(ModelFields):
    """`add_special` adds the tokens that begin and end a text; `with_pieces` tells the text of each token."""

    content: str
    add_special: bool | None = None
    with_pieces: bool | None = None


class DetokenizeRequest(ModelFields):
    tokens: Annotated[list[Token], Field(fail_fast=True, max_length=MOST_TOKENS)]


async def tokenize(call: Call) -> Response:
    request = parse(TokenizeRequest, await call.json())
    special = request.add_special is True
    async with using(call, want_of(call, request), "content") as served:
        if request.with_pieces:
            pieces = await answering.tokenize_pieces(served, request.content, add_special=special)
            return answer(call, {"tokens": [_piece(each) for each in pieces]})
        tokens = await answering.tokenize(served, request.content, add_special=special)
    return answer(call, {"tokens": list(tokens)})


def _piece(each: TokenPiece) -> Mapping[str, object]:
    """A part of a character is told as the numbers of its bytes, as llama-server does."""
    return {"id": each.id, "piece": each.piece if isinstance(each.piece, str) else list(each.piece)}


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
