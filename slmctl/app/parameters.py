"""Ollama's parameters as they reach an engine: some when a model is loaded, the others with a question."""

from __future__ import annotations

from collections.abc import Mapping

from modelfiles.spec import ParameterValue
from runtimes.sampling import Sampling

LOAD_PARAMETERS = frozenset(
    {"draft_num_predict", "main_gpu", "num_batch", "num_ctx", "num_gpu", "num_thread", "use_mmap"}
)
"""The parameters that say how a model is loaded; the others are said with each question."""


def sampling_of(parameters: Mapping[str, ParameterValue], context: int) -> Sampling:
    """The parameters that say how to sample, for a context of so many tokens; the others say how to load."""
    stop = parameters.get("stop")
    last = whole(parameters, "repeat_last_n")
    return Sampling(
        temperature=number(parameters, "temperature"),
        top_k=whole(parameters, "top_k"),
        top_p=number(parameters, "top_p"),
        min_p=number(parameters, "min_p"),
        typical_p=number(parameters, "typical_p"),
        repeat_penalty=number(parameters, "repeat_penalty"),
        repeat_last_n=context if last == -1 else last,  # Ollama: -1 is the whole context
        presence_penalty=number(parameters, "presence_penalty"),
        frequency_penalty=number(parameters, "frequency_penalty"),
        seed=whole(parameters, "seed"),
        num_predict=whole(parameters, "num_predict"),
        num_keep=whole(parameters, "num_keep"),
        stop=stop if isinstance(stop, tuple) else None,
    )


def whole(parameters: Mapping[str, ParameterValue], name: str) -> int | None:
    value = parameters.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def number(parameters: Mapping[str, ParameterValue], name: str) -> float | None:
    value = parameters.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def flag(parameters: Mapping[str, ParameterValue], name: str) -> bool | None:
    value = parameters.get(name)
    return value if isinstance(value, bool) else None
