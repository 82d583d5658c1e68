"""Ollama's client asks for vectors."""

from __future__ import annotations

import math

import ollama
import pytest

from tests.slmctl.server.models import HELLO


def test_embeddings_have_length_one_and_one_for_each_text(client: ollama.Client) -> None:
    answer = client.embed(HELLO, ["one", "two", "one"])
    assert len(answer.embeddings) == 3
    for vector in answer.embeddings:
        assert math.isclose(math.hypot(*vector), 1.0, abs_tol=1e-3)
    assert list(answer.embeddings[0]) == pytest.approx(list(answer.embeddings[2]), abs=1e-3)
    assert (answer.prompt_eval_count or 0) > 0
    assert (answer.total_duration or 0) > 0
    shorter = client.embed(HELLO, "one", dimensions=8)
    assert len(shorter.embeddings[0]) == 8
    assert math.isclose(math.hypot(*shorter.embeddings[0]), 1.0, abs_tol=1e-3)
    old = client.embeddings(HELLO, "one")
    assert list(old.embedding) == pytest.approx(list(answer.embeddings[0]), abs=1e-3)


@pytest.mark.parametrize(
    ("given", "status", "said"),
    [
        (None, 200, []),
        ("", 200, []),
        ([], 200, []),
        (5, 400, "invalid input type"),
        ([1, 2], 400, "invalid input type"),
        ({"a": 1}, 400, "invalid input type"),
    ],
)
def test_what_is_no_text_has_no_vector(
    client: ollama.Client, given: object, status: int, said: object
) -> None:
    answer = client._client.post("/api/embed", json={"model": HELLO, "input": given})
    assert answer.status_code == status
    assert answer.json()["embeddings" if status == 200 else "error"] == said
