"""All of OpenAI's API, and what stands beside it in the same family."""

from __future__ import annotations

from slmctl.server.openai import chat, completions, embeddings, models, rerank, responses, tokens

ENDPOINTS = (
    *models.ENDPOINTS,
    *chat.ENDPOINTS,
    *completions.ENDPOINTS,
    *responses.ENDPOINTS,
    *embeddings.ENDPOINTS,
    *rerank.ENDPOINTS,
    *tokens.ENDPOINTS,
)
