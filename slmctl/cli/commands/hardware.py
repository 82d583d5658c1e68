"""slmctl hardware"""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from registry.errors import OperationFailed, UsageError
from runtimes.hardware.document import SCHEMA, to_json
from runtimes.hardware.machine import Hardware
from slmctl.cli import candidates
from slmctl.cli.command import Context
from slmctl.cli.command import command as make_command
from slmctl.cli.render import table


@make_command(
    "hardware",
    about="Show what models can run with here: memory and what of it may be used, processor, GPUs and NPUs,"
    " engines and what their builds use of them, what is missing and the command that brings it.",
)
@click.option(
    "--for",
    "target",
    metavar="PROFILE|FILE",
    shell_complete=candidates.profiles,
    help="Show that machine instead of this one.",
)
@click.option("--profiles", is_flag=True, help="List the machines that come with slmctl.")
@click.option(
    "--save",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write the machine to FILE, for '--for' here or elsewhere.",
)
def command(context: Context, target: str | None, profiles: bool, save: Path | None) -> None:
    if profiles:
        if target is not None or save is not None:
            raise UsageError("--profiles goes with neither --for nor --save.", hint="Leave one of them out.")
        _list(context)
        return
    hardware = _this_machine(context) if target is None else _profile(target)
    if save is not None:
        _save(hardware, save)
    fields = to_json(hardware)
    del fields["schema"]  # every document begins with it
    context.output.result(fields, lambda: _text(hardware))
    if save is not None:
        context.output.note(f"Saved as {save}: '--for {save}' plans for it.")


def _this_machine(context: Context) -> Hardware:
    from runtimes.hardware.probe import probe  # not needed for a profile

    settings = context.settings
    context.output.status("Looking at this machine...")
    return probe(
        environment=settings.environment,
        cache_folder=settings.home / "cache",
        store=settings.store,
        again=True,
    )


def _profile(given: str) -> Hardware:
    from runtimes.hardware.profiles import profile

    return profile(given)


def _text(hardware: Hardware) -> str:
    from slmctl.cli.describe_hardware import describe_hardware

    return describe_hardware(hardware)


def _list(context: Context) -> None:
    from runtimes.hardware.profiles import profile, profile_names
    from slmctl.cli.describe_hardware import about

    rows = [(name, about(profile(name))) for name in profile_names()]
    context.output.result(
        {"profiles": [{"name": name, "about": text} for name, text in rows]},
        lambda: table(("NAME", "WHAT IT HAS"), rows),
    )


def _save(hardware: Hardware, path: Path) -> None:
    """Write the document beside `path` and rename it there. Raises OperationFailed."""
    text = json.dumps({"schema": SCHEMA, **to_json(hardware)}, indent=2, ensure_ascii=False)
    new = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        try:
            new.write_text(f"{text}\n", encoding="utf-8")
            new.replace(path)
        finally:
            new.unlink(missing_ok=True)
    except (OSError, ValueError) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        raise OperationFailed(
            f"The machine cannot be saved as {str(path)!r:.120} ({reason}).",
            hint="Name a file in a folder that you may write to.",
        ) from None
