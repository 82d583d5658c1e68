"""slmctl perplexity"""

from __future__ import annotations

from pathlib import Path

import click

from runtimes.planning.quality import tier_of
from slmctl.app.measured import UNQUANTIZED, Measured, Number
from slmctl.app.perplexity import PerplexityRequest, Subject, other_of, perplexity, subject_of
from slmctl.cli import candidates
from slmctl.cli.command import Context
from slmctl.cli.command import command as make_command
from slmctl.cli.render import sections

_ABOUT = (
    "Measure how well a build of NAME predicts a text: its perplexity, as llama.cpp's own tool has it. With"
    " --against also how far its predictions are from another build's: the mean divergence of Kullback and"
    " Leibler, and the share of tokens for which both find the same one the likeliest. The result is kept"
    " with the build, and plans count with a divergence from an unquantized one. NAME may be the PATH of a"
    " bundle."
)


@make_command("perplexity", about=_ABOUT)
@click.argument("name", metavar="NAME|PATH", shell_complete=candidates.models_and_paths)
@click.option(
    "--text",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The text to predict, in UTF-8.",
)
@click.option(
    "--variant",
    metavar="ID",
    shell_complete=candidates.variants,
    help="Which build, where there are several.",
)
@click.option("--against", metavar="ID|NAME", help="Another variant of the model, or another model.")
@click.option(
    "--ctx",
    type=click.IntRange(min=8),
    metavar="TOKENS",
    help="The length of a window: 512 without, or what the model was trained for.",
)
@click.option(
    "--chunks", type=click.IntRange(min=1), metavar="N", help="Read no more than so many windows of it."
)
@click.option("--keep/--no-keep", default=True, help="Keep the result with the build, or only tell it.")
@click.option("--force", is_flag=True, help="Load it although it does not fit.")
def command(
    context: Context,
    name: str,
    text: Path,
    variant: str | None,
    against: str | None,
    ctx: int | None,
    chunks: int | None,
    keep: bool,
    force: bool,
) -> None:
    on_event = context.output.on_event
    subject = subject_of(context.reader, name, variant, on_event)
    other = other_of(context.reader, subject, against, on_event) if against is not None else None
    request = PerplexityRequest(
        subject=subject, text=text, against=other, context=ctx, most_windows=chunks, keep=keep, force=force
    )
    measured, kept = perplexity(context.store, context.settings, request, on_event)
    context.output.result(
        _fields(subject, other, measured, kept=kept), lambda: _text(subject, other, measured)
    )


def _fields(subject: Subject, other: Subject | None, measured: Measured, *, kept: bool) -> dict[str, object]:
    document = measured.to_json()
    del document["schema"]
    if other is not None and isinstance(document["against"], dict):
        document["against"] = {"name": other.package.name, **document["against"]}
    return {
        "name": subject.package.name,
        "variant": subject.variant.id,
        "digest": str(subject.variant.digest),
        **document,
        "tier": _tier(measured),
        "kept": kept,
    }


def _tier(measured: Measured) -> str | None:
    """The quality that a plan would find in it; None where it is not from an unquantized build."""
    against = measured.against
    if against is None or (against.quantization or "").upper() not in UNQUANTIZED:
        return None
    return tier_of(against.divergence.value)


def _text(subject: Subject, other: Subject | None, measured: Measured) -> str:
    against = measured.against
    own = [
        ("perplexity", _shown(measured.perplexity)),
        ("tokens", f"{measured.tokens:,} in {measured.windows} windows of {measured.context}"),
    ]
    blocks = {subject.shown: own}
    if against is not None and other is not None:
        tier = _tier(measured)
        blocks[f"against {other.shown}"] = [
            ("its perplexity", _shown(against.perplexity)),
            ("divergence", f"{_shown(against.divergence)} nats per token{f', {tier}' if tier else ''}"),
            ("same token", f"{against.same_top.value:.1%} ± {against.same_top.error:.1%}"),
        ]
    return f"{sections(blocks)}\n"


def _shown(number: Number) -> str:
    """With as many digits as the error leaves meaning: 12.35 ± 0.12."""
    digits = 4
    while number.error and digits < 8 and round(number.error, digits) < 10**-digits:
        digits += 1
    return f"{number.value:.{digits}f} ± {number.error:.{digits}f}"
