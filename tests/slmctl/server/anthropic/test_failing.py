"""What goes wrong, as Anthropic's own client sees it."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

import anthropic
import httpx
import pytest
from anthropic.types import MessageParam

from tests.servers import Server, serving, until_workers
from tests.slmctl.cli.program import Program
from tests.slmctl.server.models import HELLO, TINY

HI: list[MessageParam] = [{"role": "user", "content": "Hello!"}]
IMAGE: Any = {
    "type": "image",
    "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="},
}


def refused(
    client: anthropic.Anthropic, kind: type[anthropic.APIStatusError], **fields: Any
) -> dict[str, Any]:
    """The error that is told of a request."""
    with pytest.raises(kind) as caught:
        client.messages.create(**{"model": HELLO, "max_tokens": 5, "messages": HI, **fields})
    body = caught.value.body
    assert isinstance(body, dict)
    assert body["type"] == "error"
    assert body["request_id"] == caught.value.request_id == caught.value.response.headers["request-id"]
    error = body["error"]
    assert isinstance(error, dict)
    return error


def test_a_model_that_there_is_not(client: anthropic.Anthropic) -> None:
    error = refused(client, anthropic.NotFoundError, model="nobody")
    assert error["type"] == "not_found_error"
    assert "nobody" in error["message"]


@pytest.mark.parametrize("stream", [False, True])
def test_what_cannot_be_done_is_said_before_a_stream_begins(
    client: anthropic.Anthropic, stream: bool
) -> None:
    asked: list[dict[str, Any]] = [
        {"max_tokens": 0},
        {"extra_body": {"unknown": 1}},
        {"messages": [{"role": "user", "content": [IMAGE]}]},
        {"thinking": {"type": "enabled", "budget_tokens": 2}},
        {"tools": [{"type": "bash_20250124", "name": "bash"}]},
        {"messages": [{"role": "user", "content": "a " * 3000}]},
        {"output_config": {"format": {"type": "json_schema", "schema": {"type": "stsring"}}}},
    ]
    for fields in asked:
        error = refused(client, anthropic.BadRequestError, stream=stream, **fields)
        assert error["type"] == "invalid_request_error", fields


def test_a_prompt_that_is_too_long_is_told_in_anthropics_words(client: anthropic.Anthropic) -> None:
    error = refused(client, anthropic.BadRequestError, messages=[{"role": "user", "content": "a " * 3000}])
    assert error["message"].startswith("prompt is too long: ")
    assert " tokens > " in error["message"]


def test_no_address_is_asked_for_an_image(client: anthropic.Anthropic) -> None:
    image = {"type": "image", "source": {"type": "url", "url": "http://127.0.0.1:9/cat.png"}}
    error = refused(client, anthropic.BadRequestError, messages=[{"role": "user", "content": [image]}])
    assert "no address is ever fetched" in error["message"]


def test_what_is_no_request(served: Server) -> None:
    for body in (b"", b"{", b"[]", b"\xff", b'{"model": NaN}'):
        answer = httpx.post(f"{served.base_url}/v1/messages", content=body)
        assert answer.status_code == 400
        assert answer.json()["error"]["type"] == "invalid_request_error"
    answer = httpx.get(f"{served.base_url}/v1/messages")
    assert (answer.status_code, answer.json()["type"]) == (405, "error")


def test_an_engine_that_dies_ends_the_stream_with_one_error(stocked: Program) -> None:
    with serving(stocked) as server, anthropic.Anthropic(
        base_url=server.base_url, api_key="none", max_retries=0
    ) as client:  # fmt: skip
        with client.messages.create(model=TINY, max_tokens=100_000, messages=HI, stream=True) as stream:
            for number, event in enumerate(stream):
                if number == 3:
                    assert event.type == "content_block_delta"
                    break
            (worker,) = until_workers(server, 1)
            os.kill(worker, signal.SIGKILL)
            with pytest.raises(anthropic.APIStatusError) as caught:
                for _ in stream:
                    pass
        body = caught.value.body
        assert isinstance(body, dict)
        assert body["error"]["type"] == "api_error"
        assert body["request_id"]
        again = client.messages.create(model=HELLO, max_tokens=2, messages=HI)
        assert again.usage.output_tokens == 2


def test_without_a_key_nothing_is_answered(slmctl: Program) -> None:
    made = slmctl("key", "add", "--scope", "read", "--json")
    assert made.code == 0, made.err
    with serving(slmctl) as server:
        none = anthropic.Anthropic(base_url=server.base_url, api_key="wrong", max_retries=0)
        assert refused(none, anthropic.AuthenticationError)["type"] == "authentication_error"
        secret = json.loads(made.out)["secret"]
        reader = anthropic.Anthropic(base_url=server.base_url, api_key=secret, max_retries=0)
        assert refused(reader, anthropic.PermissionDeniedError)["type"] == "permission_error"
