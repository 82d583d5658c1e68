"""How long an answer took, as Ollama prints it."""

from __future__ import annotations

from runtimes.protocol import Finished
from slmctl.app.load import Loaded


def timings(finished: Finished, *, total_seconds: float, loaded: Loaded | None = None) -> list[str]:
    """A line per duration, count and rate that is known; `loaded` when this answer waited for it."""
    rows = [("total duration", duration(total_seconds))]
    if loaded is not None:
        rows.append(("load duration", duration(loaded.load_seconds)))
    cached = finished.cached_tokens or 0  # of a prompt that begins as the one before it did
    for label, count, new, seconds in (
        (
            "prompt eval",
            finished.prompt_tokens,
            (finished.prompt_tokens or 0) - cached,
            finished.prompt_seconds,
        ),
        ("eval", finished.generated_tokens, finished.generated_tokens or 0, finished.generation_seconds),
    ):
        if count is not None and seconds is not None:
            rows.append((f"{label} count", f"{count} token(s)"))
            rows.append((f"{label} duration", duration(seconds)))
            if seconds > 0:
                rows.append((f"{label} rate", f"{new / seconds:.2f} tokens/s"))
    return [f"{label + ':':22}{value}" for label, value in rows]


def duration(seconds: float) -> str:
    """A length of time in Go's spelling, to the microsecond: `1m2.5s`, `1.25s`, `35.714ms`."""
    if seconds < 1:
        return f"{_trimmed(seconds * 1000)}ms"
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}h" * bool(hours) + f"{minutes}m" * bool(hours or minutes) + f"{_trimmed(rest)}s"


def _trimmed(number: float) -> str:
    return f"{number:.3f}".rstrip("0").rstrip(".")
