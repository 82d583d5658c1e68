"""slmctl ps"""

from __future__ import annotations

from slmctl.app.loaded import LoadedRow, loaded_models
from slmctl.cli.command import Context
from slmctl.cli.command import command as make_command
from slmctl.cli.render import human_bytes, human_duration, table

_SHORT_DIGEST = slice(len("sha256:"), len("sha256:") + 12)


@make_command("ps", about="List the models that are loaded: in the server, and by 'run --keep'.")
def command(context: Context) -> None:
    models = loaded_models(context.settings)
    context.output.result({"models": [_fields(model) for model in models]}, lambda: _table(models))


def _fields(model: LoadedRow) -> dict[str, object]:
    return {
        "name": model.name,
        "digest": model.digest,
        "variant": model.variant,
        "engine": model.engine,
        "purpose": model.purpose,
        "state": model.state,
        "size_bytes": model.size_bytes,
        "vram_bytes": model.vram_bytes,
        "context_length": model.context_length,
        "parallel": model.parallel,
        "running": model.running,
        "waiting": model.waiting,
        "pid": model.pid,
        "in_use": model.in_use,
        "seconds_left": None if model.seconds_left is None else round(model.seconds_left, 1),
        "pinned": model.pinned,
        "served": model.is_served,
    }


def _table(models: list[LoadedRow]) -> str:
    rows = [
        (
            model.name,
            "-" if model.digest is None else model.digest[_SHORT_DIGEST],
            model.variant or "-",
            "-" if model.size_bytes is None else human_bytes(model.size_bytes),
            _processor(model),
            str(model.context_length or "-"),
            str(model.pid or "-"),
            _until(model),
        )
        for model in models
    ]
    return table(("NAME", "ID", "VARIANT", "SIZE", "PROCESSOR", "CONTEXT", "PID", "UNLOADED"), rows)


def _processor(model: LoadedRow) -> str:
    """As Ollama says it."""
    if not model.size_bytes or model.vram_bytes is None:
        return "-"
    on_device = min(100, round(100 * model.vram_bytes / model.size_bytes))
    if on_device in {0, 100}:
        return "100% GPU" if on_device else "100% CPU"
    return f"{100 - on_device}%/{on_device}% CPU/GPU"


def _until(model: LoadedRow) -> str:
    if model.state != "ready":
        return model.state
    if model.in_use:
        return "in use"
    return "when stopped" if model.seconds_left is None else f"in {human_duration(model.seconds_left)}"
