from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.servers import Server
from tests.slmctl.server.models import HELLO, TINY


def ask(served: Server, path: str, **fields: object) -> Any:
    answer = httpx.post(f"{served.base_url}{path}", json={"model": HELLO, **fields}, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("text", ["Hello, who are you?", "", "a\n\tb", "größer 猫"])
def test_there_and_back(served: Server, text: str) -> None:
    tokens = ask(served, "/tokenize", content=text)["tokens"]
    assert all(type(token) is int for token in tokens)
    assert ask(served, "/detokenize", tokens=tokens) == {"content": text}


def test_the_tokens_around_a_text(served: Server) -> None:
    plain = ask(served, "/tokenize", model=TINY, content="Hello")["tokens"]
    special = ask(served, "/tokenize", model=TINY, content="Hello", add_special=True)["tokens"]
    assert special == [special[0], *plain]


def test_the_pieces(served: Server) -> None:
    pieces = ask(served, "/tokenize", content="Hello you", with_pieces=True)["tokens"]
    assert [piece["id"] for piece in pieces] == ask(served, "/tokenize", content="Hello you")["tokens"]
    assert "".join(piece["piece"] for piece in pieces).strip() == "Hello you"


@pytest.mark.parametrize(
    ("path", "fields", "parameter"),
    [
        ("/tokenize", {}, "content"),
        ("/tokenize", {"content": 5}, "content"),
        ("/tokenize", {"content": "a", "parse_special": True}, "parse_special"),
        ("/detokenize", {"tokens": "a"}, "tokens"),
        ("/detokenize", {"tokens": [-1]}, "tokens[0]"),
        ("/detokenize", {"tokens": [2_000_000_000]}, None),
    ],
)
def test_what_cannot_be_is_refused(
    served: Server, path: str, fields: dict[str, object], parameter: str | None
) -> None:
    answer = httpx.post(f"{served.base_url}{path}", json={"model": HELLO, **fields}, timeout=60)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == parameter
