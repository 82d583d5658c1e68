"""Which Ollama slmctl follows."""

from __future__ import annotations

OLLAMA_VERSION = "0.33.0"
"""The version whose Modelfiles, API and behaviour are matched here."""


def asks_for_newer(requires: str) -> bool:
    """Whether REQUIRES names a later version than that; a version before a release counts as the release."""
    return _numbers(requires) > _numbers(OLLAMA_VERSION)


def _numbers(version: str) -> tuple[int, ...]:
    release = version.partition("+")[0].partition("-")[0]
    numbers = [int(part) for part in release.split(".")]
    return (*numbers, *(0,) * (3 - len(numbers)))
