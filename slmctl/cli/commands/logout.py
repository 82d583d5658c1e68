"""slmctl logout"""

from __future__ import annotations

import click

from slmctl.app.logins import log_out
from slmctl.app.network import Network
from slmctl.cli.command import Context
from slmctl.cli.command import command as make_command


@make_command("logout", about="Forget the password for a registry. Asks nobody.")
@click.argument("server")
def command(context: Context, server: str) -> None:
    with Network(context.settings.network) as network:
        done = log_out(network, server)
    context.output.result(
        {"host": done.host, "removed": list(done.removed), "left": list(done.left)},
        lambda: f"logged out of {done.host}" if done.removed else f"there was no login for {done.host}",
    )
    for place in done.left:
        context.output.note(f"{place} still has a password for {done.host}, which another tool put there.")
