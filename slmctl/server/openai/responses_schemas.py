"""JSON Schemas of what /v1/responses answers."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel

Ended = Literal["completed", "incomplete"]


class Logprob(BaseModel):
    token: str
    logprob: float
    bytes: list[int] | None


class TokenLogprobs(Logprob):
    top_logprobs: list[Logprob]


class OutputText(BaseModel):
    type: Literal["output_text"]
    text: str
    annotations: list[Any]
    logprobs: list[TokenLogprobs]


class MessageItem(BaseModel):
    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    status: Ended
    content: list[OutputText]


class CallItem(BaseModel):
    id: str
    type: Literal["function_call"]
    status: Ended
    call_id: str
    name: str
    arguments: str


class ReasoningText(BaseModel):
    type: Literal["reasoning_text"]
    text: str


class SummaryText(BaseModel):
    type: Literal["summary_text"]
    text: str


class ReasoningItem(BaseModel):
    id: str
    type: Literal["reasoning"]
    status: Ended
    summary: list[SummaryText]
    content: list[ReasoningText]
    encrypted_content: None


class Incomplete(BaseModel):
    reason: Literal["max_output_tokens"]


class InputDetails(BaseModel):
    cached_tokens: int
    cache_write_tokens: int


class OutputDetails(BaseModel):
    reasoning_tokens: int


class Usage(BaseModel):
    input_tokens: int
    input_tokens_details: InputDetails
    output_tokens: int
    output_tokens_details: OutputDetails
    total_tokens: int


class ResponseAnswer(BaseModel):
    id: str
    object: Literal["response"]
    created_at: int
    completed_at: int | None
    status: Ended
    background: Literal[False]
    error: None
    incomplete_details: Incomplete | None
    instructions: str | None
    max_output_tokens: int | None
    metadata: dict[str, str]
    model: str
    output: list[MessageItem | CallItem | ReasoningItem]
    parallel_tool_calls: bool
    previous_response_id: None
    reasoning: dict[str, Any]
    service_tier: Literal["default"]
    store: Literal[False]
    temperature: float | None
    text: dict[str, Any]
    tool_choice: str | dict[str, Any]
    tools: list[dict[str, Any]]
    top_logprobs: int
    top_p: float | None
    truncation: Literal["auto", "disabled"]
    usage: Usage


class CountAnswer(BaseModel):
    object: Literal["response.input_tokens"]
    input_tokens: int


RESPONSE = ResponseAnswer.model_json_schema()
COUNTED = CountAnswer.model_json_schema()
