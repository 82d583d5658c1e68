"""What Ollama's answers are made of: times, durations, and objects without what is empty."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

FOREVER = timedelta(days=292 * 365)
"""How far off "never" lies: what Go's durations can hold."""


def now() -> str:
    """This moment in RFC 3339 to the nanosecond, as Go writes it: without zeros at the end."""
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    return rfc3339(seconds, nanoseconds)


def rfc3339(seconds: int, nanoseconds: int = 0) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    fraction = f".{nanoseconds:09d}".rstrip("0") if nanoseconds else ""
    return f"{whole}{fraction}Z"


def moment(at: datetime) -> str:
    """A time in RFC 3339, in UTC."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def nanoseconds(seconds: float | None) -> int:
    """A duration as Ollama gives it."""
    return 0 if seconds is None else max(0, round(seconds * 1e9))


def without_empty(fields: Mapping[str, object]) -> dict[str, object]:
    """The fields without those that Go's `omitempty` leaves out: nothing, zero, false, and what is empty."""
    return {name: value for name, value in fields.items() if value}
