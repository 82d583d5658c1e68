"""Lanes of each API that chats, and how each of them tells an error."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from tests.load.lanes import Address, Asked, Lane

TURN = ({"role": "user", "content": "Which runtimes can slmctl use?"},)


def openai_lane(name: str, address: Address, model: str, tokens: int, **more: Any) -> Lane:
    body = {
        "model": model,
        "messages": TURN,
        "max_tokens": tokens,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    return Lane(name=name, address=address, bodies=[json.dumps(body)], **more)


def ollama_lane(name: str, address: Address, model: str, tokens: int, **more: Any) -> Lane:
    body = {"model": model, "messages": TURN, "options": {"num_predict": tokens, "temperature": 0}}
    return Lane(
        name=name,
        address=address,
        path="/api/chat",
        bodies=[json.dumps(body)],
        form="ndjson",
        end='"done":true',
        **more,
    )


def anthropic_lane(name: str, address: Address, model: str, tokens: int, **more: Any) -> Lane:
    body = {"model": model, "messages": TURN, "max_tokens": tokens, "temperature": 0, "stream": True}
    return Lane(
        name=name,
        address=address,
        path="/v1/messages",
        bodies=[json.dumps(body)],
        mark='"text":"',
        end="message_stop",
        **more,
    )


def live_lane(name: str, address: Address, **more: Any) -> Lane:
    """Probes of /livez, each on a connection of its own."""
    return Lane(name=name, address=address, path="/livez", method="GET", form="text", **more)


LaneMaker = Callable[..., Lane]

CHATS: Mapping[str, LaneMaker] = {
    "openai": openai_lane,
    "ollama": ollama_lane,
    "anthropic": anthropic_lane,
}


def is_well_formed(family: str, asked: Asked) -> bool:
    """Whether an error is told as this API tells its errors."""
    if asked.outcome != "error" or not isinstance(asked.said, dict):
        return False
    error = asked.said.get("error")
    match family:
        case "openai":
            fields = {"message", "type", "param", "code"}
            return isinstance(error, dict) and error.keys() == fields and asked.said.keys() == {"error"}
        case "anthropic":
            fields = {"type", "message"}
            return isinstance(error, dict) and error.keys() == fields and asked.said.get("type") == "error"
        case _:
            return isinstance(error, str) and asked.said.keys() == {"error"}
