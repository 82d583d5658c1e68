"""slmctl stop"""

from __future__ import annotations

import click

from registry.errors import NotFound, UsageError
from registry.names import parse_name
from slmctl.app.loaded import unload_models
from slmctl.cli import candidates
from slmctl.cli.command import Context
from slmctl.cli.command import command as make_command


@make_command(
    "stop", about="Unload the model NAME, or --all of them, from the server and where 'run --keep' left it."
)
@click.argument("name", required=False, shell_complete=candidates.models)
@click.option("--all", "everything", is_flag=True, help="Unload all that are loaded.")
def command(context: Context, name: str | None, everything: bool) -> None:
    if (name is None) != everything:
        raise UsageError(
            "It takes a model's name, or --all.", hint="'slmctl ps' shows what is loaded: slmctl stop NAME"
        )
    stopped = unload_models(context.settings, parse_name(name) if name is not None else None)
    if name is not None and not stopped:
        raise NotFound(
            f"{parse_name(name).short_name} is not loaded.", hint="'slmctl ps' shows what is loaded."
        )
    context.output.result({"stopped": stopped}, lambda: "\n".join([f"unloaded '{each}'" for each in stopped]))
