"""Pictures, through every API that takes them, to a model with a projector; and to one without."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Callable

import httpx
import pytest

from tests.servers import Server
from tests.slmctl.server.models import HELLO, SEER

TIMEOUT_SECONDS = 60.0


def png(red: int, green: int, blue: int, *, side: int = 28) -> str:
    """A picture of one colour, in base64."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    rows = (b"\0" + bytes((red, green, blue)) * side) * side
    parts = (chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"".join(parts)).decode()


RED, BLUE = png(255, 0, 0), png(0, 0, 255)


def ollama_chat(server: Server, model: str, picture: str) -> httpx.Response:
    message = {"role": "user", "content": "look", "images": [picture]}
    options = {"temperature": 0, "num_predict": 8}
    body = {"model": model, "messages": [message], "stream": False, "options": options}
    return httpx.post(f"{server.base_url}/api/chat", json=body, timeout=TIMEOUT_SECONDS)


def ollama_generate(server: Server, model: str, picture: str) -> httpx.Response:
    options = {"temperature": 0, "num_predict": 8}
    body = {"model": model, "prompt": "look", "images": [picture], "stream": False, "options": options}
    return httpx.post(f"{server.base_url}/api/generate", json=body, timeout=TIMEOUT_SECONDS)


def openai(server: Server, model: str, picture: str) -> httpx.Response:
    url = {"url": f"data:image/png;base64,{picture}"}
    parts = [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": url}]
    message = {"role": "user", "content": parts}
    body = {"model": model, "messages": [message], "max_tokens": 8, "temperature": 0}
    return httpx.post(f"{server.base_url}/v1/chat/completions", json=body, timeout=TIMEOUT_SECONDS)


def anthropic(server: Server, model: str, picture: str) -> httpx.Response:
    source = {"type": "base64", "media_type": "image/png", "data": picture}
    parts = [{"type": "text", "text": "look"}, {"type": "image", "source": source}]
    message = {"role": "user", "content": parts}
    body = {"model": model, "messages": [message], "max_tokens": 8, "temperature": 0}
    return httpx.post(f"{server.base_url}/v1/messages", json=body, timeout=TIMEOUT_SECONDS)


def said(answer: httpx.Response) -> str:
    """The text of an answer, of whichever API."""
    assert answer.status_code == 200, answer.text
    body = answer.json()
    text: str
    if "choices" in body:
        text = body["choices"][0]["message"]["content"]
    elif "response" in body:
        text = body["response"]
    elif "message" in body:
        text = body["message"]["content"]
    else:
        text = body["content"][0]["text"]
    return text


Ask = Callable[[Server, str, str], httpx.Response]

APIS: list[Ask] = [ollama_chat, ollama_generate, openai, anthropic]


@pytest.mark.parametrize("ask", APIS)
def test_what_is_in_the_picture_counts(served: Server, ask: Ask) -> None:
    red, blue, again = (said(ask(served, SEER, each)) for each in (RED, BLUE, RED))
    assert red == again
    assert red != blue


@pytest.mark.parametrize("ask", APIS)
def test_a_model_without_a_projector_says_so(served: Server, ask: Ask) -> None:
    answer = ask(served, HELLO, RED)
    assert answer.status_code == 400, answer.text


@pytest.mark.parametrize("ask", APIS)
def test_what_is_no_picture_is_refused_and_nobody_dies_of_it(served: Server, ask: Ask) -> None:
    before = said(ask(served, SEER, RED))
    cut = base64.b64encode(base64.b64decode(RED)[:40]).decode()
    for broken in (base64.b64encode(b"no picture at all").decode(), cut, png(1, 2, 3, side=1)[:-8]):
        answer = ask(served, SEER, broken)
        assert answer.status_code == 400, answer.text
    assert said(ask(served, SEER, RED)) == before
