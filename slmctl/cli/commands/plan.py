"""slmctl plan"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import click

from registry.errors import NotFound, UsageError
from registry.names import ModelRef, Source, parse
from runtimes.hardware.document import digest
from runtimes.planning.candidates import of_variant
from runtimes.planning.document import to_json
from slmctl.app.planning.contexts import capped
from slmctl.app.planning.files import file_of_builds
from slmctl.app.planning.package_builds import drafting, is_embedding
from slmctl.app.planning.planner import Planner
from slmctl.app.planning.siblings import siblings_of
from slmctl.app.planning.subject import Subject, about_choice, of_config, subject_of
from slmctl.cli import candidates
from slmctl.cli.command import Context
from slmctl.cli.command import command as make_command
from slmctl.cli.exits import Exit
from slmctl.cli.history_view import show_history
from slmctl.cli.network_options import NetworkOptions, network_options
from slmctl.cli.plan_options import PlanOptions, plan_options
from slmctl.cli.plan_view import view
from slmctl.cli.render import clean

_ABOUT = (
    "Say which build of NAME runs how on this machine, with the numbers that decide it. No weights are"
    " fetched. NAME is a model in the store or the library, a family of it (qwen3: its sizes are compared), a"
    " place such as hf.co/ORG/REPO, or a file. Exits with 4 when nothing fits."
)


@make_command("plan", about=_ABOUT)
@click.argument("name", required=False, metavar="[NAME|PATH]", shell_complete=candidates.pullable)
@click.option("--variant", metavar="ID", help="This build only.")
@click.option("--ctx", type=click.IntRange(min=2), metavar="TOKENS", help="The context's length.")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A config.json, or a folder of safetensors: every quantization that could be made is compared.",
)
@plan_options
@click.option("--all", "every", is_flag=True, help="Say of everything why not.")
@click.option("--history", is_flag=True, help="Show how far plans were off, and what speeds were measured.")
@network_options
def command(
    context: Context,
    name: str | None,
    variant: str | None,
    ctx: int | None,
    config: Path | None,
    planning: PlanOptions,
    every: bool,
    history: bool,
    network: NetworkOptions,
) -> None:
    if history:
        if name is not None or config is not None:
            raise UsageError(
                "--history is about this machine: it takes no model.", hint="slmctl plan --history"
            )
        show_history(context)
        return
    if (name is None) == (config is None):
        raise UsageError(
            "It takes the name of a model, or --config FILE.", hint="For example: slmctl plan qwen3:4b"
        )
    planner = Planner(context.settings, profile=planning.profile)
    hardware = planner.hardware  # a profile that is none is told before anybody is asked
    subject = of_config(config) if config is not None else _subject(context, parse(str(name)), network)
    if variant is not None and subject.package is not None:
        variant = subject.package.choose(variant).id  # a part of an id will do
    elif variant is not None and not of_variant(subject.builds, variant):
        ids = ", ".join(sorted({build.variant for build in subject.builds}))
        raise NotFound(f"The model {subject.name} has no variant {variant!r:.60}.", hint=f"It has {ids}.")
    request = planning.request(
        variant=variant or subject.only, context=ctx, usual_context=context.settings.context_length
    )
    parameters = {} if subject.package is None else subject.package.choose(variant).spec.parameters
    builds, draft_tokens = drafting(subject.builds, parameters)
    request, notes = capped(request, builds, subject.name)
    request = replace(request, embedding=is_embedding(builds), draft_tokens=draft_tokens)
    found = planner.plan(
        builds,
        request,
        siblings=lambda: siblings_of(subject),
        file_of=file_of_builds(subject.reader, subject.package)
        or (lambda build: subject.at_hand.get(build.key)),
    )
    about = None if found.chosen is None else about_choice(subject, found.chosen.candidate.build)
    found = replace(found, notes=(*subject.notes, *notes, *([about] if about else []), *found.notes))
    document = to_json(found, hardware_digest=digest(hardware))
    del document["schema"]
    context.output.result(
        document,
        lambda: clean(view(found, subject.name, hardware, every=every)),
    )
    if found.chosen is None:
        click.get_current_context().exit(Exit.DOES_NOT_FIT)


def _subject(context: Context, ref: ModelRef, network: NetworkOptions) -> Subject:
    """What is known here needs no network, and none is touched."""
    on_event = context.output.on_event
    with nullcontext() if ref.source is Source.FILE else network.places(context) as places:
        if places is not None and places.network.offline is not None:
            places = None
        return subject_of(context.reader, ref, places, on_event)
