"""How long an answer took, as Ollama prints it."""

from __future__ import annotations

from runtimes.protocol import Finished
from slmctl.app.load import Loaded


def timings(finished: Finished, loaded: Loaded | None = None) -> list[str]:
    """A line per duration, count and rate that is known; `loaded` when this answer waited for it."""
    rows = [("load duration", f"{loaded.load_seconds:.3f}s")] if loaded is not None else []
    for label, count, seconds in (
        ("prompt eval", finished.prompt_tokens, finished.prompt_seconds),
        ("eval", finished.generated_tokens, finished.generation_seconds),
    ):
        if count is not None and seconds is not None:
            rows.append((f"{label} count", f"{count} token(s)"))
            rows.append((f"{label} duration", f"{seconds:.3f}s"))
            if seconds > 0:
                rows.append((f"{label} rate", f"{count / seconds:.2f} tokens/s"))
    return [f"{label + ':':22}{value}" for label, value in rows]
