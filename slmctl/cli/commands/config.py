"""slmctl config"""

from __future__ import annotations

import click

from slmctl.cli.command import Context, group
from slmctl.cli.command import command as make_command
from slmctl.cli.render import table

command = group("config", about="Show the settings.")


@make_command("list", about="List all settings with their values.")
@click.option("--show-origin", is_flag=True, help="Say where each value comes from.")
def list_settings(context: Context, show_origin: bool) -> None:
    settings = context.settings
    resolved = (*settings.resolved, *settings.network.resolved, *settings.serve.resolved)
    rows = [
        (each.key, "-" if each.value is None else str(each.value), *((each.origin,) if show_origin else ()))
        for each in resolved
    ]
    header = ("SETTING", "VALUE", *(("ORIGIN",) if show_origin else ()))
    context.output.result(
        {"settings": [{"key": each.key, "value": each.value, "origin": each.origin} for each in resolved]},
        lambda: table(header, rows),
    )


command.add_command(list_settings)
