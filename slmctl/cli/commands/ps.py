"""slmctl ps"""

from __future__ import annotations

from slmctl.app.kept import KeptModel, kept_models
from slmctl.cli.command import Context
from slmctl.cli.command import command as make_command
from slmctl.cli.render import human_duration, table


@make_command("ps", about="List the models that 'run --keep' left loaded.")
def command(context: Context) -> None:
    models = kept_models(context.settings)
    context.output.result({"models": [_fields(model) for model in models]}, lambda: _table(models))


def _fields(model: KeptModel) -> dict[str, object]:
    return {
        "name": model.name,
        "variant": model.variant,
        "context_length": model.context_length,
        "pid": model.pid,
        "in_use": model.in_use,
        "seconds_left": None if model.seconds_left is None else round(model.seconds_left, 1),
    }


def _table(models: list[KeptModel]) -> str:
    rows = [
        (model.name, model.variant, str(model.context_length or "-"), str(model.pid or "-"), _until(model))
        for model in models
    ]
    return table(("NAME", "VARIANT", "CONTEXT", "PID", "UNLOADED"), rows)


def _until(model: KeptModel) -> str:
    if model.in_use:
        return "in use"
    return "when stopped" if model.seconds_left is None else f"in {human_duration(model.seconds_left)}"
