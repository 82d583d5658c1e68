"""The worker contract: llama-server's HTTP, written once and without I/O.

A transport sends an `HttpRequest` with the worker's key and hands the answer's bytes to what reads them here:
`reader_for(request)` for a stream, the `parse_...` functions for a whole body. /health alone needs no key.

The values are in `runtimes.events`, the requests in `runtimes.protocol_requests`, and what reads the answers
in `runtimes.protocol_answers`; this module names them all.
"""

from __future__ import annotations

from runtimes.events import (
    Event,
    Finished,
    HttpRequest,
    Progress,
    StopReason,
    TextDelta,
    ThinkingDelta,
    TokenLogprob,
    ToolCallDelta,
)
from runtimes.protocol_answers import (
    ChatReader,
    CompletionReader,
    StreamReader,
    parse_count,
    parse_embeddings,
    parse_health,
    parse_prompt,
    parse_scores,
    parse_text,
    parse_tokens,
    raise_for_status,
    reader_for,
)
from runtimes.protocol_requests import (
    ANY_OBJECT,
    APPLY_TEMPLATE,
    CHAT,
    COMPLETION,
    JSON_GRAMMAR,
    Effort,
    Telling,
    Think,
    ToolUse,
    apply_template_request,
    chat_request,
    completion_request,
    count_request,
    detokenize_request,
    embeddings_request,
    health_request,
    infill_request,
    preview_request,
    rerank_request,
    template_variables,
    tokenize_request,
)

__all__ = [
    "ANY_OBJECT",
    "APPLY_TEMPLATE",
    "CHAT",
    "COMPLETION",
    "JSON_GRAMMAR",
    "ChatReader",
    "CompletionReader",
    "Effort",
    "Event",
    "Finished",
    "HttpRequest",
    "Progress",
    "StopReason",
    "StreamReader",
    "Telling",
    "TextDelta",
    "Think",
    "ThinkingDelta",
    "TokenLogprob",
    "ToolCallDelta",
    "ToolUse",
    "apply_template_request",
    "chat_request",
    "completion_request",
    "count_request",
    "detokenize_request",
    "embeddings_request",
    "health_request",
    "infill_request",
    "parse_count",
    "parse_embeddings",
    "parse_health",
    "parse_prompt",
    "parse_scores",
    "parse_text",
    "parse_tokens",
    "preview_request",
    "raise_for_status",
    "reader_for",
    "rerank_request",
    "template_variables",
    "tokenize_request",
]
