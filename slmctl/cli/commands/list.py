"""slmctl list"""

from __future__ import annotations

import sys
from datetime import UTC, datetime

import click

from slmctl.app.listing import Listed, list_models
from slmctl.cli import candidates
from slmctl.cli.command import Context
from slmctl.cli.command import command as make_command
from slmctl.cli.network_options import NetworkOptions, network_options
from slmctl.cli.render import human_age, human_bytes, table

MARK = "!"
"""Behind the size of what is too large for this machine now."""


@make_command("list", about="List the models in the store, or those whose names begin with PREFIX.")
@click.argument("prefix", default="", shell_complete=candidates.models)
@click.option("--outdated", is_flag=True, help="Ask where the models came from what has moved there since.")
@network_options
def command(context: Context, prefix: str, outdated: bool, network: NetworkOptions) -> None:
    if outdated:
        from slmctl.cli.outdated import list_outdated  # a plain listing asks nobody

        list_outdated(context, prefix, network)
        return
    models = list_models(context.reader, prefix, context.output.on_event)
    room = _room(context)
    context.output.result(
        {"models": [_fields(model, room) for model in models]}, lambda: _table(models, room)
    )
    if any(_fits(model, room) is False for model in models):
        context.output.note(f"{MARK} has no room here now: 'slmctl plan NAME' says what would.")
    for model in models:
        if model.problem:
            context.output.note(f"{model.name}: {model.problem}")


def _room(context: Context) -> int | None:
    """How large the files of a model may be that fits; not asked for by a pipe, which is to be fast."""
    if not context.output.as_json and not sys.stdout.isatty():
        return None
    from slmctl.app.planning.room import room

    return room(context.settings)


def _fits(model: Listed, room: int | None) -> bool | None:
    """Whether a model has room; None where nobody looked, or several builds share its size."""
    if room is None or model.size is None or len(model.variants) != 1:
        return None
    return model.size <= room


def _fields(model: Listed, room: int | None) -> dict[str, object]:
    return {
        "name": model.name,
        "digest": str(model.digest),
        "size": model.size,
        "variant": ",".join(model.variants) or None,
        "source": model.source,
        "modified": model.modified,
        "fits": _fits(model, room),
        **({"store": str(model.store)} if model.store else {}),
    }


def _table(models: list[Listed], room: int | None) -> str:
    now = datetime.now(UTC)
    rows = [
        (
            model.name,
            model.digest.short,
            f"{human_bytes(model.size)}{f' {MARK}' if _fits(model, room) is False else ''}",
            ", ".join(model.variants) or "-",
            human_age(model.modified, now),
            str(model.store or ""),
        )
        for model in models
    ]
    header = ("NAME", "ID", "SIZE", "VARIANT", "MODIFIED", "STORE")
    used = len(header) if any(model.store for model in models) else len(header) - 1
    return table(header[:used], [row[:used] for row in rows])
