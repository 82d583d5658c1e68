from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.servers import Server
from tests.slmctl.server.models import HELLO, RANKER

DOCUMENTS = ["a dog", {"text": "the cat sat"}, "house, tree and garden"]


def ask(served: Server, **fields: object) -> httpx.Response:
    body = {"model": RANKER, "query": "the cat", "documents": DOCUMENTS, **fields}
    return httpx.post(f"{served.base_url}/v1/rerank", json=body, timeout=60)


def test_documents_come_best_first(served: Server) -> None:
    answer = ask(served)
    assert answer.status_code == 200, answer.text
    whole: dict[str, Any] = answer.json()
    assert whole["model"] == RANKER
    scores = [result["relevance_score"] for result in whole["results"]]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == 3
    assert sorted(result["index"] for result in whole["results"]) == [0, 1, 2]
    assert whole["usage"]["prompt_tokens"] > 6
    assert answer.headers["x-slmctl-digest"].startswith("sha256:")


def test_the_best_with_their_texts(served: Server) -> None:
    all_of_them = ask(served).json()["results"]
    (best,) = ask(served, top_n=1, return_documents=True).json()["results"]
    text = ["a dog", "the cat sat", "house, tree and garden"][all_of_them[0]["index"]]
    assert best == {**all_of_them[0], "document": {"text": text}}


def test_scores_do_not_depend_on_the_order(served: Server) -> None:
    scores = {each["index"]: each["relevance_score"] for each in ask(served).json()["results"]}
    turned = ask(served, documents=DOCUMENTS[::-1]).json()["results"]
    for each in turned:
        assert each["relevance_score"] == pytest.approx(scores[2 - each["index"]], abs=1e-4)


def test_a_model_that_does_not_rank(served: Server) -> None:
    answer = ask(served, model=HELLO)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "not_supported"


def test_a_document_that_is_too_long(served: Server) -> None:
    answer = ask(served, documents=["a dog", "the cat " * 1000])
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "context_length_exceeded"
    assert answer.json()["error"]["param"] == "documents"


@pytest.mark.parametrize(
    ("fields", "parameter"),
    [
        ({"documents": []}, "documents"),
        ({"documents": [5]}, "documents[0]"),
        ({"documents": ["a"] * 1025}, "documents"),
        ({"query": ""}, "query"),
        ({"top_n": 0}, "top_n"),
        ({"max_chunks_per_doc": 1}, "max_chunks_per_doc"),
    ],
)
def test_what_cannot_be_is_refused(served: Server, fields: dict[str, Any], parameter: str) -> None:
    answer = ask(served, **fields)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == parameter
