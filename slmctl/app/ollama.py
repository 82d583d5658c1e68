"""Which Ollama slmctl follows."""

from __future__ import annotations

OLLAMA_VERSION = "0.33.0"
"""The version whose Modelfiles, API and behaviour are matched here."""


def asks_for_newer(requires: str) -> bool:
    """Whether REQUIRES names a later version than that; a version before a release counts as the release."""
    return _numbers(requires) > _numbers(OLLAMA_VERSION)


def _numbers(version: str) -> list[tuple[int, str]]:
    """What is compared: each number by its length, then its digits, since `int` reads none of thousands."""
    release = version.partition("+")[0].partition("-")[0]
    numbers = [*release.split("."), "0", "0"][:3]
    return [(len(number), number) for number in numbers]
