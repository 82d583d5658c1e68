"""slmctl footprint"""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import click

from registry.errors import UsageError
from registry.names import ModelRef, Source, parse
from slmctl.app.footprint import Footprint, Row, footprint
from slmctl.app.planning.planner import Planner
from slmctl.app.planning.subject import Subject, subject_of
from slmctl.cli import candidates
from slmctl.cli.command import Context
from slmctl.cli.command import command as make_command
from slmctl.cli.footprint_view import view
from slmctl.cli.network_options import NetworkOptions, network_options
from slmctl.cli.plan_options import CACHE_TYPES, profile_option
from slmctl.cli.render import clean

_ABOUT = (
    "Tabulate what each quantization of NAME costs on this machine: size of the file, memory in use, what is"
    " saved against F16, tokens per second, and what it loses. What there is was measured, the rest is"
    " estimated. NAME is what 'slmctl plan' takes: a model in the store or the library, a place, a file, or a"
    " folder of safetensors. No weights are fetched."
)

_ENDINGS = (".png", ".svg")


@make_command("footprint", about=_ABOUT)
@click.argument("name", metavar="NAME|PATH", shell_complete=candidates.pullable)
@click.option(
    "--ctx",
    "--context",
    "tokens",
    type=click.IntRange(min=2),
    metavar="TOKENS",
    help="The context that is in use.  [default: what a plan takes]",
)
@click.option(
    "--kv",
    type=click.Choice(CACHE_TYPES),
    metavar="TYPE",
    help="The KV cache's type: f16, q8_0.  [default: what a plan takes]",
)
@profile_option
@click.option(
    "--plot",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.png|svg",
    help="Draw it, too; needs matplotlib: pip install 'slmctl[plot]'.",
)
@network_options
def command(
    context: Context,
    name: str,
    tokens: int | None,
    kv: str | None,
    profile: str | None,
    plot: Path | None,
    network: NetworkOptions,
) -> None:
    if plot is not None and plot.suffix.lower() not in _ENDINGS:
        raise UsageError(
            f"{plot.name!r:.120} is the name of no picture that slmctl draws.",
            hint="--plot takes a file that ends in .png or .svg.",
        )
    planner = Planner(context.settings, profile=profile)
    _ = planner.hardware  # a profile that is none is told before anybody is asked
    subject = _subject(context, parse(name), network)
    found = footprint(planner, subject, context=tokens, cache_type=kv)
    if plot is not None:
        from slmctl.cli.footprint_plot import draw  # matplotlib takes a second to import

        draw(found, plot)
        context.output.note(f"Drawn: {plot}")
    context.output.result(_fields(found, plot), lambda: clean(view(found)))


def _subject(context: Context, ref: ModelRef, network: NetworkOptions) -> Subject:
    """As `plan` does: what is known here needs no network, and none is touched."""
    with nullcontext() if ref.source is Source.FILE else network.places(context) as places:
        if places is not None and places.network.offline is not None:
            places = None
        return subject_of(context.reader, ref, places, context.output.on_event)


def _fields(found: Footprint, plot: Path | None) -> dict[str, object]:
    return {
        "name": found.name,
        "ctx": found.context,
        "kv": found.cache_type,
        "reference": {"quantization": "F16", "bytes": found.reference_size},
        "quantizations": [_row(row) for row in found.rows],
        "plot": None if plot is None else str(plot),
        "notes": list(found.notes),
    }


def _row(row: Row) -> dict[str, object]:
    speed = row.speed
    return {
        "variant": row.variant,
        "quantization": row.quantization,
        "present": row.present,
        "file_bytes": row.size,
        "file_basis": row.size_basis,
        "reduction": round(row.reduction, 4),
        "memory": {
            "bytes": row.memory,
            "weights_bytes": row.weights,
            "cache_bytes": row.cache,
            "other_bytes": row.other,
            "basis": row.memory_basis,
            "budget_bytes": dict(row.budget),
            "fits": row.fits,
        },
        "speed": None
        if speed is None
        else {"decode_tps": [speed.low, speed.expected, speed.high], "basis": speed.basis},
        "quality": {"loss": row.quality.loss, "tier": row.quality.tier, "basis": row.quality.basis},
        "runtime": row.runtime,
        "place": row.place,
        "chosen": row.chosen,
        "beaten_by": row.beaten_by,
    }
