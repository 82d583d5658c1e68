"""A footprint as a table for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from slmctl.app.footprint import Footprint, Row

_HEADER = ("QUANTIZATION", "FILE", "SAVED", "MEMORY", "TOKENS/S", "LOSS", "QUALITY", "")
_RIGHT = frozenset({1, 2, 3, 4, 5})
_GAP = "  "


def view(found: Footprint) -> str:
    """The rows, what they were worked out for, and what the signs mean."""
    rows = [_cells(row) for row in found.rows]
    cache = f" ({found.cache_type} KV cache)"
    places = sorted({_where(row) for row in found.rows})
    title = f"{found.name} with {found.context:,} tokens of context{cache}, {', '.join(places)}"
    legend = (
        "FILE: on the disk; SAVED: against F16; MEMORY: in use with the whole context; LOSS: KL divergence\n"
        "from the unquantized model, in nats per token. ~ is estimated, what has no ~ was measured."
    )
    return "\n\n".join([title, _aligned([_HEADER, *rows]), legend, *found.notes])


def size_words(count: int) -> str:
    """A size to three digits: builds of one model may differ in the third. `2.41 GB`, `384 MB`, `12.0 kB`."""
    for unit, suffix in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if count >= unit:
            value = count / unit
            digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
            return f"{value:,.{digits}f} {suffix}"
    return f"{count} B"


def speed_digits(expected: float) -> str:
    """Tokens per second as far as they are worth telling."""
    return f"{expected:.0f}" if expected >= 20 else f"{expected:.1f}"


def _cells(row: Row) -> tuple[str, ...]:
    speed = "-"
    if row.speed is not None:
        speed = _marked(speed_digits(row.speed.expected), row.is_speed_measured)
    return (
        row.quantization,
        _marked(size_words(row.size), row.size_basis == "file"),
        f"{row.reduction:.0%}",
        _marked(size_words(row.memory), row.memory_basis == "engine"),
        speed,
        _marked(f"{row.quality.loss:.4f}", row.is_quality_measured),
        row.quality.tier if row.quality.tier != "none" else "unusable",
        ", ".join(_remarks(row)),
    )


def _marked(text: str, is_measured: bool) -> str:
    return text if is_measured else f"~{text}"


def _remarks(row: Row) -> Iterator[str]:
    if row.present:
        yield "here"
    if row.chosen:
        yield "a plan takes it"
    if not row.fits:
        yield "does not fit"
    if row.beaten_by is not None:
        yield f"{row.beaten_by.rpartition('-')[2].upper()} is better"


def _where(row: Row) -> str:
    return f"by {row.runtime} on {'the CPU' if row.place == 'cpu' else row.place}"


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    """Columns of their widest cell; numbers stand at the right of theirs."""
    widths = [max(len(line[at]) for line in lines) for at in range(len(lines[0]))]
    return "\n".join(
        _GAP.join(
            cell.rjust(width) if at in _RIGHT else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
