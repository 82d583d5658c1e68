"""What attackers send to OpenAI's endpoints: each is answered in order, and the model goes on answering."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.servers import Server
from tests.slmctl.server.models import HELLO, RANKER, TOOLS

CHAT, COMPLETIONS, EMBEDDINGS = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
BIG = 10**300
DEEP: Any = {"type": "string"}
for _ in range(60):
    DEEP = {"type": "array", "items": DEEP}


def schema(inner: Any) -> dict[str, object]:
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": inner}}}


def tool(parameters: Any) -> dict[str, object]:
    return {
        "model": TOOLS,
        "tools": [{"type": "function", "function": {"name": "f", "parameters": parameters}}],
    }


@pytest.mark.parametrize(
    ("path", "fields", "status"),
    [
        (CHAT, {"grammar": "root ::= " + "(" * 50_000 + '"a"' + ")" * 50_000}, 400),
        (CHAT, {"grammar": "root ::= root"}, 400),
        (CHAT, schema({"type": "array", "items": {"type": "string"}, "minItems": 2_000_000_000}), 400),
        (CHAT, schema(DEEP), 400),
        (CHAT, schema({"$ref": "#"}), 400),
        (CHAT, schema({"type": "stsring"}), 400),
        (CHAT, schema({"type": "string", "pattern": "^(a{1,1000}){1,1000}$"}), 400),
        (CHAT, schema({"$ref": "http://127.0.0.1:9/schema.json"}), 400),
        (CHAT, tool({"type": "object", "properties": {"a": {"type": "string", "pattern": "(((("}}}), 400),
        (CHAT, tool({"type": 5}), 400),
        (CHAT, {"messages": [{"role": "assistant", "content": "a"}] * 2}, 400),
        (CHAT, {"messages": [{"role": "user", "content": "<|im_end|>" * 200}]}, 200),
        (CHAT, {"messages": [{"role": "system", "content": ""}]}, 200),
        (CHAT, {"model": "hello\x00"}, 400),
        (CHAT, {"model": "../../etc/passwd"}, 400),
        (CHAT, {"model": "x" * 2000}, 400),
        (CHAT, {"temperature": BIG}, 400),
        (CHAT, {"seed": BIG}, 400),
        (CHAT, {"keep_alive": BIG}, 400),
        (CHAT, {"logit_bias": {"-1": 5}}, 400),
        (CHAT, {"logit_bias": {"999999999": 5}}, 400),
        (CHAT, {"n_discard": -100}, 400),
        (CHAT, {"id_slot": 999}, 400),
        (COMPLETIONS, {"prompt": ""}, 200),
        (COMPLETIONS, {"prompt": []}, 400),
        (COMPLETIONS, {"prompt": "a\x00b"}, 200),
        (COMPLETIONS, {"prompt": [2_000_000_000]}, 400),
        (COMPLETIONS, {"best_of": 10**9}, 400),
        (COMPLETIONS, {"options": {"num_keep": -5}}, 400),
        (COMPLETIONS, {"options": {"num_thread": 100_000}}, 400),
        (COMPLETIONS, {"repeat_last_n": 2**20}, 400),
        (COMPLETIONS, {"logprobs": 2_000_000_000}, 400),
        (EMBEDDINGS, {"input": " "}, 200),
        (EMBEDDINGS, {"input": [[0]] * 16}, 200),
        (EMBEDDINGS, {"input": [2_000_000_000]}, 400),
        (EMBEDDINGS, {"input": "a", "dimensions": 1_000_000}, 400),
        ("/v1/rerank", {"model": RANKER, "query": "a", "documents": ["", "b"]}, 200),
        ("/v1/rerank", {"model": RANKER, "query": "a " * 3000, "documents": ["b"]}, 400),
        ("/tokenize", {"content": "a" * 1_000_001}, 400),
        ("/tokenize", {"content": "\x00<|im_end|>\u202e"}, 200),
        ("/detokenize", {"tokens": [2_000_000_000]}, 400),
        ("/detokenize", {"tokens": [0] * 300_000}, 400),
    ],
)
def test_hostile_requests(served: Server, path: str, fields: dict[str, Any], status: int) -> None:
    body: dict[str, Any] = {"model": HELLO}
    if path == CHAT:
        body |= {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 3}
    if path == COMPLETIONS:
        body |= {"prompt": "hi", "max_tokens": 3}
    with httpx.Client(base_url=served.base_url, timeout=60) as client:
        answer = client.post(path, content=json.dumps({**body, **fields}))
        assert answer.status_code == status, answer.text[:500]
        if status != 200:
            assert answer.json()["error"]["type"] == "invalid_request_error"
        after = client.post(COMPLETIONS, json={"model": HELLO, "prompt": "hi", "max_tokens": 1})
        assert after.status_code == 200
