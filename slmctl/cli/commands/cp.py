"""slmctl cp"""

from __future__ import annotations

import click

from registry.names import parse_name, parse_new_name, short_name
from slmctl.app.models import copy_model
from slmctl.cli import candidates
from slmctl.cli.command import Context
from slmctl.cli.command import command as make_command


@make_command("cp", about="Give the model SOURCE the name TARGET too. Both then share all bytes.")
@click.argument("source", shell_complete=candidates.models)
@click.argument("target")
@click.option("--force", is_flag=True, help="Replace TARGET if it is another model.")
def command(context: Context, source: str, target: str, force: bool) -> None:
    old, new = parse_name(source), parse_new_name(target)
    entry = copy_model(
        context.store,
        old,
        new,
        force=force,
        now=context.now(),
        on_event=context.output.on_event,
        reader=context.reader,
    )
    context.output.result(
        {"name": entry.name, "digest": str(entry.descriptor.digest), "source": entry.source},
        lambda: f"copied '{old.short_name}' to '{short_name(entry.name)}'",
    )
