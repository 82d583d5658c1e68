"""The chat formats that RENDERER and PARSER can name.

A renderer is one of the formats in `modelfiles/template/formats`, by its own name; how each writes a prompt
is held against its maker's documentation (tests/golden/templates). Ollama has renderers and parsers of other
models too; a name that is not here is a warning, and what it would have replaced is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

RENDERERS = (
    "alpaca",
    "chatml",
    "command-r",
    "deepseek",
    "deepseek-r1",
    "gemma",
    "granite",
    "llama2",
    "llama3",
    "mistral",
    "phi3",
    "phi4",
    "phi4-mini",
    "qwen3",
    "vicuna",
    "zephyr",
)


def known_renderer(name: str | None) -> str | None:
    """`name` if it is a built-in format, which then writes the prompts, whatever TEMPLATE says."""
    return name if name in RENDERERS else None


@dataclass(frozen=True, slots=True)
class Thoughts:
    """The marks between which a model thinks before it answers. `begun`: the prompt ends in the first one."""

    opening: str
    closing: str
    begun: bool = False


PARSERS: Mapping[str, Thoughts | None] = MappingProxyType(
    {
        "deepseek-r1": Thoughts("<think>", "</think>", begun=True),
        "passthrough": None,  # the answer as the model wrote it
        "qwen3": Thoughts("<think>", "</think>"),
        "qwen3-thinking": Thoughts("<think>", "</think>", begun=True),
    }
)
