"""slmctl list"""

from __future__ import annotations

from datetime import UTC, datetime

import click

from slmctl.app.listing import Listed, list_models
from slmctl.cli import candidates
from slmctl.cli.command import Context
from slmctl.cli.command import command as make_command
from slmctl.cli.network_options import NetworkOptions, network_options
from slmctl.cli.render import human_age, human_bytes, table


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
    context.output.result({"models": [_fields(model) for model in models]}, lambda: _table(models))
    for model in models:
        if model.problem:
            context.output.note(f"{model.name}: {model.problem}")


def _fields(model: Listed) -> dict[str, object]:
    return {
        "name": model.name,
        "digest": str(model.digest),
        "size": model.size,
        "variant": ",".join(model.variants) or None,
        "source": model.source,
        "modified": model.modified,
        **({"store": str(model.store)} if model.store else {}),
    }


def _table(models: list[Listed]) -> str:
    now = datetime.now(UTC)
    rows = [
        (
            model.name,
            model.digest.short,
            human_bytes(model.size),
            ", ".join(model.variants) or "-",
            human_age(model.modified, now),
            str(model.store or ""),
        )
        for model in models
    ]
    header = ("NAME", "ID", "SIZE", "VARIANT", "MODIFIED", "STORE")
    used = len(header) if any(model.store for model in models) else len(header) - 1
    return table(header[:used], [row[:used] for row in rows])
