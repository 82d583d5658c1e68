"""POST /v1/embeddings."""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import Field
from starlette.responses import Response

from slmctl.app.asks import EmbedAsk
from slmctl.server import answering
from slmctl.server.call import Call, Endpoint
from slmctl.server.openai.answers import using
from slmctl.server.openai.fields import HARMLESS, ModelFields, Tokens, inputs_of, want_of
from slmctl.server.parsing import parse
from slmctl.server.streams import json_bytes, list_bytes

MOST_INPUTS = 2048
Text = Annotated[str, Field(min_length=1)]


class EmbeddingRequest(ModelFields):
    """`input` is a text or its tokens, or a list of either."""

    input: (
        Text
        | Tokens
        | Annotated[list[Text], Field(min_length=1, max_length=MOST_INPUTS)]
        | Annotated[list[Tokens], Field(min_length=1, max_length=MOST_INPUTS)]
    )
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Field(ge=1, le=1_000_000)] | None = None


async def embed(call: Call) -> Response:
    """A vector for each input. What is longer than the context is refused, never cut."""
    request = parse(EmbeddingRequest, await call.json(), harmless=HARMLESS)
    ask = EmbedAsk(inputs=inputs_of(request.input), truncate=False, dimensions=request.dimensions)
    async with using(call, want_of(call, request, "embedding"), "input") as served:
        found = await answering.embed(served, ask)
    call.told.prompt_tokens = found.prompt_tokens
    data = await list_bytes(
        {"object": "embedding", "index": index, "embedding": _written(vector, request.encoding_format)}
        for index, vector in enumerate(found.vectors)
    )
    usage = {"prompt_tokens": found.prompt_tokens, "total_tokens": found.prompt_tokens}
    head = json_bytes({"object": "list", "model": request.model, "usage": usage})
    whole = head[:-1] + b',"data":' + data + b"}"
    return Response(whole, media_type="application/json", headers=call.headers)


def _written(vector: Sequence[float], encoding: str | None) -> Sequence[float] | str:
    """Numbers, or their float32s, little end first, in base64."""
    if encoding != "base64":
        return vector
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


_RESPONSE_SCHEMA: Mapping[str, object] = {
    "type": "object",
    "required": ["object", "data", "model", "usage"],
    "properties": {
        "object": {"const": "list"},
        "data": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["object", "index", "embedding"],
                "properties": {
                    "object": {"const": "embedding"},
                    "index": {"type": "integer"},
                    "embedding": {
                        "anyOf": [{"type": "array", "items": {"type": "number"}}, {"type": "string"}]
                    },
                },
            },
        },
        "model": {"type": "string"},
        "usage": {
            "type": "object",
            "properties": {"prompt_tokens": {"type": "integer"}, "total_tokens": {"type": "integer"}},
        },
    },
}

ENDPOINTS = (
    Endpoint(
        method="POST",
        path="/v1/embeddings",
        handler=embed,
        scope="infer",
        family="openai",
        label="embeddings",
        about="Turn texts into vectors.",
        request_schema=EmbeddingRequest.model_json_schema(),
        response_schema=_RESPONSE_SCHEMA,
    ),
)
