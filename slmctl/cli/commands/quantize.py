"""slmctl quantize"""

from __future__ import annotations

import click

from registry.errors import DoesNotFit, UsageError
from registry.names import parse, short_name
from runtimes.planning.values import PlanRequest
from slmctl.app.finding import locate
from slmctl.app.planning.made_of import gguf_facts
from slmctl.app.planning.package_builds import builds_of_package
from slmctl.app.planning.planner import Planner
from slmctl.app.planning.quantizing import least_loss_first, possible, that_fits
from slmctl.app.planning.words import choice_line
from slmctl.app.quantize import QuantizeCall, Quantized, choose_source, quantize
from slmctl.app.wanted import Recipe
from slmctl.cli import candidates
from slmctl.cli.command import Context
from slmctl.cli.command import command as make_command
from slmctl.cli.plan_options import profile_option
from slmctl.cli.quantize_options import labels_of, recipe_options
from slmctl.cli.render import human_bytes
from slmctl.cli.sizes import to_bytes

_ABOUT = (
    "Make quantizations of the model NAME and add them to it as variants. They are made of its unquantized"
    " build: a GGUF in F32, BF16 or F16, else safetensors. 'slmctl footprint NAME' compares what there could"
    " be."
)


@make_command("quantize", about=_ABOUT)
@click.argument("name", shell_complete=candidates.models)
@click.option("--to", "types", metavar="TYPE,...", help="Which: q4_k_m, or q4_k_m,q8_0.")
@click.option("--fit", is_flag=True, help="The one that a plan takes on this machine.")
@click.option(
    "--max-size",
    metavar="SIZE",
    callback=to_bytes,
    help="The one that loses least in a file of at most this size: 2GB, 800MiB. With --fit: of those.",
)
@click.option(
    "--ctx", "tokens", type=click.IntRange(min=2), metavar="TOKENS", help="With --fit: the context."
)
@profile_option
@click.option(
    "--variant",
    metavar="ID",
    shell_complete=candidates.variants,
    help="The build to start from.  [default: the best]",
)
@recipe_options
@click.option("--force", is_flag=True, help="Make anew what is there already.")
def command(
    context: Context,
    name: str,
    types: str | None,
    fit: bool,
    max_size: int | None,
    tokens: int | None,
    profile: str | None,
    variant: str | None,
    recipe: Recipe,
    force: bool,
) -> None:
    ref = parse(name)
    wishes = types is not None, fit or max_size is not None
    if wishes.count(True) != 1:
        raise UsageError(
            "It takes --to TYPE, or --fit, or --max-size SIZE.", hint=f"slmctl quantize {name} --to q4_k_m"
        )
    if not fit and (profile is not None or tokens is not None):
        raise UsageError("--for and --ctx are about --fit.", hint=f"slmctl quantize {name} --fit")
    if types is not None:
        call = QuantizeCall(name=ref, labels=labels_of(types), recipe=recipe, source=variant, force=force)
    else:
        labels, limit = _best(context, name, fit, max_size, tokens, profile, variant, recipe)
        call = QuantizeCall(
            name=ref,
            labels=labels,
            recipe=recipe,
            max_size=limit,
            source=variant,
            force=force,
            if_absent=True,
        )
    done = quantize(
        context.store,
        call,
        now=context.now(),
        environ=context.settings.environment,
        on_event=context.output.on_event,
        reader=context.reader if context.further else None,
    )
    entry = done.entry
    context.output.result(
        {
            "name": entry.name,
            "digest": str(entry.descriptor.digest),
            "of": done.of,
            "made": [{"variant": each, "bytes": size} for each, size in done.made],
            "there": list(done.there),
            "variant": done.variant,
            "variants": list(done.variants),
            "source": entry.source,
        },
        lambda: _said(done),
    )


def _said(done: Quantized) -> str:
    name = short_name(done.entry.name)
    if not done.made:
        return f"'{name}' has it already: {', '.join(done.there)}"
    made = ", ".join(f"{each} ({human_bytes(size)})" for each, size in done.made)
    return f"quantized '{name}': {made}, made of {done.of}"


def _best(
    context: Context,
    name: str,
    fit: bool,
    max_size: int | None,
    tokens: int | None,
    profile: str | None,
    variant: str | None,
    recipe: Recipe,
) -> tuple[tuple[str, ...], int | None]:
    """What to make: one quantization, or several of which the first that is small enough is made, and that
    size. Raises DoesNotFit."""
    reader, package = locate(context.reader, parse(name), context.output.on_event)
    source = choose_source(package, variant, requantize=recipe.allow_requantize)
    short = short_name(package.name)
    facts = gguf_facts(builds_of_package(reader, package), reader, package)
    if facts is None:
        raise DoesNotFit(
            f"What quantizations of {short} would take is not known.", hint="--to makes one all the same."
        )
    builds = possible(short, facts, source.quantization, with_matrix=recipe.importance_matrix is not None)
    if not fit:
        return least_loss_first(builds), max_size
    planner = Planner(context.settings, profile=profile)
    usual = context.settings.context_length
    request = PlanRequest(context=tokens or usual, context_is_pinned=tokens is not None)
    label, found = that_fits(planner, builds, request, max_size=max_size)
    assert found.chosen is not None
    context.output.note(f"The plan takes {choice_line(found.chosen)}.")
    return (label,), max_size
