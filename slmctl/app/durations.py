"""Lengths of time as people write them for `--keep`: Go's durations, as Ollama takes them, or seconds."""

from __future__ import annotations

import math
import re

from registry.errors import UsageError

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_PART = r"(\d+(?:\.\d*)?|\.\d+)(h|ms|m|s|us|µs|ns)"
_DURATION = re.compile(rf"([-+]?)((?:{_PART})+)", re.ASCII)
_LONGEST_SECONDS = 366 * 86400.0


def parse_duration(text: str, *, what: str) -> float:
    """Seconds in `text`: `5m`, `1h30m`, `90` (seconds), `0`; a negative one is infinity, for ever.

    `what` names it in the UsageError for anything else, and for more than a year.
    """
    seconds = _seconds(text.strip())
    if seconds is None or seconds > _LONGEST_SECONDS:
        raise UsageError(
            f"{what} takes a length of time, not {text!r:.60}.",
            hint="For example 5m, 1h30m, 90 (seconds), 0 for not at all, -1 for ever.",
        )
    return math.inf if seconds < 0 else seconds


def _seconds(text: str) -> float | None:
    if re.fullmatch(r"[-+]?\d{1,12}", text, re.ASCII):
        return float(text)
    whole = _DURATION.fullmatch(text)
    if whole is None or len(text) > 60:
        return None
    sign = -1.0 if whole[1] == "-" else 1.0
    return sign * sum(float(number) * _UNITS[unit] for number, unit in re.findall(_PART, whole[2]))
