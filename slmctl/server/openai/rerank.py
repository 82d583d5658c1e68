"""POST /v1/rerank, as Jina and Cohere have it: which documents answer a query best."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field
from starlette.responses import Response

from slmctl.app.asks import RankAsk
from slmctl.server import answering
from slmctl.server.call import Call, Endpoint
from slmctl.server.openai.answers import new_id, using
from slmctl.server.openai.fields import HARMLESS, ModelFields, want_of
from slmctl.server.parsing import Fields, parse
from slmctl.server.streams import answer

MOST_DOCUMENTS = 1024


class Document(Fields):
    text: str


class RerankRequest(ModelFields):
    query: Annotated[str, Field(min_length=1)]
    documents: Annotated[list[str | Document], Field(min_length=1, max_length=MOST_DOCUMENTS)]
    top_n: Annotated[int, Field(ge=1)] | None = None
    return_documents: bool | None = None

    @property
    def texts(self) -> list[str]:
        return [each if isinstance(each, str) else each.text for each in self.documents]


async def rerank(call: Call) -> Response:
    """Score the documents and give the best, the best first."""
    request = parse(RerankRequest, await call.json(), harmless=HARMLESS)
    texts = request.texts
    async with using(call, want_of(call, request, "rank"), "documents") as served:
        found = await answering.rank(served, RankAsk(query=request.query, documents=texts))
    call.told.prompt_tokens = found.prompt_tokens
    best = sorted(range(len(texts)), key=lambda index: -found.scores[index])[: request.top_n]
    whole = {
        "id": new_id("rerank"),
        "object": "list",
        "model": request.model,
        "results": [_result(index, found.scores[index], texts, request) for index in best],
        "usage": {"prompt_tokens": found.prompt_tokens, "total_tokens": found.prompt_tokens},
    }
    return answer(call, whole)


def _result(index: int, score: float, texts: list[str], request: RerankRequest) -> Mapping[str, object]:
    result: dict[str, object] = {"index": index, "relevance_score": score}
    if request.return_documents:
        result["document"] = {"text": texts[index]}
    return result


_RESPONSE_SCHEMA: Mapping[str, object] = {
    "type": "object",
    "required": ["object", "model", "results", "usage"],
    "properties": {
        "id": {"type": "string"},
        "object": {"const": "list"},
        "model": {"type": "string"},
        "results": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["index", "relevance_score"],
                "properties": {
                    "index": {"type": "integer"},
                    "relevance_score": {"type": "number"},
                    "document": {"type": "object", "properties": {"text": {"type": "string"}}},
                },
            },
        },
        "usage": {
            "type": "object",
            "properties": {"prompt_tokens": {"type": "integer"}, "total_tokens": {"type": "integer"}},
        },
    },
}

ENDPOINTS = (
    Endpoint(
        method="POST",
        path="/v1/rerank",
        handler=rerank,
        scope="infer",
        family="openai",
        label="rerank",
        about="Order documents by how well they answer a query.",
        request_schema=RerankRequest.model_json_schema(),
        response_schema=_RESPONSE_SCHEMA,
    ),
)
