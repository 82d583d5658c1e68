"""JSON Schemas of what the Messages API answers."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel


class _Answer(BaseModel):
    pass


class Usage(_Answer):
    input_tokens: int
    cache_creation_input_tokens: int
    cache_read_input_tokens: int
    output_tokens: int
    service_tier: Literal["standard"]


class Text(_Answer):
    type: Literal["text"]
    text: str
    citations: None


class Thinking(_Answer):
    type: Literal["thinking"]
    thinking: str
    signature: str


class ToolUse(_Answer):
    type: Literal["tool_use"]
    id: str
    name: str
    input: dict[str, Any]


class MessageAnswer(_Answer):
    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    content: list[Text | Thinking | ToolUse]
    stop_reason: Literal["end_turn", "max_tokens", "stop_sequence", "tool_use"]
    stop_sequence: str | None
    usage: Usage


class CountAnswer(_Answer):
    input_tokens: int


MESSAGE = MessageAnswer.model_json_schema()
COUNTED = CountAnswer.model_json_schema()
