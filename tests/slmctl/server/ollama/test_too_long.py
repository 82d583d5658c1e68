"""What is too long for the context is cut, and told in a field, a header and the log."""

from __future__ import annotations

import json
from typing import Any

import httpx
import ollama

from tests.processes import until
from tests.servers import Server
from tests.slmctl.server.models import HELLO

HI = [{"role": "user", "content": "Hi!"}]


def logged(served: Server, answer: httpx.Response) -> dict[str, Any]:
    """The line of the server's log about a request that was answered."""
    ours = answer.headers["x-request-id"]
    return until(
        lambda: next(
            (line for line in served.events if (line["event"], line.get("request_id")) == ("request", ours)),
            None,
        )
    )


def test_a_text_that_is_too_long_is_cut_and_told_or_refused(client: ollama.Client, served: Server) -> None:
    fields = {"model": HELLO, "input": ["short", "word " * 20_000]}
    answer = client._client.post("/api/embed", json=fields)
    assert answer.status_code == 200
    assert answer.json()["truncated"] == {"inputs": [1]}
    assert answer.headers["x-slmctl-truncated"] == "inputs=1"
    assert 18_000 < logged(served, answer)["cut_tokens"] < 20_000
    old = client._client.post("/api/embeddings", json={"model": HELLO, "prompt": "word " * 20_000})
    assert old.json()["truncated"] == {"inputs": [0]}
    assert old.headers["x-slmctl-truncated"] == "inputs=0"
    assert logged(served, old)["cut_tokens"] == logged(served, answer)["cut_tokens"]
    whole = client._client.post("/api/embeddings", json={"model": HELLO, "prompt": "short"})
    assert whole.json().keys() == {"embedding"}
    refused = client._client.post("/api/embed", json={**fields, "truncate": False})
    assert refused.status_code == 400
    assert refused.json()["error"].startswith("the input length exceeds the context length")


def test_a_conversation_that_is_too_long_loses_its_beginning_and_that_is_told(
    client: ollama.Client, served: Server
) -> None:
    messages = [
        {"role": role, "content": f"{number} " + "word " * 300}
        for number in range(10)
        for role in ("user", "assistant")
    ]
    fields = {"model": HELLO, "messages": [*messages, *HI], "options": {"num_predict": 4}}
    with client._client.stream("POST", "/api/chat", json=fields) as answer:
        lines = [json.loads(line) for line in answer.iter_lines()]
    assert lines[-1]["truncated"]["messages"] > 0
    assert answer.headers["x-slmctl-truncated"] == str(lines[-1]["truncated"]["tokens"])
    assert logged(served, answer)["cut_tokens"] == lines[-1]["truncated"]["tokens"]
    refused = client._client.post("/api/chat", json={**fields, "truncate": False})
    assert refused.status_code == 400
    assert "error" in refused.json()


def test_a_text_that_is_raw_keeps_its_end(client: ollama.Client, served: Server) -> None:
    fields = {"model": HELLO, "prompt": "word " * 20_000, "raw": True, "stream": False}
    answer = client._client.post("/api/generate", json=fields | {"options": {"num_predict": 2}})
    told = answer.json()["truncated"]
    assert told["tokens"] > 18_000
    assert answer.headers["x-slmctl-truncated"] == str(told["tokens"])
    assert logged(served, answer)["cut_tokens"] == told["tokens"]
    assert answer.json()["prompt_eval_count"] < 1024
