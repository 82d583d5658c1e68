"""The time of day, for what is written down: when a name was linked."""

from __future__ import annotations

from datetime import UTC, datetime


def now() -> str:
    """This moment as RFC 3339 text, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
