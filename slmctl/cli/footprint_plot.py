"""A footprint as a picture: four panels that share their rows, one for each quantization.

It says the same in grey: parts differ in lightness and hatching, what was measured is filled and what is
estimated is not. Drawn without a display and without matplotlib's global state; the same figures give
the same bytes.
"""

from __future__ import annotations

import io
import itertools
import math
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry.errors import OperationFailed
from runtimes.planning.quality import TIERS, limit
from slmctl.app.footprint import Footprint, Row
from slmctl.app.whole_files import replace_whole
from slmctl.cli.footprint_view import size_words, speed_digits
from slmctl.cli.render import clean

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DARK, _MIDDLE, _LIGHT = "#1f3b63", "#e8a04c", "#e6e6e6"
_DPI = 130
_ROW_INCHES, _AROUND_INCHES, _WIDTH_INCHES = 0.34, 2.3, 14.0
_LEAST_LOSS = 3e-4
"""Where a loss of nothing stands on a logarithmic axis."""

_SETTINGS: dict[Any, Any] = {
    "svg.hashsalt": "slmctl",
    "font.size": 9.0,
    "hatch.linewidth": 0.6,
    "axes.axisbelow": True,
}


def draw(found: Footprint, path: Path) -> None:
    """Draw to a file that ends in .png or .svg. Raises OperationFailed, also where there is no matplotlib."""
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError:
        raise OperationFailed(
            "Drawing needs matplotlib, which is not installed.", hint="pip install 'slmctl[plot]'"
        ) from None
    kind = path.suffix.lower().removeprefix(".")
    with mpl.rc_context(_SETTINGS), io.BytesIO() as stream, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a letter that the font lacks is drawn as a box
        height = _AROUND_INCHES + _ROW_INCHES * len(found.rows)
        figure = Figure(figsize=(_WIDTH_INCHES, height), layout="constrained")
        _fill(figure, found)
        nobody: dict[str, Any] = {"Date": None} if kind == "svg" else {"Software": None}
        figure.savefig(stream, format=kind, dpi=_DPI, metadata=nobody)
        data = stream.getvalue()
    replace_whole(path, data)


def _fill(figure: Figure, found: Footprint) -> None:
    rows = found.rows
    panels: Sequence[Axes] = figure.subplots(1, 4, sharey=True, width_ratios=(3, 4, 3, 3))
    name = clean(found.name).replace("$", r"\$")  # no formula
    figure.suptitle(
        f"{name}: quantizations at {found.context:,} tokens of context ({found.cache_type} KV cache)",
        fontsize=12,
    )
    places = range(len(rows))
    first = panels[0]
    first.set_yticks(list(places), [_label(row) for row in rows])
    first.set_ylim(len(rows) - 0.4, -0.6)
    for label, row in zip(first.get_yticklabels(), rows, strict=True):
        label.set_fontweight("bold" if row.chosen else "normal")
    for panel, what in zip(panels, (_files, _memory, _speeds, _losses), strict=True):
        panel.grid(axis="x", color="0.85", linewidth=0.6)
        panel.tick_params(axis="y", length=0)
        for side in ("top", "right"):
            panel.spines[side].set_visible(False)
        what(panel, rows)
    _legend(figure, found)


def _label(row: Row) -> str:
    return f"{row.quantization} \N{BLACK DIAMOND}" if row.present else row.quantization


def _files(panel: Axes, rows: Sequence[Row]) -> None:
    """Size of each file, with what it saves against F16."""
    divide, unit = _unit(max(row.size for row in rows))
    for at, row in enumerate(rows):
        is_seen = row.size_basis == "file"
        panel.barh(
            at,
            divide(row.size),
            color=_DARK if is_seen else "white",
            edgecolor=_DARK,
            hatch=None if is_seen else "///",
            height=0.66,
        )
        saved = f"\N{MINUS SIGN}{row.reduction:.0%}" if row.reduction >= 0.005 else ""
        known = "" if is_seen else "~"
        _number(panel, divide(row.size), at, f"{known}{size_words(row.size)}  {saved}".rstrip())
    panel.set_xlim(0, divide(max(row.size for row in rows)) * 1.65)
    panel.set_xlabel(f"File size ({unit}), saved against F16")


def _memory(panel: Axes, rows: Sequence[Row]) -> None:
    """What is in use, in its parts, and the memory there is."""
    most = max(row.memory for row in rows)
    divide, unit = _unit(most)
    parts: tuple[tuple[Callable[[Row], int], str, str | None], ...] = (
        (lambda row: row.weights, _DARK, None),
        (lambda row: row.cache, _MIDDLE, "...."),
        (lambda row: row.other, _LIGHT, None),
    )
    left = [0.0] * len(rows)
    for size_of, colour, hatch in parts:
        widths = [divide(size_of(row)) for row in rows]
        panel.barh(
            range(len(rows)), widths, left=left, color=colour, hatch=hatch, edgecolor="0.2", linewidth=0.5,
            height=0.66,
        )  # fmt: skip
        left = [start + width for start, width in zip(left, widths, strict=True)]
    for at, row in enumerate(rows):
        said = "" if row.fits else "  does not fit"
        known = "" if row.memory_basis == "engine" else "~"
        _number(panel, left[at], at, f"{known}{size_words(row.memory)}{said}")
    widest = divide(most) * (1.3 if all(row.fits for row in rows) else 1.6)
    budget = _budget(rows)
    if budget is not None and divide(budget) < widest:
        panel.axvline(divide(budget), color="black", linestyle="--", linewidth=1.2)
        panel.set_title(f"dashed: the {size_words(budget)} there are", loc="right", fontsize=8)
    panel.set_xlim(0, widest)
    panel.set_xlabel(f"Memory in use ({unit})")


def _budget(rows: Sequence[Row]) -> int | None:
    """The memory that a model may have, where all rows are of one pool."""
    found = {tuple(sorted(row.budget.items())) for row in rows}
    budget = found.pop() if len(found) == 1 else ()
    return budget[0][1] if len(budget) == 1 else None


def _speeds(panel: Axes, rows: Sequence[Row]) -> None:
    """Tokens per second, with the range that is expected."""
    most = max((row.speed.high for row in rows if row.speed is not None), default=1.0)
    for at, row in enumerate(rows):
        speed = row.speed
        if speed is None:
            continue
        panel.plot([speed.low, speed.high], [at, at], color="0.45", linewidth=1.4, zorder=2)
        _point(panel, speed.expected, at, is_measured=row.is_speed_measured)
        _number(panel, speed.high, at, speed_digits(speed.expected))
    panel.set_xlim(0, most * 1.15)
    panel.set_xlabel("Speed (tokens/s), with its range")


def _losses(panel: Axes, rows: Sequence[Row]) -> None:
    """What is lost, between the bounds of the tiers."""
    panel.set_xscale("log")
    low, high = _LEAST_LOSS / 1.6, max(1.0, *(row.quality.loss for row in rows)) * 5
    panel.set_xlim(low, high)
    bounds = [low, *(limit(tier) for tier in TIERS), high]
    for bound in bounds[1:-1]:
        panel.axvline(bound, color="0.3", linestyle=":", linewidth=1.0)
    tiers = panel.secondary_xaxis("top")
    middles = [math.sqrt(left * right) for left, right in itertools.pairwise(bounds)]
    tiers.set_xticks(middles, [*TIERS, "unusable"], rotation=30, ha="left", fontsize=8)
    tiers.set_xticks([], minor=True)
    tiers.tick_params(length=0, pad=1)
    tiers.spines["top"].set_visible(False)
    for at, row in enumerate(rows):
        loss = max(row.quality.loss, _LEAST_LOSS)
        _number(panel, loss * 1.1, at, f"{row.quality.loss:.2g}")
        _point(panel, loss, at, is_measured=row.is_quality_measured)
    panel.set_xlabel("Loss (KL divergence, nats/token, log scale)")


def _number(panel: Axes, x: float, y: float, text: str) -> None:
    """A figure to the right of its point, readable on the lines behind it."""
    panel.annotate(
        text, (x, y), xytext=(5, 0), textcoords="offset points", va="center", fontsize=8, zorder=2.5,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.4},
    )  # fmt: skip


def _point(panel: Axes, x: float, y: float, *, is_measured: bool) -> None:
    panel.plot(
        [x], [y], "o", markersize=6, markeredgecolor=_DARK, markeredgewidth=1.4,
        markerfacecolor=_DARK if is_measured else "white", zorder=3,
    )  # fmt: skip


def _legend(figure: Figure, found: Footprint) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    def dot(face: str, label: str) -> Line2D:
        return Line2D(
            [], [], linestyle="", marker="o", markersize=6, markeredgecolor=_DARK, markerfacecolor=face,
            label=label,
        )  # fmt: skip

    handles = [
        Patch(facecolor=_DARK, edgecolor="0.2", label="weights, or a file that is known"),
        Patch(facecolor="white", edgecolor=_DARK, hatch="///", label="a file that would be made"),
        Patch(facecolor=_MIDDLE, edgecolor="0.2", hatch="....", label="KV cache"),
        Patch(facecolor=_LIGHT, edgecolor="0.2", label="buffers and process"),
        dot(_DARK, "measured"),
        dot("white", "estimated"),
    ]
    names = [
        "\N{BLACK DIAMOND} is here" if any(row.present for row in found.rows) else "",
        "bold: what a plan takes" if any(row.chosen for row in found.rows) else "",
        "~ is estimated",
    ]
    title = ", ".join(name for name in names if name)
    figure.legend(
        handles=handles, loc="outside lower center", ncols=6, frameon=False, title=title, fontsize=8
    )


def _unit(most: int) -> tuple[Callable[[int], float], str]:
    """How sizes up to `most` are told: in GB, or in MB where that is less."""
    power, unit = (10**9, "GB") if most >= 10**9 else (10**6, "MB")
    return (lambda size: size / power), unit
