"""Sampling parameters under Ollama's names, and what llama-server calls them."""

from __future__ import annotations

import dataclasses

# llama.cpp reads the seed as uint32; this value means a random one
_RANDOM_SEED = 0xFFFFFFFF


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """What a request may say about sampling; None leaves it to the engine.

    The names and meanings are those of Ollama's `PARAMETER` and `options`.
    """

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    typical_p: float | None = None
    repeat_penalty: float | None = None
    repeat_last_n: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = None
    num_predict: int | None = None
    num_keep: int | None = None
    stop: tuple[str, ...] | None = None


_SAME_NAME = (
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "typical_p",
    "repeat_penalty",
    "repeat_last_n",
    "presence_penalty",
    "frequency_penalty",
)


def completion_fields(sampling: Sampling) -> dict[str, object]:
    """The fields of llama-server's /completion."""
    return _fields(sampling, limit_field="n_predict")


def chat_fields(sampling: Sampling) -> dict[str, object]:
    """The fields of llama-server's /v1/chat/completions, which takes its own beside OpenAI's."""
    return _fields(sampling, limit_field="max_tokens")


def _fields(sampling: Sampling, *, limit_field: str) -> dict[str, object]:
    fields: dict[str, object] = {name: getattr(sampling, name) for name in _SAME_NAME}
    fields["n_keep"] = sampling.num_keep
    if sampling.seed is not None:
        seed = sampling.seed & 0xFFFFFFFF
        fields["seed"] = _RANDOM_SEED if sampling.seed < 0 else min(seed, _RANDOM_SEED - 1)
    if sampling.num_predict is not None:
        # Ollama: -1 without end, -2 until the context is full; llama-server stops there for both
        fields[limit_field] = sampling.num_predict if sampling.num_predict > 0 else -1
    if sampling.stop:
        fields["stop"] = list(sampling.stop)
    return {name: value for name, value in fields.items() if value is not None}
