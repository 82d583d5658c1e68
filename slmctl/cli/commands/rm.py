"""slmctl rm"""

from __future__ import annotations

import click

from registry.errors import NotFound, OperationFailed
from slmctl.app.models import remove_models
from slmctl.cli import candidates
from slmctl.cli.command import Context
from slmctl.cli.command import command as make_command
from slmctl.cli.render import human_bytes


@make_command("rm", about="Remove models by NAME, and the files that no other model needs.")
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=candidates.models)
def command(context: Context, names: tuple[str, ...]) -> None:
    outcome = remove_models(context.store, names, context.output.on_event, reader=context.reader)
    if outcome.elsewhere:
        removed = f" The others are removed: {', '.join(outcome.removed)}." if outcome.removed else ""
        raise OperationFailed(
            f"{', '.join(outcome.elsewhere)} lies in a further store, which slmctl only reads.",
            hint=f"Remove it there, or take the store out of SLMCTL_STORES.{removed}",
        )
    if outcome.missing:
        missing = ", ".join(outcome.missing)
        removed = f" The others are removed: {', '.join(outcome.removed)}." if outcome.removed else ""
        raise NotFound(
            f"There is no model {missing} in the store.",
            hint=f"'slmctl list' shows what is there.{removed}",
        )
    context.output.result(
        {"removed": list(outcome.removed), "freed": outcome.freed_bytes},
        lambda: "\n".join([f"deleted '{name}'" for name in outcome.removed]),
    )
    if outcome.freed_bytes:
        context.output.note(f"freed {human_bytes(outcome.freed_bytes)}")
    if outcome.leased_bytes:
        size = human_bytes(outcome.leased_bytes)
        context.output.note(f"{size} are in use, and go when that ends or with 'slmctl gc'")
