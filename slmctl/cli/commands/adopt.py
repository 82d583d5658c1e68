"""slmctl adopt"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from registry.errors import UsageError
from registry.names import short_name
from slmctl.app.adopt import AdoptedModel, adopt
from slmctl.app.foreign.found import Place, Tool
from slmctl.app.foreign.places import place_at, usual_places
from slmctl.cli import candidates
from slmctl.cli.command import Context
from slmctl.cli.command import command as make_command
from slmctl.cli.render import human_bytes, table


@make_command(
    "adopt",
    about="Take in the models that Ollama, Hugging Face's cache and LM Studio have on this machine, or those"
    " in the folders PATH. Nothing is copied, and nothing of theirs is changed.",
)
@click.argument("paths", nargs=-1, metavar="[PATH]...", shell_complete=candidates.files)
@click.option("--dry-run", is_flag=True, help="Say what would be taken in, and do nothing.")
def command(context: Context, paths: tuple[str, ...], dry_run: bool) -> None:
    if "" in paths:
        raise UsageError("The name of a folder is empty.", hint="Name the folder of a tool's models.")
    named = list(dict.fromkeys(place_at(Path(path)) for path in paths))
    places = named or usual_places(context.settings.environment)
    models = list(
        adopt(context.store, places, now=context.now(), dry_run=dry_run, on_event=context.output.on_event)
    )
    context.output.result(
        {
            "dry_run": dry_run,
            "places": [_place_fields(place) for place in places],
            "models": [_fields(model) for model in models],
        },
        lambda: _table(models, dry_run) if models else "",
    )
    _tell(context, places, models, dry_run, asked=bool(named))


def _tell(
    context: Context,
    places: Sequence[Place],
    models: Sequence[AdoptedModel],
    dry_run: bool,
    *,
    asked: bool,
) -> None:
    """What the table leaves out. `asked` is whether somebody named the places."""
    note = context.output.note
    for place in places:
        if place.problem is not None:
            note(f"{place.tool.shown}'s {place.root} cannot be read: {place.problem}")
    for model in models:
        for text in (model.problem, model.why_not, *model.notes):
            if text is not None:
                note(f"{short_name(model.name)}: {text}")
    full = {model.place for model in models}
    empty = [place for place in places if place.problem is None and place not in full]
    for place in empty if asked or not models else ():
        what = " (PUBLISHER/MODEL/FILE.gguf)" if place.tool is Tool.LMSTUDIO else ""
        note(f"There is no model{what} in {place.root}.")
    if not models:
        if not empty:
            note("No other tool has models here.")
        return
    new = [model for model in models if model.taken is not None and not model.present]
    there = sum(model.present for model in models)
    verb = "would be adopted" if dry_run else "adopted"
    rest = f"; {there} {'was' if there == 1 else 'were'} here already" if there else ""
    note(f"{len(new)} of {len(models)} {verb}, and nothing copied{rest}.")


def _place_fields(place: Place) -> dict[str, object]:
    return {"tool": place.tool.value, "path": str(place.root), "problem": place.problem}


def _fields(model: AdoptedModel) -> dict[str, object]:
    return {
        "name": model.name,
        "tool": model.place.tool.value,
        "path": str(model.place.root),
        "digest": str(model.digest) if model.digest is not None else None,
        "size": model.size,
        "taken": model.taken,
        "present": model.present,
        "runs": model.runs,
        "why_not": model.why_not,
        "problem": model.problem,
        "notes": list(model.notes),
    }


def _table(models: Sequence[AdoptedModel], dry_run: bool) -> str:
    rows = [
        (
            model.name,
            model.place.tool.shown,
            human_bytes(model.size or None),
            _taken(model, dry_run),
            "yes" if model.runs else "no",
        )
        for model in models
    ]
    return table(("NAME", "FROM", "SIZE", "TAKEN", "RUNS HERE"), rows)


def _taken(model: AdoptedModel, dry_run: bool) -> str:
    if model.taken is None:
        return "no"
    if model.present:
        return f"{model.taken} before"
    return f"would be {model.taken}" if dry_run else model.taken
