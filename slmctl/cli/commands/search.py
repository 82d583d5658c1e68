"""slmctl search"""

from __future__ import annotations

from collections.abc import Mapping

import click

from modelfiles.library.entry import CLASSES, LICENSES, TASKS
from slmctl.app.library import LibraryModel, Search, search
from slmctl.app.planning.fitting import models_that_fit
from slmctl.app.planning.planner import Planner
from slmctl.cli.command import Context
from slmctl.cli.command import command as make_command
from slmctl.cli.commands.list import MARK
from slmctl.cli.plan_options import profile_option
from slmctl.cli.render import human_bytes, human_count, table
from slmctl.cli.sizes import to_bytes

_ABOUT = (
    "List the models of the library that WORDS are said of (name, maker, purpose, tasks, languages); without "
    "WORDS all of them. Works offline."
)
_CLASSES = "micro: 100M to 1.4B parameters, small: 1.5B to 13.9B, medium: 14B to 30B."


@make_command("search", about=_ABOUT)
@click.argument("words", nargs=-1)
@click.option(
    "--task",
    "tasks",
    multiple=True,
    type=click.Choice(TASKS),
    metavar="TASK",
    help=f"What it must be able to do, each one given: {', '.join(TASKS)}.",
)
@click.option(
    "--license",
    "licenses",
    multiple=True,
    type=click.Choice(list(LICENSES), case_sensitive=False),
    metavar="LICENSE",
    help=f"One of the licences given: {', '.join(LICENSES)}.",
)
@click.option(
    "--max-size",
    metavar="SIZE",
    callback=to_bytes,
    help="How large its weights may be as Q4_K_M, the build that most people take: 500MB, 2GiB.",
)
@click.option("--class", "size_class", type=click.Choice(list(CLASSES)), help=_CLASSES)
@profile_option
def command(
    context: Context,
    words: tuple[str, ...],
    tasks: tuple[str, ...],
    licenses: tuple[str, ...],
    max_size: int | None,
    size_class: str | None,
    profile: str | None,
) -> None:
    wanted = Search(words=words, tasks=tasks, licenses=licenses, max_size=max_size, size_class=size_class)
    models = search(wanted)
    fits = models_that_fit(Planner(context.settings, profile=profile, quick=True), models)
    context.output.result(
        {"models": [_fields(model, fits) for model in models]}, lambda: _listing(models, fits)
    )
    if False in fits.values():
        where = f"on {profile}" if profile else "here"
        context.output.note(f"{MARK} does not fit {where}: 'slmctl plan NAME' says why.")
    if not models:
        context.output.note("The library has no such model; 'slmctl search' lists all that it has.")


def _fields(model: LibraryModel, fits: Mapping[str, bool]) -> dict[str, object]:
    entry = model.entry
    return {
        "name": entry.name,
        "default": entry.default,
        "title": entry.title,
        "maker": entry.maker,
        "parameters": model.facts.parameters,
        "class": model.size_class,
        "size": model.size,
        "fits": fits.get(model.entry.name),
        "context": model.facts.trained_context,
        "license": entry.license,
        "license_url": entry.license_url,
        "kind": entry.kind,
        "tasks": list(entry.tasks),
        "languages": list(entry.languages),
        "summary": entry.summary,
        "builds": [{"reference": str(build.reference), "format": build.format} for build in entry.builds],
    }


def _listing(models: list[LibraryModel], fits: Mapping[str, bool]) -> str:
    """A row for each model, and below it what the model is good for: one line of 80 has no room for both."""
    if not models:
        return ""
    rows = [
        (
            model.entry.name,
            human_count(model.facts.parameters),
            model.size_class or "-",
            f"{human_bytes(model.size)}{f' {MARK}' if fits.get(model.entry.name) is False else ''}",
            model.entry.license,
            model.entry.kind,
        )
        for model in models
    ]
    head, *lines = table(("NAME", "PARAMETERS", "CLASS", "SIZE", "LICENSE", "KIND"), rows).splitlines()
    summaries = [f"    {model.entry.summary}" for model in models]
    return "\n".join([head, *(line for pair in zip(lines, summaries, strict=True) for line in pair)])
